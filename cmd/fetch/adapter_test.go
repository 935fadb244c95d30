package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
)

// A package that holds only an adapter needs its base, which the program names.
func TestImportAdapter(t *testing.T) {
	if testing.Short() {
		t.Skip("merges 135 million weights: not in short mode")
	}
	packages := testenv.Packages(t)
	home, empty := t.TempDir(), t.TempDir()
	t.Setenv("HF_HUB_CACHE", empty)
	pack := filepath.Join(packages, "banking-routing", "adapter.tar")
	fetch := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = run(t.Context(), append([]string{"fetch", "-home", home}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, _, stderr := fetch("import", pack, "-name", "student")
	if code != exitFailure || !strings.Contains(stderr, "its base model HuggingFaceTB/SmolLM2-135M-Instruct are not inside") || !strings.Contains(stderr, "-base FOLDER") {
		t.Errorf("without a base: exit code %d, %s", code, stderr)
	}
	code, stdout, stderr := fetch("import", pack, "-name", "student", "-base", filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct"))
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "installed student: 8 labels, 258.") ||
		!strings.Contains(stdout, "note: merged at import from the base SmolLM2-135M-Instruct (sha256:") {
		t.Errorf("with its base: exit code %d, %s%s", code, stdout, stderr)
	}
}

// Kept beside its base, an adapter needs the engine llama, which is not installed.
func TestKeepAdapterNeedsLlama(t *testing.T) {
	packages := testenv.Packages(t)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"fetch", "-home", t.TempDir(), "import", filepath.Join(packages, "banking-routing", "adapter.tar"), "-name", "student",
		"-base", filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct"), "-keep-adapter"}, &out, &errs)
	if code != exitUnsupported || !strings.Contains(errs.String(), "import the package without -keep-adapter") || !strings.Contains(errs.String(), "fetch runtime") {
		t.Errorf("exit code %d, %s%s", code, out.String(), errs.String())
	}
}
