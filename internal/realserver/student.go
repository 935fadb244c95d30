package realserver

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
	"cubby/runtime/engine"
	"cubby/runtime/native"
)

// Student is the banking-routing student in Q8_0, out of its package.
type Student struct {
	Model *models.Model
	GGUF  string // its weights
	Texts []string
	store *models.Store
}

// OpenStudent imports the student and reads the first rows of its test set.
func OpenStudent(t testing.TB, rows int) *Student {
	t.Helper()
	packages, shared := testenv.Packages(t), testenv.Shared(t)
	s := &Student{store: models.NewStore(t.TempDir())}
	if _, err := importer.Import(context.Background(), s.store, importer.Options{
		Path: filepath.Join(packages, "banking-routing", "gguf.tar"), Name: "banking",
	}); err != nil {
		t.Fatal(err)
	}
	s.Model = s.open(t)
	t.Cleanup(func() { s.Model.Close() })
	s.GGUF = filepath.Join(s.Model.Folder(), filepath.FromSlash(s.Model.Manifest.Weights))
	f, err := os.Open(filepath.Join(shared, "data", "tasks", "banking-routing", "test.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range list[1 : rows+1] {
		s.Texts = append(s.Texts, row[0])
	}
	return s
}

func (s *Student) open(t testing.TB) *models.Model {
	t.Helper()
	m, err := models.Resolve(s.store, "banking")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Tokenizer is the student's.
func (s *Student) Tokenizer(t testing.TB) engine.Tokenizer {
	t.Helper()
	tok, err := s.Model.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// Native is the native engine with the student's weights.
func (s *Student) Native(t testing.TB) engine.Engine {
	t.Helper()
	weights, err := s.Model.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	e, err := native.New(weights, s.Tokenizer(t), native.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Serve puts a scorer and a scheduler in front of an engine; both end with the test.
func (s *Student) Serve(t testing.TB, e engine.Engine) *runtime.Model {
	t.Helper()
	m, err := runtime.Open(s.open(t), e, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Reference is what Hugging Face transformers answers in float32 for the same rows,
// with the weights before they were rounded to Q8_0: likelihoods, normalised, in
// the order of the model's labels.
func (s *Student) Reference(t testing.TB) []labels.Distribution {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testenv.Shared(t), "models", "banking-routing", "chat", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Labels []string    `json:"labels"`
		Scores [][]float64 `json:"scores"`
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	out := make([]labels.Distribution, len(s.Texts))
	for i := range out {
		scores := make([]float64, len(golden.Labels))
		for j, name := range golden.Labels {
			k, ok := s.Model.Labels().Index(name)
			if !ok {
				t.Fatalf("the model has no label %q", name)
			}
			scores[k] = golden.Scores[i][j]
		}
		if out[i], err = labels.Softmax(scores); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// First is the student with the first rows only.
func (s *Student) First(rows int) *Student {
	few := *s
	few.Texts = s.Texts[:rows]
	return &few
}

// Answers scores the student's texts and fails on any that has no answer.
func (s *Student) Answers(t testing.TB, m *runtime.Model, method models.Scoring) []labels.Distribution {
	t.Helper()
	results, err := m.Score(t.Context(), runtime.Request{Texts: s.Texts, Scoring: method})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]labels.Distribution, len(results))
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("row %d: %v", i, r.Err.Cause)
		}
		out[i] = r.Distribution
	}
	return out
}

// ScoreKilled scores the student's texts with a server that is killed meanwhile: in a
// share of the time that they took before, in a smaller one where all had come by then.
func (s *Student) ScoreKilled(t testing.TB, m *runtime.Model, srv *Server) []runtime.Result {
	t.Helper()
	begun := time.Now()
	s.Answers(t, m, "")
	for wait := time.Since(begun) / 4; ; wait /= 2 {
		killed := make(chan struct{})
		kill := time.AfterFunc(wait, func() { srv.Kill(t); close(killed) })
		results, err := m.Score(t.Context(), runtime.Request{Texts: s.Texts})
		if kill.Stop() { // all had come: it lives
			continue
		}
		<-killed
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(results, func(r runtime.Result) bool { return r.Err != nil }) {
			return results
		}
		srv.Restart(t)
	}
}

// Distance says how far apart answers are.
type Distance struct {
	Agree       int     // best labels that are equal, or nearly as probable as the other's
	Mean, Worst float64 // total variation distance
}

// tie is the difference in probability up to which either of two labels is best:
// about what rounding to Q8_0 moves.
const tie = 0.05

// Compare measures a against b.
func Compare(a, b []labels.Distribution) (d Distance) {
	for i := range a {
		tv := a[i].Distance(b[i])
		d.Mean += tv / float64(len(a))
		d.Worst = max(d.Worst, tv)
		best, _ := a[i].Best()
		if _, top := b[i].Best(); b[i][best] >= top-tie {
			d.Agree++
		}
	}
	return d
}
