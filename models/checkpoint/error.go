package checkpoint

import "fmt"

// UnsupportedError says that weights are of an architecture that the native
// engine does not compute.
type UnsupportedError struct {
	Architecture string // as the file names it: "qwen3", "Qwen3ForCausalLM"
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("architecture %q is not supported by the native engine, which runs only the llama family; llama.cpp can run it", e.Architecture)
}
