package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What it prints is what works.
func TestServe(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "org", "repo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "org", "repo", "m.gguf"), []byte("GGUF"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"-listen", "127.0.0.1:0", "-root", root, "-gated", "org/repo"}, w) }()
	set := map[string]string{}
	for lines := bufio.NewScanner(r); set["HF_TOKEN"] == "" && lines.Scan(); {
		if text, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export "); ok {
			for _, pair := range strings.Fields(text) {
				name, value, _ := strings.Cut(pair, "=")
				set[name] = value
			}
		}
	}
	req, err := http.NewRequest(http.MethodGet, set["HF_ENDPOINT"]+"/org/repo/resolve/main/m.gguf", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+set["HF_TOKEN"])
	client := http.Client{CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		req.Header.Del("Authorization") // another port is another host
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != "GGUF" {
		t.Errorf("%s: %q, %v", resp.Status, body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{}, {"-root", root, "-listen", "nowhere"}, {"-colour"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
