package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/server"
	"cubby/internal/testenv"
)

const testKey = "0123456789abcdef"

// startServer serves the demo model and returns its address.
func startServer(t *testing.T, opt server.Options) string {
	t.Helper()
	t.Setenv("CUBBY_HOME", t.TempDir())
	m, err := load.Model("", load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	s := server.New(opt, true)
	s.Ready(m)
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return web.URL
}

// ask runs the program as its users do.
func ask(t *testing.T, key, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	t.Setenv("CUBBY_API_KEY", key)
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"classify"}, args...), strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// TestServerAnswersAlike: the same model gives the same bytes in this process
// and over HTTP, whatever the texts and however they are cut into requests.
func TestServerAnswersAlike(t *testing.T) {
	stdin := "text\nI was charged twice\n\"  \"\n\"a fee, on <my> \"\"transfer\"\"\nécole 日本\"\n" +
		strings.Repeat("the machine kept my money\n", 16)
	open, small := startServer(t, server.Options{}), startServer(t, server.Options{APIKey: testKey, MaxBody: 300})
	for _, args := range [][]string{{"-data", "-"}, {"-data", "-", "-top-k", "2", "-scoring", "likelihood"}, {"-json", "one text", ""}} {
		here, _, hereCode := ask(t, "", stdin, args...)
		for _, url := range []string{open, small} {
			there, errs, thereCode := ask(t, testKey, stdin, append([]string{"-server", url}, args...)...)
			if here != there || hereCode != thereCode || here == "" {
				t.Errorf("%q: code %d here\n%s\ncode %d there (%s)\n%s", args, hereCode, here, thereCode, errs, there)
			}
		}
	}
}

func TestServerRefusals(t *testing.T) {
	url := startServer(t, server.Options{APIKey: testKey})
	for _, tt := range []struct {
		name, key string
		args      []string
		want      string
	}{
		{"no key", "", []string{"a"}, "CUBBY_API_KEY"},
		{"wrong key", "another-key-of-length", []string{"a"}, "CUBBY_API_KEY"},
		{"unknown model", testKey, []string{"-model", "other", "a"}, `the server has no model "other"; it has ["demo"]`},
		{"scoring it lacks", testKey, []string{"-scoring", "head", "a"}, "head"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := ask(t, tt.key, "", append([]string{"-server", url}, tt.args...)...)
			said := out + errs
			if code == exitOK || !strings.Contains(said, tt.want) {
				t.Errorf("code %d, said %q; want …%s…", code, said, tt.want)
			}
		})
	}
}

// TestDemoAccuracy: the demo model on its own test set, in this process and on
// a server: the same report but for the time it took.
func TestDemoAccuracy(t *testing.T) {
	url := startServer(t, server.Options{})
	data := filepath.Join(testenv.Root(t), "models", "demo", "test.csv")
	var reports []eval.Report
	for _, where := range [][]string{nil, {"-server", url}} {
		out, errs, code := ask(t, "", "", append([]string{"eval", "-data", data, "-json"}, where...)...)
		if code != exitOK {
			t.Fatalf("code %d: %s", code, errs)
		}
		var r eval.Report
		raw := map[string]any{}
		if err := json.Unmarshal([]byte(out), &raw); err != nil {
			t.Fatal(err)
		}
		delete(raw, "per_class") // an object; Report writes it and does not read it
		rest, _ := json.Marshal(raw)
		if err := json.Unmarshal(rest, &r); err != nil {
			t.Fatal(err)
		}
		if r.Rows < 64 || len(r.Labels) != 8 || r.Errors != 0 || r.Accuracy < .7 || r.MacroF1 < .7 {
			t.Errorf("%s: %s", where, out)
		}
		t.Logf("accuracy %.4f, macro-F1 %.4f on %d rows, %.0f rows/s", r.Accuracy, r.MacroF1, r.Rows, r.RowsPerSecond)
		r.Timing = eval.Timing{}
		reports = append(reports, r)
	}
	if !reflect.DeepEqual(reports[0], reports[1]) {
		t.Errorf("in this process %+v\non a server %+v", reports[0], reports[1])
	}
}

func TestBenchServer(t *testing.T) {
	url := startServer(t, server.Options{})
	out, errs, code := ask(t, "", "text\na fee\ntwo fees\n", "bench", "-data", "-", "-json", "-server", url, "-clients", "2", "-batch", "1")
	if code != exitOK || strings.Contains(out, "cold_start_ms") || strings.Contains(out, "peak_memory_bytes") || !strings.Contains(out, `"kernel":"`) {
		t.Errorf("code %d, %s\n%s", code, errs, out)
	}
}
