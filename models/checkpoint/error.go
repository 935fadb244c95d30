package checkpoint

import "fmt"

// UnsupportedError says that weights are well-formed, as far as can be seen, and
// not what the native engine computes. Another engine may.
type UnsupportedError struct {
	Architecture string // as the file names it: "lfm2", "Qwen3MoeForCausalLM"; empty where it is known
	Detail       string // what of a known architecture is not computed
}

func (e *UnsupportedError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprintf("architecture %q is not supported by the native engine, which runs llama, mistral, qwen2, qwen3 and gemma3 (text); llama.cpp can run it", e.Architecture)
}

// cannot is an UnsupportedError about a known architecture.
func cannot(format string, args ...any) error {
	return &UnsupportedError{Detail: fmt.Sprintf(format, args...)}
}
