package checkpoint

import (
	"fmt"
	"math"
	"slices"
)

// The GGUF names of the architectures read here. Mistral is llama with, in its
// first version, a sliding window.
const (
	llama  = "llama"
	qwen2  = "qwen2"
	qwen3  = "qwen3"
	gemma3 = "gemma3"
)

// family is what sets the layers of an architecture apart from llama's.
type family struct {
	biases    bool // of queries, keys and values
	headNorms bool // RMSNorm of each query and key head, before rotation
	postNorms bool // RMSNorm behind attention and feed-forward, too
}

var families = map[string]family{
	llama:  {},
	qwen2:  {biases: true},
	qwen3:  {headNorms: true},
	gemma3: {headNorms: true, postNorms: true},
}

// gemmaPattern is the number of layers of gemma3 of which the last is global,
// where a file does not say.
const gemmaPattern = 6

// everyNth makes each nth layer global and the others local.
func everyNth(layers, n int) []bool {
	local := make([]bool, max(0, layers))
	for i := range local {
		local[i] = (i+1)%n != 0
	}
	return local
}

// allLocal makes every layer local.
func allLocal(layers int) []bool {
	return slices.Repeat([]bool{true}, max(0, layers))
}

// linear are the rotary divisors of the scaling "linear" (position interpolation,
// Chen et al. 2023).
func linear(headDim int, factor float64) ([]float32, error) {
	if !(factor >= 1) || math.IsInf(factor, 0) {
		return nil, fmt.Errorf("rotary scaling \"linear\" by %g, which is no factor", factor)
	}
	return slices.Repeat([]float32{float32(factor)}, headDim/2), nil
}

// rootOf keeps its result above zero for sizes that are checked later.
func rootOf(n int) float64 { return math.Sqrt(float64(max(1, n))) }
