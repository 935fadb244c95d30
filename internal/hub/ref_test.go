package hub

import (
	"io/fs"
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	for text, want := range map[string]Ref{
		"hf.co/org/Repo":                                                   {Repo: "org/Repo"},
		"HF.co/org/Repo/":                                                  {Repo: "org/Repo"},
		"hf.co/org/repo@v1.0":                                              {Repo: "org/repo", Rev: "v1.0"},
		"hf.co/org/repo@refs/pr/1":                                         {Repo: "org/repo", Rev: "refs/pr/1"},
		"hf.co/org/repo/sub/m-q8_0.gguf@" + sha:                            {Repo: "org/repo", File: "sub/m-q8_0.gguf", Rev: sha},
		"https://huggingface.co/org/repo":                                  {Repo: "org/repo"},
		"https://hf.co/org/repo?x=y#z":                                     {Repo: "org/repo"},
		"huggingface.co/org/repo/tree/main":                                {Repo: "org/repo", Rev: "main"},
		"https://huggingface.co/o/r/tree/a%2Fb":                            {Repo: "o/r", Rev: "a/b"},
		"https://huggingface.co/o/r/blob/v1/a/b":                           {Repo: "o/r", Rev: "v1", File: "a/b"},
		"https://www.huggingface.co/o/r/raw/v1/a":                          {Repo: "o/r", Rev: "v1", File: "a"},
		"https://huggingface.co/o/r/resolve/main/m%20x.gguf?download=true": {Repo: "o/r", Rev: "main", File: "m x.gguf"},
	} {
		got, err := ParseRef(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
			continue
		}
		if back, err := ParseRef(got.String()); err != nil || back != got {
			t.Errorf("%s: %s is read as %+v, %v", text, got, back, err)
		}
	}
	for _, text := range []string{"hf.co", "hf.co/org", "hf.co/datasets/a/b", "hf.co/a/b@", "hf.co/a/b@v..1", "hf.co/a/b/blob", "hf.co/a/b/blob/x/f@y", "hf.co/a/../b", "hf.co/a/b/../c",
		"hf.co/a/b/%2e%2e/c", "hf.co/a/b%zz", "hf.co/-a/b", "hf.co/a/b--c", "hf.co/a/b:Q4_K_M", "hf.co//a/b", `hf.co/a/b/c\d`, "example.com/a/b"} {
		if r, err := ParseRef(text); err == nil || !strings.Contains(err.Error(), "write hf.co/ORG/REPO") {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
	}
	for text, want := range map[string]bool{"hf.co/a/b": true, "https://huggingface.co": true, "huggingface.co/a/b": true, "hf.com/a/b": false, "my-model": false, "hf.conference": false} {
		if IsRef(text) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"hf.co/o/r/f.gguf@v1", "https://huggingface.co/o/r/blob/main/a/b", "hf.co/%2e/..", "hf.co/a/b@c@d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRef(text)
		if err != nil {
			return
		}
		if !ValidRepo(r.Repo) || r.File != "" && !fs.ValidPath(r.File) || strings.Contains(r.Repo+r.Rev, "..") {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
