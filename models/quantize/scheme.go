package quantize

import (
	"fmt"
	"strings"

	"cubby/models/gguf"
)

// Scheme says to which types a file's tensors are rounded.
type Scheme string

// The schemes, from the largest files to the smallest. Those that end in _m give
// some tensors, which lose most by rounding, more bits.
const (
	F16    Scheme = "f16"
	Q8_0   Scheme = "q8_0"
	Q6_K   Scheme = "q6_k"
	Q5_K_M Scheme = "q5_k_m"
	Q4_K_M Scheme = "q4_k_m"
)

// Schemes lists them, the largest files first.
func Schemes() []Scheme { return []Scheme{F16, Q8_0, Q6_K, Q5_K_M, Q4_K_M} }

// schemes has the type of most tensors, and llama.cpp's number of the scheme for
// general.file_type.
var schemes = map[Scheme]struct {
	base     gguf.Type
	fileType uint32
}{
	F16: {gguf.F16, 1}, Q8_0: {gguf.Q8_0, 7}, Q6_K: {gguf.Q6_K, 18}, Q5_K_M: {gguf.Q5_K, 17}, Q4_K_M: {gguf.Q4_K, 15},
}

// ParseScheme reads a name, in upper or lower case.
func ParseScheme(name string) (Scheme, error) {
	s := Scheme(strings.ToLower(name))
	if _, ok := schemes[s]; !ok {
		return "", fmt.Errorf("quantization type %q is unknown: there are %v", name, Schemes())
	}
	return s, nil
}
