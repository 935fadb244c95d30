package checkpoint

import "fmt"

// UnsupportedError says that weights are of an architecture that the native
// engine does not compute.
type UnsupportedError struct {
	Architecture string // as the file names it: "lfm2", "Qwen3MoeForCausalLM"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("architecture %q is not supported by the native engine, which runs llama, mistral, qwen2, qwen3 and gemma3 (text); llama.cpp can run it", e.Architecture)
}
