package main

import (
	"context"
	"testing"

	"cubby/models"

	"github.com/urfave/cli/v3"
)

// What is printed to be typed is what a shell takes as one word.
func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"a/b-c.json": "a/b-c.json", "": "''", "my file": "'my file'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "~/x": "'~/x'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}

// The flags that were given are repeated, and those that the manifest tells of.
func TestRepeated(t *testing.T) {
	m := &models.Manifest{Adapter: "adapter.gguf", Source: models.Source{Kind: models.Merged, Quantized: &models.Quantized{To: "q8_0"}}}
	if got := kind(m); got != "merged q8_0" {
		t.Errorf("kind %q", got)
	}
	t.Setenv("CUBBY_PLATFORM", "http://127.0.0.1:1")
	for _, c := range []struct {
		args               []string
		repeated, hubFlags string
	}{
		{nil, "", " -quantize q8_0 -keep-adapter"},
		{[]string{"-quantize", "f16", "-base", "my base", "-json", "-keep-adapter"}, " -base 'my base' -keep-adapter -quantize f16", " -base 'my base' -keep-adapter -quantize f16"},
		{[]string{"-platform", "http://127.0.0.1:2", "-replay-rows", "0"}, " -platform http://127.0.0.1:2 -replay-rows 0", " -replay-rows 0 -quantize q8_0 -keep-adapter"},
	} {
		command := &cli.Command{Flags: append(append(platformFlags(), checkFlags()...), packageFlags()...), Action: func(_ context.Context, cmd *cli.Command) error {
			if got := repeated(cmd); got != c.repeated {
				t.Errorf("%q: repeated %q, want %q", c.args, got, c.repeated)
			}
			if got := hubFlags(cmd, m); got != c.hubFlags {
				t.Errorf("%q: of the hub %q, want %q", c.args, got, c.hubFlags)
			}
			return nil
		}}
		if err := command.Run(t.Context(), append([]string{"x"}, c.args...)); err != nil {
			t.Error(err)
		}
	}
}
