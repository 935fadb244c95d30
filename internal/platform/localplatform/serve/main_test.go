package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"cubby/internal/platform/localplatform"
)

// What it prints is what works.
func TestServe(t *testing.T) {
	packages := t.TempDir()
	if err := localplatform.Sample(packages, "banking"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"-listen", "127.0.0.1:0", "-packages", packages}, w) }()
	set := map[string]string{}
	for lines := bufio.NewScanner(r); set["DISTIL_TOKEN"] == "" && lines.Scan(); {
		if text, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export "); ok {
			for _, pair := range strings.Fields(text) {
				name, value, _ := strings.Cut(pair, "=")
				set[name] = value
			}
		}
	}
	req, err := http.NewRequest(http.MethodGet, set["CUBBY_PLATFORM"]+"/slms", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+set["DISTIL_TOKEN"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v; it printed %v", resp, err, set)
	}
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"-packages", ""}, {"-packages", packages, "-era", "bronze"}, {"-packages", packages, "-listen", "nowhere"}, {"-colour"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
