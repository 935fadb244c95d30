package realserver

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"testing"

	"cubby/internal/testenv"
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
