package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cubby/eval"
	"cubby/internal/load"
	"cubby/internal/workload"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
	"cubby/runtime/engine"
)

// fakeBackend knows three labels and answers by the first letter of a text.
type fakeBackend struct {
	mu       sync.Mutex
	set      *labels.Set
	requests []runtime.Request
	fail     error // of the whole call
	closeErr error
	closed   int
}

func newFake(t testing.TB) *fakeBackend {
	t.Helper()
	set, err := labels.NewSet([]labels.Label{{Name: "alpha"}, {Name: "beta"}, {Name: "日本\x1b[2J"}})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeBackend{set: set}
}

func (b *fakeBackend) Score(ctx context.Context, req runtime.Request) ([]runtime.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, &runtime.Error{Code: runtime.CodeCanceled, Message: "the caller left", Cause: err}
	}
	if b.fail != nil {
		return nil, b.fail
	}
	b.requests = append(b.requests, req)
	out := make([]runtime.Result, len(req.Texts))
	for i, text := range req.Texts {
		switch {
		case text == "":
			out[i].Err = &runtime.Error{Code: runtime.CodeEmptyText, Message: "the text is empty"}
		case text[0] == 'a':
			out[i] = runtime.Result{Distribution: labels.Distribution{.75, .25, 0}, Tokens: len(text)}
		case text[0] == 'b':
			out[i] = runtime.Result{Distribution: labels.Distribution{.125, .5, .375}, Tokens: len(text), Review: true, Truncated: 3}
		default:
			out[i] = runtime.Result{Distribution: labels.Distribution{0, 0, 1}, Tokens: len(text)}
		}
	}
	return out, nil
}

func (b *fakeBackend) Info() runtime.Info {
	return runtime.Info{
		Model: "fake", Artifact: "sha256:0", Labels: b.set, Scoring: models.Constrained, Calibrated: true,
		Engine: engine.Info{Engine: "fake", Kernel: "none", Threads: 1},
	}
}

func (b *fakeBackend) Close() error {
	b.closed++
	return b.closeErr
}

// start runs the program on the fake and returns what it wrote and its code.
func start(ctx context.Context, b *fakeBackend, stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	p := &program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
		load: func(string, load.Options) (runtime.Backend, error) { return b, nil }}
	code = p.run(ctx, append([]string{"classify"}, args...))
	return out.String(), errs.String(), code
}

func TestAnswerForReading(t *testing.T) {
	b := newFake(t)
	out, errs, code := start(t.Context(), b, "", "a\x1b[31m b\nc", "b", "z")
	want := "0  a\ufffd[31m b c\n" +
		"alpha       0.7500\n" +
		"  beta      0.2500\n" +
		"  日本\ufffd[2J  0.0000\n"
	if code != exitOK || errs != "" || !strings.HasPrefix(out, want) {
		t.Errorf("code %d, stderr %q, stdout\n%s\nwant it to begin\n%s", code, errs, out, want)
	}
	if !strings.Contains(out, "review: the probability is below the model's threshold\ntruncated: the last 3 tokens") {
		t.Errorf("the second text's review and truncation are not told:\n%s", out)
	}
	if b.closed != 1 || len(b.requests) != 1 {
		t.Errorf("closed %d times after %d requests", b.closed, len(b.requests))
	}
}

func TestRecord(t *testing.T) {
	out, _, code := start(t.Context(), newFake(t), "", "-json", "-top-k", "2", "b", "")
	want := `{"index":0,"artifact":"sha256:0","label":"beta","probability":0.5,"scores":[{"label":"beta","probability":0.5},{"label":"日本\u001b[2J","probability":0.375}],"review":true,"calibrated":true,"tokens":1,"truncated":3}
{"index":1,"artifact":"sha256:0","error":{"code":"empty_text","message":"the text is empty"}}
`
	if out != want || code != exitPartial {
		t.Errorf("code %d\n%s\nwant\n%s", code, out, want)
	}
}

// TestManyRows: a file of any length is answered completely and in order.
func TestManyRows(t *testing.T) {
	for _, n := range []int{1, batchRows - 1, batchRows, batchRows + 1, 3*batchRows + 5} {
		var in strings.Builder
		in.WriteString("text\n")
		for i := range n {
			fmt.Fprintf(&in, "a%d\n", i)
		}
		b := newFake(t)
		out, errs, code := start(t.Context(), b, in.String(), "-")
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if code != exitOK || errs != "" || len(lines) != n {
			t.Fatalf("%d rows: code %d, %d lines, %s", n, code, len(lines), errs)
		}
		for i, line := range lines {
			var r struct{ Index, Line int }
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Index != i || r.Line != i+2 {
				t.Fatalf("%d rows: line %d is %s (%v)", n, i, line, err)
			}
		}
	}
}

// TestLongRowsMakeSmallBatches: a batch is bounded in bytes too.
func TestLongRowsMakeSmallBatches(t *testing.T) {
	b := newFake(t)
	long := strings.Repeat("a", batchBytes/2)
	if _, errs, code := start(t.Context(), b, "text\n"+strings.Repeat(long+"\n", 5), "-"); code != exitOK {
		t.Fatalf("code %d: %s", code, errs)
	}
	var sizes []int
	for _, r := range b.requests {
		sizes = append(sizes, len(r.Texts))
	}
	if fmt.Sprint(sizes) != "[2 2 1]" {
		t.Errorf("batches of %v", sizes)
	}
}

func TestScoringIsPassedOn(t *testing.T) {
	for flag, want := range map[string]models.Scoring{"": "", "likelihood": models.Likelihood, "constrained": models.Constrained} {
		b := newFake(t)
		args := []string{"a"}
		if flag != "" {
			args = []string{"-scoring", flag, "a"}
		}
		if _, errs, code := start(t.Context(), b, "", args...); code != exitOK || b.requests[0].Scoring != want {
			t.Errorf("-scoring %q: code %d, %s; passed on %q", flag, code, errs, b.requests[0].Scoring)
		}
	}
}

func TestFailures(t *testing.T) {
	const labelled = "question,answer\na,alpha\n"
	for name, args := range map[string][]string{
		"text": {"a"}, "data": {"-"}, "eval": {"eval", "-data", "-"}, "bench": {"bench", "-data", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFake(t)
			b.fail = &runtime.Error{Code: runtime.CodeEngineFailed, Message: "the engine failed"}
			out, errs, code := start(t.Context(), b, labelled, args...)
			if code != exitFailed || !strings.Contains(errs, "the engine failed") || out != "" {
				t.Errorf("engine failure: code %d, %q, %q", code, errs, out)
			}
			if b.closed != 1 {
				t.Errorf("engine failure: closed %d times", b.closed)
			}

			b = newFake(t)
			b.closeErr = errors.New("close failed")
			if _, errs, code = start(t.Context(), b, labelled, args...); code != exitFailed || !strings.Contains(errs, "close failed") {
				t.Errorf("failure to close: code %d, %q", code, errs)
			}

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			out, errs, code = start(ctx, newFake(t), labelled, args...)
			if code != exitInterrupted || errs != "classify: interrupted\n" || out != "" {
				t.Errorf("interrupt: code %d, %q, %q", code, errs, out)
			}

			b = newFake(t)
			p := &program{stdin: strings.NewReader(labelled), stdout: brokenWriter{}, stderr: io.Discard,
				load: func(string, load.Options) (runtime.Backend, error) { return b, nil }}
			if code := p.run(t.Context(), append([]string{"classify"}, args...)); code != exitFailed {
				t.Errorf("output that cannot be written: code %d", code)
			}
		})
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestEvalReport(t *testing.T) {
	const labelled = "question,answer\na1,alpha\na2,beta\nb1,beta\n,beta\n"
	out, _, code := start(t.Context(), newFake(t), labelled, "eval", "-data", "-")
	want := `model        fake  sha256:0
scoring      constrained
rows         4, 1 without an answer, counted as wrong
accuracy     0.5000  (2 of 4; 95 % interval 0.1500 to 0.8500)
macro-F1     0.5833  (interval 0.0000 to 1.0000); weighted 0.5417
MCC          0.3873
top 3        0.7500 have the true label among the best 3; 0.7500 among 2
log loss     0.7890
confidence   0.6667 on average
calibration  Brier 0.5521; ECE 0.3333 (interval 0.0000 to 0.5833), no more than chance gives without fault (0.6667)
risk         0.4583 is the area under risk by coverage
review       1 of 4 rows are below the threshold
truncated    1 of 4 rows lost their end
`
	if code != exitPartial || !strings.HasPrefix(out, want) {
		t.Errorf("code %d, got\n%s\nwant it to begin\n%s", code, out, want)
	}
	table := `   label     precision  recall     F1      F1 95 %  support
1  alpha         0.500   1.000  0.667  0.000-1.000        1
2  beta          1.000   0.333  0.500  0.000-1.000        3
3  日本` + "\ufffd" + `[2J      0.000   0.000  0.000  0.000-1.000        0

confusion (row: true label, column: predicted)
   1  2  3  none
1  1  .  .     .
2  1  1  .     1
3  .  .  .     .

rows without an answer
line  true label  error
   5  beta        the text is empty
`
	if !strings.HasSuffix(out, table) {
		t.Errorf("got\n%s\nwant it to end\n%s", out, table)
	}
}

// An evaluation that stopped goes on behind its last whole answer, and its report is
// that of one run.
func TestEvalGoesOn(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("question,answer\n")
	for i := range 3 * eval.DefaultBatch {
		fmt.Fprintf(&rows, "a%d,%s\n", i, []string{"alpha", "beta"}[i%2])
	}
	file := filepath.Join(t.TempDir(), "p.jsonl")
	args := []string{"eval", "-data", "-", "-predictions", file, "-json"}
	whole, errs, code := start(t.Context(), newFake(t), rows.String(), args...)
	if code != exitOK {
		t.Fatal(errs)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []int{len(want) - 1, len(want) / 2, bytes.IndexByte(want, '\n') + 1} {
		if err := os.WriteFile(file, want[:kept], 0o644); err != nil {
			t.Fatal(err)
		}
		b := newFake(t)
		out, errs, code := start(t.Context(), b, rows.String(), args...)
		if code != exitOK {
			t.Fatal(errs)
		}
		asked := 0
		for _, r := range b.requests {
			asked += len(r.Texts)
		}
		if missing := 3*eval.DefaultBatch + 1 - bytes.Count(want[:kept], []byte("\n")); asked != missing {
			t.Errorf("%d texts were asked, %d were missing", asked, missing)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file holds %d bytes, %d before: %v", len(got), len(want), err)
		}
		before, _, _ := strings.Cut(whole, `"resumed"`)
		after, _, _ := strings.Cut(out, `"resumed"`)
		if before != after {
			t.Errorf("%s\nin one run\n%s", after, before)
		}
	}
}

func TestBenchReport(t *testing.T) {
	b := newFake(t)
	out, errs, code := start(t.Context(), b, "text\naa\nb\n\"\"\n", "bench", "-data", "-", "-json", "-batch", "2", "-passes", "2")
	if code != exitOK {
		t.Fatalf("code %d: %s", code, errs)
	}
	var r struct {
		ItemsPerSecond      float64  `json:"items_per_second"`
		TokensPerSecond     float64  `json:"tokens_per_second"`
		P50                 float64  `json:"p50_ms"`
		P99                 float64  `json:"p99_ms"`
		ColdStart           *float64 `json:"cold_start_ms"`
		Rows                int
		Kernel              string
		Latency, Throughput workload.Measured
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Rows != 3 || r.Kernel != "none" || r.ColdStart == nil || r.ItemsPerSecond <= 0 || r.TokensPerSecond <= 0 || r.P50 <= 0 || r.P50 > r.P99 {
		t.Errorf("got %s", out)
	}
	for name, m := range map[string]workload.Measured{"latency": r.Latency, "throughput": r.Throughput} {
		if m.Items != 6 || m.Errors != 2 || m.Tokens != 6 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if r.Latency.Calls != 6 || r.Throughput.Calls != 4 {
		t.Errorf("%d and %d calls", r.Latency.Calls, r.Throughput.Calls)
	}
	if out, errs, code = start(t.Context(), newFake(t), "text,n\n,1\n,2\n", "bench", "-data", "-"); code != exitFailed || !strings.Contains(errs, "no text got an answer") || out != "" {
		t.Errorf("a file of empty texts: code %d, %q", code, errs)
	}
}
