package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"cubby/eval"
	"cubby/internal/feedback"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
)

func say(s *Server, body string) *httptest.ResponseRecorder {
	return ask(s, http.MethodPost, "/v1/feedback", body)
}

func scrape(t *testing.T, s *Server) string {
	t.Helper()
	w := ask(s, http.MethodGet, "/metrics", "")
	want(t, w, http.StatusOK, "")
	return w.Body.String()
}

// Feedback meets the answers that it is about, once.
func TestFeedback(t *testing.T) {
	var kept []feedback.Feedback
	s := readyServer(newFake(), Options{Keep: func(list []feedback.Feedback) error { kept = append(kept, list...); return nil }})
	post(s, `{"input":[{"id":"a","text":"hello"},{"id":"b","text":"hi"},{"id":"c","text":""},{"text":"hi"},{"id":"`+strings.Repeat("x", maxID+1)+`","text":"hi"}]}`)
	w := say(s, `{"model":"bank","feedback":[{"id":"a","label":"card","text":"hello"},{"id":"b","label":"cash"},{"id":"c","label":"cash"}]}`)
	want(t, w, http.StatusOK, "")
	if got := strings.TrimSpace(w.Body.String()); got != `{"model":"bank","right":1,"wrong":1,"unknown":1}` {
		t.Error(got)
	}
	if len(kept) != 3 || kept[0].Predicted != "card" || kept[0].Probability != 0.625 || kept[0].Text != "hello" || kept[0].Artifact != "sha256:ab12" || kept[2].Predicted != "" {
		t.Errorf("%+v", kept)
	}
	if w := say(s, `{"feedback":[{"id":"a","label":"card"}]}`); strings.TrimSpace(w.Body.String()) != `{"model":"bank","right":0,"wrong":0,"unknown":1}` {
		t.Errorf("an answer was judged twice: %s", w.Body)
	}
	for _, line := range []string{`cubby_feedback_total{model="bank",outcome="right"} 1`, `cubby_feedback_total{model="bank",outcome="wrong"} 1`, `cubby_feedback_total{model="bank",outcome="unknown"} 2`} {
		if !strings.Contains(scrape(t, s), line) {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(scrape(t, s), "cubby_feedback_accuracy{") {
		t.Error("an accuracy is told of two answers")
	}
}

func TestBadFeedback(t *testing.T) {
	s := readyServer(newFake(), Options{})
	for body, code := range map[string]string{
		`{`:                               "bad_json",
		`[]`:                              "wrong_type",
		`{}`:                              "missing_field",
		`{"feedback":{}}`:                 "wrong_type",
		`{"feedback":[]}`:                 "bad_value",
		`{"feedback":[{"id":"a"}]}`:       "missing_field",
		`{"feedback":[{"label":"card"}]}`: "missing_field",
		`{"feedback":[{"id":"a","label":"other"}]}`:                                                              "bad_value",
		`{"feedback":[{"id":"a","label":"card","note":"x"}]}`:                                                    "unknown_field",
		`{"feedback":[{"id":"a","label":"card","label":"cash"}]}`:                                                "duplicate_field",
		`{"feedback":[{"id":1,"label":"card"}]}`:                                                                 "wrong_type",
		`{"feedback":[{"id":"a","label":"card"}],"x":1}`:                                                         "unknown_field",
		`{"model":"shop","feedback":[{"id":"a","label":"card"}]}`:                                                "unknown_model",
		`{"feedback":[` + strings.Repeat(`{"id":"a","label":"card"},`, maxItems) + `{"id":"a","label":"card"}]}`: "too_many_items",
	} {
		if w := say(s, body); !strings.Contains(w.Body.String(), `"code":"`+code+`"`) {
			t.Errorf("%.60s: %d %s, want %s", body, w.Code, w.Body, code)
		}
	}
	broken := true
	failing := readyServer(newFake(), Options{Keep: func([]feedback.Feedback) error {
		if broken {
			return errors.New("disk full")
		}
		return nil
	}})
	post(failing, `{"input":[{"id":"a","text":"hello"}]}`)
	want(t, say(failing, `{"feedback":[{"id":"a","label":"card"}]}`), http.StatusInternalServerError, "internal")
	if strings.Contains(scrape(t, failing), "cubby_feedback_total{") {
		t.Error("feedback that was not kept was counted")
	}
	broken = false
	if w := say(failing, `{"feedback":[{"id":"a","label":"cash"}]}`); !strings.Contains(w.Body.String(), `"wrong":1`) {
		t.Errorf("the answer was forgotten with the feedback that was not kept: %s", w.Body)
	}
	refused := readyServer(newFake(), Options{})
	post(refused, `{"input":[{"id":"a","text":"hello"}]}`)
	want(t, say(refused, `{"feedback":[{"id":"a","label":"card"},{"id":"b","label":"other"}]}`), http.StatusBadRequest, "bad_value")
	if w := say(refused, `{"feedback":[{"id":"a","label":"card"}]}`); !strings.Contains(w.Body.String(), `"right":1`) {
		t.Errorf("the answer was forgotten with the request that was refused: %s", w.Body)
	}
}

// An answer is judged once, also where its id comes again in a request or in others at
// the same time.
func TestJudgedOnce(t *testing.T) {
	arrived, all := make(chan struct{}, 8), make(chan struct{})
	s := readyServer(newFake(), Options{Keep: func([]feedback.Feedback) error {
		arrived <- struct{}{}
		<-all
		return nil
	}})
	post(s, `{"input":[{"id":"a","text":"hello"},{"id":"b","text":"hello"}]}`)
	const requests = 8
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			say(s, `{"feedback":[{"id":"a","label":"card"},{"id":"a","label":"card"},{"id":"a","label":"cash"},{"id":"b","label":"cash"}]}`)
		})
	}
	for range requests {
		<-arrived
	}
	close(all)
	wg.Wait()
	metrics := scrape(t, s)
	for outcome, n := range map[string]int{"right": 1, "wrong": 1, "unknown": 4*requests - 2} {
		if line := fmt.Sprintf("cubby_feedback_total{model=\"bank\",outcome=%q} %d\n", outcome, n); !strings.Contains(metrics, line) {
			t.Errorf("no %s", line)
		}
	}
}

// reportOf is an evaluation in which the fake's labels were answered so often.
func reportOf(cash, card, loan int) []byte {
	bins := make([]int, len(eval.ConfidenceEdges)+1)
	bins[eval.ConfidenceBin(0.625)] = cash + card + loan
	return fmt.Appendf(nil, `{"per_class":{"cash":{"predicted":%d},"card":{"predicted":%d},"loan <small>":{"predicted":%d}},"confidences":%s}`,
		cash, card, loan, strings.ReplaceAll(fmt.Sprint(bins), " ", ","))
}

// Drift is that of the last answers, told once there are enough, and gone with those
// that made it.
func TestDrift(t *testing.T) {
	backend := newFake()
	odd := false
	backend.score = func(_ context.Context, req runtime.Request) ([]runtime.Result, error) {
		out := make([]runtime.Result, len(req.Texts))
		for i := range out {
			out[i] = result("text")
			if odd {
				out[i].Distribution = labels.Distribution{0.995, 0.005, 0}
			}
		}
		return out, nil
	}
	s := readyServer(backend, Options{Report: func(artifact string) ([]byte, error) {
		if artifact != "sha256:ab12" {
			t.Errorf("asked about %s", artifact)
		}
		return reportOf(0, 96, 0), nil
	}})
	send := func(n int) {
		t.Helper()
		for ; n > 0; n -= 50 {
			want(t, post(s, `{"input":["`+strings.Repeat(`a","`, 49)+`a"]}`), http.StatusOK, "")
		}
	}
	drift := func() (l, c float64) {
		for _, line := range strings.Split(scrape(t, s), "\n") {
			if v, ok := strings.CutPrefix(line, `cubby_drift_psi{model="bank",of="labels"} `); ok {
				fmt.Sscan(v, &l)
			}
			if v, ok := strings.CutPrefix(line, `cubby_drift_psi{model="bank",of="confidences"} `); ok {
				fmt.Sscan(v, &c)
			}
		}
		return l, c
	}
	send(50)
	if strings.Contains(scrape(t, s), "cubby_drift_psi{") {
		t.Error("drift is told of 50 answers")
	}
	send(950)
	if l, c := drift(); l <= 0 || l > 0.1 || c > 0.1 {
		t.Errorf("drift of %v and %v without any", l, c)
	}
	odd = true
	send(500)
	if l, c := drift(); l < 1 || c < 1 {
		t.Errorf("drift of %v and %v where half of the answers are others", l, c)
	}
	odd = false
	send(1000)
	if l, c := drift(); l > 0.1 || c > 0.1 {
		t.Errorf("drift of %v and %v after it has gone", l, c)
	}
	w := ask(s, http.MethodGet, "/v1/models/bank/report", "")
	want(t, w, http.StatusOK, "")
	if w.Body.String() != string(reportOf(0, 96, 0)) {
		t.Error(w.Body)
	}
}

func TestNoReport(t *testing.T) {
	for _, opt := range []Options{{}, {Report: func(string) ([]byte, error) { return nil, errors.New("none") }}, {Report: func(string) ([]byte, error) { return []byte("{}"), nil }}} {
		s := readyServer(newFake(), opt)
		for range 3 {
			post(s, `{"input":["`+strings.Repeat(`a","`, 49)+`a"]}`)
		}
		if strings.Contains(scrape(t, s), "cubby_drift_psi{") {
			t.Error("drift is told without a measure")
		}
	}
	s := readyServer(newFake(), Options{})
	want(t, ask(s, http.MethodGet, "/v1/models/bank/report", ""), http.StatusNotFound, "not_found")
	want(t, ask(s, http.MethodGet, "/v1/models/shop/report", ""), http.StatusNotFound, "unknown_model")
	for err, code := range map[error]runtime.Code{fmt.Errorf("%w: none kept", models.ErrNotFound): "not_found", errors.New("disk on fire"): "internal"} {
		s := readyServer(newFake(), Options{Report: func(string) ([]byte, error) { return nil, err }})
		status := map[runtime.Code]int{"not_found": http.StatusNotFound, "internal": http.StatusInternalServerError}[code]
		want(t, ask(s, http.MethodGet, "/v1/models/bank/report", ""), status, code)
	}
}

// Drift of many labels is told once there are five answers for each, or the window is
// full; and with it what of it is chance.
func TestDriftOfManyLabels(t *testing.T) {
	for n, least := range map[int]int{3: 100, 20: 100, 50: 250, 300: windowSize} {
		m := newMonitor(newFake().Info().Labels, nil)
		m.reference = &reference{labels: slices.Repeat([]int{4}, n), bins: []int{0, 0, 0, 0, 0, 0, 0, 9}}
		m.labels = make([]int, n)
		registry := prometheus.NewRegistry()
		registry.MustRegister(monitors{"bank": m})
		told := func() map[string]bool {
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			of := map[string]bool{}
			for _, f := range families {
				for _, metric := range f.GetMetric() {
					for _, label := range metric.GetLabel() {
						of[f.GetName()+" "+label.GetValue()] = true
					}
				}
			}
			return of
		}
		for i := range least {
			if i == least-1 && told()["cubby_drift_psi labels"] {
				t.Errorf("%d labels: told of %d answers", n, i)
			}
			m.answered([]runtime.Result{{Distribution: labels.Distribution{1, 0, 0}}})
		}
		got := told()
		for _, name := range []string{"cubby_drift_psi labels", "cubby_drift_psi confidences", "cubby_drift_noise labels", "cubby_drift_noise confidences"} {
			if !got[name] {
				t.Errorf("%d labels: no %s of %d answers", n, name, least)
			}
		}
	}
}

// The accuracy is that of the last feedback.
func TestRollingAccuracy(t *testing.T) {
	m := newMonitor(newFake().Info().Labels, nil)
	for i := range 3 * windowSize {
		m.judged(i < 2*windowSize || i%4 == 0)
	}
	if m.hits != windowSize/4 || len(m.right.list) != windowSize {
		t.Errorf("%d of %d", m.hits, len(m.right.list))
	}
}

func FuzzFeedbackBody(f *testing.F) {
	f.Add(`{"model":"bank","feedback":[{"id":"a","label":"card","text":"x"}]}`)
	f.Add(`{"feedback":[{"id":"\ud800","label":""}]}`)
	s := readyServer(newFake(), Options{})
	f.Fuzz(func(t *testing.T, body string) {
		if w := say(s, body); w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
