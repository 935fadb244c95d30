package importer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/quantize"
)

// fakeJudge accepts what it is told to.
type fakeJudge struct {
	accepts []quantize.Scheme
	few     error

	storedAs string
	sizes    []int64
	asked    []quantize.Scheme
}

func (j *fakeJudge) Prepare(*labels.Set, []Row) error { return j.few }

func (j *fakeJudge) Reference(storedAs string, bytes int64, _ []Answer) error {
	j.storedAs, j.sizes = storedAs, append(j.sizes, bytes)
	return nil
}

func (j *fakeJudge) Accept(s quantize.Scheme, bytes int64, answers []Answer) (bool, error) {
	if len(answers) != 2 {
		return false, errors.New("not two answers")
	}
	j.asked, j.sizes = append(j.asked, s), append(j.sizes, bytes)
	return slices.Contains(j.accepts, s), nil
}

func (j *fakeJudge) Report() ([]byte, error) { return []byte(`{"rows":2}`), nil }

// answering is a model that says the same of every text.
type answering struct{ fakeRunning }

func (a answering) Answer(_ context.Context, texts []string) ([]Answer, error) {
	if _, err := a.model.Checkpoint(); err != nil {
		return nil, err
	}
	list := make([]Answer, len(texts))
	for i := range list {
		list[i].Distribution = make(labels.Distribution, a.model.Labels().Len())
		list[i].Distribution[0] = 1
	}
	return list, nil
}

func startAnswering(m *models.Model) (Running, error) {
	return answering{fakeRunning{m, func(*models.Model) (*models.Canary, error) { return nil, nil }}}, nil
}

func twoRows(string) ([]Row, error) { return []Row{{1, "x", "cow"}, {2, "y", "cow"}}, nil }

// opened imports and returns the model with its weights.
func opened(t *testing.T, o Options) (*models.Model, *gguf.File, Result) {
	t.Helper()
	s := models.NewStore(t.TempDir())
	o.Name = "a"
	res, err := Import(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(m.Folder(), m.Manifest.Weights))
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return m, f, res
}

func TestImportQuantizes(t *testing.T) {
	files := qwen3Family(t).file(t)
	for _, c := range []struct {
		scheme           quantize.Scheme
		matrix, embedded gguf.Type
	}{{quantize.F16, gguf.F16, gguf.F16}, {quantize.Q8_0, gguf.Q8_0, gguf.Q8_0}, {quantize.Q4_K_M, gguf.Q5_0, gguf.Q8_0}} {
		t.Run(string(c.scheme), func(t *testing.T) {
			m, f, _ := opened(t, Options{Path: folder(t, files), Quantize: Quantization{Scheme: c.scheme}})
			if q, _ := f.Tensor("blk.0.ffn_up.weight"); q.Type != c.matrix {
				t.Errorf("matrices are %s", q.Type)
			}
			if e, _ := f.Tensor("token_embd.weight"); e.Type != c.embedded {
				t.Errorf("the embedding is %s", e.Type)
			}
			want := models.Quantized{To: string(c.scheme), From: "F32", Files: []models.File{{
				Path: "model.gguf", Size: int64(len(files["model.gguf"])), SHA256: models.DigestOf([]byte(files["model.gguf"])),
			}}}
			got := m.Manifest.Source.Quantized
			if got == nil || got.To != want.To || got.From != want.From || !slices.Equal(got.Files, want.Files) {
				t.Errorf("%+v, want %+v", got, want)
			}
			if m.Manifest.Weights != "model-"+string(c.scheme)+".gguf" || hasFile(m.Manifest.Files, "model.gguf", []byte(files["model.gguf"])) {
				t.Errorf("weights %s of %v", m.Manifest.Weights, m.Manifest.Files)
			}
			if q := (Quantization{Scheme: c.scheme}); !q.Done(m.Manifest) || (Quantization{Scheme: Auto}).Done(m.Manifest) || !(Quantization{}).Done(m.Manifest) {
				t.Error("it is not told to be what it is")
			}
		})
	}
}

func TestImportQuantizesNothingTwice(t *testing.T) {
	_, first, _ := opened(t, Options{Path: folder(t, qwen3Family(t).file(t)), Quantize: Quantization{Scheme: quantize.Q8_0}})
	var b bytes.Buffer
	p, err := quantize.NewPlan(first, quantize.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"model.gguf": b.String(), clientName: smallClient, jobName: smallJob}
	m, _, _ := opened(t, Options{Path: folder(t, files), Quantize: Quantization{Scheme: quantize.Q8_0}})
	if m.Manifest.Weights != "model.gguf" || !(Quantization{Scheme: quantize.Q8_0}).Done(m.Manifest) {
		t.Errorf("%+v", m.Manifest.Source)
	}
	_, err = Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: folder(t, files), Name: "a", Quantize: Quantization{Scheme: quantize.F16}})
	if raise, _ := errors.AsType[*quantize.RaiseError](err); raise == nil {
		t.Error(err)
	}
}

func TestImportConvertsWhatItQuantizes(t *testing.T) {
	fam := qwen3Family(t)
	converted := fam.file(t)["model.gguf"]
	convert := func(_ context.Context, _ string, w io.Writer) (string, error) {
		_, err := io.WriteString(w, converted)
		return "a test", err
	}
	m, f, _ := opened(t, Options{Path: folder(t, fam.folder(t)), Convert: convert, Quantize: Quantization{Scheme: quantize.Q8_0}})
	if q, _ := f.Tensor("blk.0.ffn_up.weight"); q.Type != gguf.Q8_0 || m.Manifest.Source.Kind != models.Merged || !strings.Contains(m.Manifest.Source.Note, "by a test") {
		t.Errorf("%s, %+v", q.Type, m.Manifest.Source)
	}
	for _, file := range m.Manifest.Files {
		if strings.HasSuffix(file.Path, ".safetensors") || file.Path == "model.gguf" {
			t.Errorf("%s is kept", file.Path)
		}
	}
}

func TestImportChoosesAType(t *testing.T) {
	files := qwen3Family(t).file(t)
	files["test.csv"] = "read by another"
	for _, c := range []struct {
		accepts []quantize.Scheme
		weights string
	}{
		{nil, "model.gguf"},
		{[]quantize.Scheme{quantize.F16}, "model-f16.gguf"},
		{[]quantize.Scheme{quantize.F16, quantize.Q8_0, quantize.Q5_K_M}, "model-q5_k_m.gguf"},
		{quantize.Schemes(), "model-q4_k_m.gguf"},
	} {
		j := &fakeJudge{accepts: c.accepts}
		o := Options{Path: folder(t, files), Quantize: Quantization{Auto, j}, Start: startAnswering, Checks: Checks{ReadRows: twoRows, NoReplay: true}}
		m, _, _ := opened(t, o)
		if m.Manifest.Weights != c.weights || (m.Manifest.Source.Quantized == nil) != (c.accepts == nil) {
			t.Errorf("%v: %s, %+v", c.accepts, m.Manifest.Weights, m.Manifest.Source.Quantized)
		}
		if !slices.Equal(j.asked, quantize.Schemes()) || j.storedAs != "F32" || j.sizes[0] != int64(len(files["model.gguf"])) || j.sizes[1] >= j.sizes[0] {
			t.Errorf("%v, %s, %v", j.asked, j.storedAs, j.sizes)
		}
		weights := 0
		for _, f := range m.Manifest.Files {
			if filepath.Ext(f.Path) == ".gguf" {
				weights++
			}
		}
		if weights != 1 || !hasFile(m.Manifest.Files, "data/quantization.json", []byte(`{"rows":2}`)) || !o.Quantize.Done(m.Manifest) {
			t.Errorf("%v", m.Manifest.Files)
		}
	}
}

// counted is a model that gives so many answers too few, and keeps how many it was
// asked for at most.
type counted struct {
	answering
	missing int
	most    *int
}

func (c counted) Answer(ctx context.Context, texts []string) ([]Answer, error) {
	*c.most = max(*c.most, len(texts))
	list, err := c.answering.Answer(ctx, texts)
	if err != nil {
		return nil, err
	}
	return list[c.missing:], nil
}

// The test set is asked for in parts, and each row has an answer.
func TestImportAsksTheTestSet(t *testing.T) {
	files := with(qwen3Family(t).file(t), map[string]string{"test.csv": "read by another"})
	manyRows := func(string) ([]Row, error) {
		return slices.Repeat([]Row{{1, "x", "cow"}}, 2*replayBatch+1), nil
	}
	most := 0
	for missing, want := range []string{"not two answers", "the test set: 63 answers to 64 texts"} {
		start := func(m *models.Model) (Running, error) {
			return counted{answering{fakeRunning{m, func(*models.Model) (*models.Canary, error) { return nil, nil }}}, missing, &most}, nil
		}
		o := Options{Path: folder(t, files), Name: "a", Quantize: Quantization{Auto, &fakeJudge{}}, Start: start, Checks: Checks{ReadRows: manyRows, NoReplay: true}}
		if _, err := Import(t.Context(), models.NewStore(t.TempDir()), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d missing: %v", missing, err)
		}
	}
	if most != replayBatch {
		t.Errorf("%d texts at once", most)
	}
}

func TestImportRefusesToQuantize(t *testing.T) {
	generative, few := qwen3Family(t).file(t), errors.New("too few")
	withTest := with(generative, map[string]string{"test.csv": "read by another"})
	judged := Quantization{Auto, &fakeJudge{}}
	classifier := qwen3Family(t).folder(t)
	classifier["model/config.json"] = writeJSON(t, object{"architectures": []string{"Qwen3ForSequenceClassification"}, "id2label": object{"0": "cow", "1": "dog"}})
	delete(classifier, jobName)
	for _, c := range []struct {
		name  string
		files map[string]string
		o     Options
		want  string
	}{
		{"no test set", generative, Options{Quantize: judged, Start: startAnswering, Checks: Checks{ReadRows: twoRows}}, "needs a test set, and none is in the package or beside it: name one with -test FILE, or name a type: [f16 q8_0"},
		{"few rows", withTest, Options{Quantize: Quantization{Auto, &fakeJudge{few: few}}, Start: startAnswering, Checks: Checks{ReadRows: twoRows}}, "too few"},
		{"nothing converts", qwen3Family(t).folder(t), Options{Quantize: Quantization{Scheme: quantize.Q8_0}}, "nothing here converts these"},
		{"classifier", classifier, Options{Quantize: Quantization{Scheme: quantize.Q8_0}}, "a sequence classifier is not quantized"},
		{"model folder", map[string]string{models.ManifestName: "{}"}, Options{Quantize: Quantization{Scheme: quantize.Q8_0}}, "a model folder is taken as it is"},
		{"4 bits", map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob}, Options{Quantize: Quantization{Scheme: quantize.Q8_0}}, "the weights are rounded already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := models.NewStore(t.TempDir())
			c.o.Path, c.o.Name = folder(t, c.files), "a"
			if _, err := Import(t.Context(), s, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			checkEmpty(t, s)
		})
	}
	if _, err := ParseScheme("q2"); err == nil || !strings.Contains(err.Error(), "and auto, which finds") {
		t.Error(err)
	}
	if s, err := ParseScheme("auto"); s != Auto || err != nil {
		t.Error(s, err)
	}
}
