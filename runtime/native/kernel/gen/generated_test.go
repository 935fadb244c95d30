package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedFiles runs each go:generate line of the kernel package with other
// places to write to, and compares. The first line names those places.
func TestGeneratedFiles(t *testing.T) {
	text, err := os.ReadFile("../generate.go")
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(line, "//go:generate go run -C gen ")
		if !ok {
			continue
		}
		runs++
		args, files := strings.Fields(command), map[string]string{}
		for i, arg := range args {
			if strings.HasPrefix(arg, "../") {
				args[i] = filepath.Join(t.TempDir(), filepath.Base(arg))
				files[arg] = args[i]
			}
		}
		if out, err := exec.Command("go", append([]string{"run"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		for file, written := range files {
			if !bytes.Equal(body(t, file), body(t, written)) {
				t.Errorf("%s is not what the generator writes: run go generate", file)
			}
		}
	}
	if runs == 0 {
		t.Error("generate.go runs no generator")
	}
}

// body returns a file without its first line.
func body(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}
