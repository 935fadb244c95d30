package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cubby/internal/load"
	"cubby/internal/platform/localplatform"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/convert"
	"cubby/models/gguf"
	"cubby/models/importer"
	"cubby/models/safetensors"
)

// shape is a form in which a package comes.
type shape struct {
	name   string
	of     string // of the platform's shapes, the one in whose place it is
	golden string // the reference of the task that it answers as
	eras   []localplatform.Era
	change func(t *testing.T, pack map[string][]byte) map[string][]byte // of the platform's package; nil: it is the one
}

// shapes come from every era; what only differs from another one in its bytes, or in
// its client, from those at the ends.
var shapes = []shape{
	{"sequence classifier", "seqcls", "seqcls", localplatform.Eras(), nil},
	{"GGUF, Q8_0", "gguf", "chat", localplatform.Eras(), nil},
	{"GGUF, F32", "gguf", "chat", []localplatform.Era{localplatform.Datasets}, inFloat32},
	{"merged beside its adapter", "merged", "chat", localplatform.Eras(), nil},
	{"merged, with get_prompt", "merged", "chat", []localplatform.Era{localplatform.Models, localplatform.Datasets}, withGetPrompt},
	{"adapter", "adapter", "chat", localplatform.Eras(), nil},
}

// withGetPrompt makes the client an older one, which says the same.
func withGetPrompt(t *testing.T, pack map[string][]byte) map[string][]byte {
	t.Helper()
	prompt := pythonString(t, pack["model_client.py"])
	for name := range pack {
		if strings.HasPrefix(name, "model-adapter/") {
			delete(pack, name)
		}
	}
	pack["model_client.py"] = []byte("class DistilLabsLLM(object):\n    def get_prompt(self, question: str) -> list[dict[str, str]]:\n        return [\n" +
		"            {\"role\": \"system\", \"content\": " + prompt + "},\n            {\"role\": \"user\", \"content\": question},\n        ]\n")
	return pack
}

// pythonString is the literal of a client's SYSTEM_PROMPT.
func pythonString(t *testing.T, client []byte) string {
	t.Helper()
	const quotes = `"""`
	_, rest, found := strings.Cut(string(client), "SYSTEM_PROMPT = "+quotes)
	text, _, closed := strings.Cut(rest, quotes)
	if !found || !closed {
		t.Fatalf("no SYSTEM_PROMPT in %s", client)
	}
	return quotes + text + quotes
}

// inFloat32 makes a GGUF of the merged package's weights, in float32.
func inFloat32(t *testing.T, pack map[string][]byte) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	merged := unpack(t, filepath.Join(testenv.Packages(t), matrixTask, "merged.tar"))
	for name, data := range merged {
		file := filepath.Join(dir, path.Base(name))
		switch {
		case path.Dir(name) != "model":
		case path.Ext(name) == ".safetensors":
			widen(t, file, data)
		default:
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b bytes.Buffer
	if _, err := convert.GGUF(t.Context(), dir, &b); err != nil {
		t.Fatal(err)
	}
	pack["model/model.gguf"] = b.Bytes()
	return pack
}

// widen writes a safetensors file in float32.
func widen(t *testing.T, file string, data []byte) {
	t.Helper()
	f, err := safetensors.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}
	var list []safetensors.Content
	for _, x := range f.Tensors() {
		list = append(list, safetensors.Content{Name: x.Name, DType: "F32", Shape: x.Shape, Write: func(w io.Writer) error {
			n := 1
			for _, d := range x.Shape {
				n *= d
			}
			values := make([]float32, n)
			gguf.Dequantize(values, x.Data, types[x.DType])
			out := make([]byte, 0, 4*n)
			for _, v := range values {
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
			}
			_, err := w.Write(out)
			return err
		}})
	}
	to, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(safetensors.Write(to, list), to.Close()); err != nil {
		t.Fatal(err)
	}
}

// unpack reads a tar whole.
func unpack(t *testing.T, name string) map[string][]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

const matrixTask = "banking-routing"

// packages is a folder of packages that holds the shape only.
func (s shape) packages(t *testing.T) string {
	t.Helper()
	task := filepath.Join(testenv.Packages(t), matrixTask)
	if s.change == nil {
		return measured(t, task, s.of)
	}
	dir := t.TempDir()
	files, err := os.ReadDir(task)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, matrixTask), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == s.of+".tar" {
			writeTar(t, filepath.Join(dir, matrixTask, f.Name()), s.change(t, unpack(t, filepath.Join(task, f.Name()))))
		} else if err := os.Symlink(filepath.Join(task, f.Name()), filepath.Join(dir, matrixTask, f.Name())); err != nil {
			t.Skip(err)
		}
	}
	return dir
}

// measured is a folder of packages with one task, and with the predictions of the model
// of that shape: a classifier's are not those of the task's other models.
func measured(t *testing.T, task, shape string) string {
	if shape != "seqcls" {
		return only(t, task)
	}
	var golden struct {
		Pred []string `json:"pred"`
	}
	data, err := os.ReadFile(filepath.Join(testenv.Shared(t), "models", filepath.Base(task), "seqcls", "golden.json"))
	if err := errors.Join(err, json.Unmarshal(data, &golden)); err != nil {
		t.Fatal(err)
	}
	rows, err := load.ReadRows(filepath.Join(task, "test.jsonl"))
	if err != nil || len(rows) != len(golden.Pred) {
		t.Fatal(len(rows), err)
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(task))
	var predictions bytes.Buffer
	for i, r := range rows {
		err = errors.Join(err, json.NewEncoder(&predictions).Encode(map[string]any{"question": r.Text, "answer": r.Answer, "prediction": golden.Pred[i], "context": nil}))
	}
	err = errors.Join(err, os.Mkdir(copied, 0o755), os.WriteFile(filepath.Join(copied, "predictions.jsonl"), predictions.Bytes(), 0o644))
	for _, name := range []string{"seqcls.tar", "job_description.json", "config.yaml", "metrics.json", "test.jsonl", "train.jsonl"} {
		err = errors.Join(err, os.Symlink(filepath.Join(task, name), filepath.Join(copied, name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(copied)
}

// Each shape of package, from each era of the platform, is pulled with one command,
// replayed, opened as a server opens it, and reproduces its canary; from the newest, it
// is evaluated with the program for it, and is as accurate as the reference. What the other eras bring is the same weights
// and the same prompt.
func TestPullPackages(t *testing.T) {
	testenv.Packages(t)
	for i, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			if testing.Short() && (s.change != nil || s.of == "adapter") {
				t.Skip("makes a package of its own, or merges one: not in short mode")
			}
			packages := s.packages(t)
			var first *models.Manifest
			for j, era := range slices.Backward(s.eras) {
				if testing.Short() && (i+j)%4 != 0 {
					continue // each era once
				}
				t.Run(string(era), func(t *testing.T) {
					m := s.pull(t, packages, era, first == nil && !testing.Short())
					if first == nil {
						first = m
					}
					if sameWeights := weights(t, m).SHA256 == weights(t, first).SHA256; !sameWeights || m.Prompt != first.Prompt || m.Answer != first.Answer {
						t.Error("another model than from the newest era")
					}
				})
			}
		})
	}
}

func weights(t *testing.T, m *models.Manifest) models.File {
	t.Helper()
	i := slices.IndexFunc(m.Files, func(f models.File) bool { return f.Path == m.Weights })
	if i < 0 {
		t.Fatalf("no weights among %v", m.Files)
	}
	return m.Files[i]
}

// pull brings the shape from an era, and looks at it; with evaluate, on its test set.
func (s shape) pull(t *testing.T, packages string, era localplatform.Era, evaluate bool) *models.Manifest {
	p := newPulling(t, localplatform.Options{Packages: packages, Era: era, Shapes: []string{s.of}}, nil)
	args := []string{"pull", p.platform.Models()[0].ID, "-as", "banking"}
	if era == localplatform.Both {
		args[1] = p.platform.Models()[0].Training
	}
	if s.of == "adapter" {
		args = append(args, "-base", filepath.Join(testenv.Packages(t), "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct"))
	}
	if era == localplatform.Models && s.of != "seqcls" {
		p.want(exitFailure, "", "name the file with -job", args...)
		args = append(args, "-job", filepath.Join(packages, matrixTask, "job_description.json"))
	}
	stdout := p.want(exitOK, "installed banking: 8 labels", "", args...)
	line := regexp.MustCompile(`(?m)^replay: .*; 96 rows, in .* s$`).FindString(stdout)
	t.Log(line)
	p.want(exitOK, "is installed already", "", args...)
	p.whole("banking")
	tars := 0
	for _, request := range p.platform.Requests() {
		if strings.HasSuffix(request, ".tar") {
			tars++
		}
		if strings.Contains(request, "/training-datasets/") {
			t.Errorf("%s costs a credit", request)
		}
	}
	if most := 5; tars > most { // one byte, and the rest, of up to two tries, and one byte
		t.Errorf("the tar was asked for %d times", tars)
	}
	m, err := p.store.Open("banking")
	if err != nil {
		t.Fatal(err)
	}
	if m.Manifest.Canary == nil {
		t.Error("no canary was recorded")
	}
	if r := m.Manifest.Replay; r == nil || r.Matched != 96 || r.Share() < importer.WantedShare || r.Outside > 0 || line == "" {
		t.Errorf("replayed %+v; printed %q", r, line)
	}
	_, train := m.Manifest.DataFile("train.jsonl")
	if f, ok := m.Manifest.TestSet(); ok != train || ok != (era == localplatform.Datasets) {
		t.Errorf("the test set kept is %+v", f)
	}
	manifest := m.Manifest
	r, err := load.Opened(m, load.Options{Engine: load.Native})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.CheckCanary(t.Context()); err != nil {
		t.Error(err)
	}
	if evaluate {
		s.evaluate(t, p)
	}
	return &manifest
}

// evaluate holds the model's accuracy against the reference's.
func (s shape) evaluate(t *testing.T, p *pulling) {
	t.Helper()
	shared := testenv.Shared(t)
	var golden struct{ Accuracy float64 }
	data, err := os.ReadFile(filepath.Join(shared, "models", matrixTask, s.golden, "golden.json"))
	if err := errors.Join(err, json.Unmarshal(data, &golden)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "cubby/cmd/classify", "eval", "-model", "banking", "-data", filepath.Join(shared, "data", "tasks", matrixTask, "test.csv"), "-json")
	cmd.Env = append(os.Environ(), models.HomeVariable+"="+p.store.Root())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	var report struct {
		Rows     int
		Accuracy float64
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	t.Logf("accuracy %.4f on %d rows, the reference's %.4f", report.Accuracy, report.Rows, golden.Accuracy)
	if row := 1 / float64(report.Rows); report.Rows == 0 || math.Abs(report.Accuracy-golden.Accuracy) > 1.01*row {
		t.Errorf("accuracy %v, the reference's %v", report.Accuracy, golden.Accuracy)
	}
}
