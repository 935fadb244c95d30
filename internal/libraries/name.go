package libraries

import (
	"regexp"
	"slices"
	"strings"
)

// The kinds of libraries: what they compute on besides the processor.
const (
	CPU    = "cpu"
	CUDA   = "cuda"   // NVIDIA GPUs, with the libraries of CUDA 13 or later
	CUDA12 = "cuda12" // NVIDIA GPUs, with those of CUDA 12
	Vulkan = "vulkan"
	Metal  = "metal" // GPUs of Apple
)

// kinds lists them, the one that Find prefers first.
var kinds = []string{Metal, CUDA, CUDA12, Vulkan, CPU}

// Kinds returns the kinds of libraries, GPU kinds first.
func Kinds() []string { return slices.Clone(kinds) }

// libraryRule takes a library's file name apart: its plain name, and the version
// where there is one, before or behind the suffix. It is "libllama.so",
// "libllama.v0.5.0.so", "libllama.cuda.v0.5.0.so", "libllama.so.0.5.0",
// "libllama.0.5.0.dylib" or "llama.dll".
var libraryRule = regexp.MustCompile(`^(?:lib)?([A-Za-z0-9_+-]+)((?:\.[A-Za-z0-9_-]+)*?)\.(so((?:\.[0-9]+)*)|dylib|dll)$`)

// IsLibrary says whether a file name is one of a shared library.
func IsLibrary(name string) bool {
	return libraryRule.MatchString(name) && (strings.HasPrefix(name, "lib") || strings.HasSuffix(name, ".dll"))
}

// Plain is a library's name without prefix, versions and suffix: "llama",
// "ggml-cpu-haswell"; empty for another file.
func Plain(file string) string {
	if m := libraryRule.FindStringSubmatch(file); m != nil && IsLibrary(file) {
		return m[1]
	}
	return ""
}

var versionRule = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)

// VersionOf finds llama.cpp's version in the name of libllama, "" where there is
// none: the other libraries count theirs apart.
func VersionOf(files []string) string {
	for _, f := range files {
		if Plain(f) == "llama" {
			if v := versionRule.FindString(f); v != "" {
				return v
			}
		}
	}
	return ""
}

// KindOf tells the kind from the backends among the libraries.
func KindOf(files []string) string {
	for _, kind := range kinds {
		for _, f := range files {
			if Plain(f) == "ggml-"+kind {
				return kind
			}
		}
	}
	return CPU
}

// Missing names what a set of libraries lacks to be loaded; empty for nothing.
func Missing(files []string) string {
	var plain []string
	for _, f := range files {
		plain = append(plain, Plain(f))
	}
	for _, want := range []string{"ggml-base", "ggml", "llama"} {
		if !slices.Contains(plain, want) {
			return "lib" + want
		}
	}
	if !slices.ContainsFunc(plain, func(p string) bool { return p == "ggml-cpu" || strings.HasPrefix(p, "ggml-cpu-") }) {
		return "libggml-cpu"
	}
	return ""
}
