package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/models/gguf/gguftest"
)

// oracle answers texts as it is told: with the label that a text begins with, or
// else the first.
type oracle struct {
	model *models.Model
	cut   int
	asked *[]string
}

func (o oracle) RecordCanary(context.Context) (*models.Canary, error) { return nil, nil }

func (o oracle) CheckCanary(context.Context) error { return nil }

func (o oracle) AnswerMass(context.Context, []models.Answer) ([]float64, error) { return nil, nil }

func (o oracle) Close() error { return o.model.Close() }

func (o oracle) Answer(_ context.Context, texts []string) ([]Answer, error) {
	if len(texts) > replayBatch {
		return nil, fmt.Errorf("%d texts at once", len(texts))
	}
	answers := make([]Answer, len(texts))
	for i, text := range texts {
		*o.asked = append(*o.asked, text)
		if text == "" {
			answers[i].Err = errors.New("the text is empty")
			continue
		}
		d := make(labels.Distribution, o.model.Labels().Len())
		best := 0
		for j, name := range o.model.Labels().Names() {
			if strings.HasPrefix(text, name) {
				best = j
			}
		}
		d[best] = 1
		answers[i] = Answer{Distribution: d, Truncated: o.cut}
	}
	return answers, nil
}

// readJSONL is enough of a reader for these tests.
func readJSONL(file string) ([]Row, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rows []Row
	for dec := json.NewDecoder(f); ; {
		var row struct{ Question, Answer string }
		if err := dec.Decode(&row); err == io.EOF {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		rows = append(rows, Row{len(rows) + 1, row.Question, row.Answer})
	}
}

// playing is a package with what a platform tells of it.
type playing struct {
	files map[string]string
	cut   int
	asked []string
	o     Options
}

func newPlaying(t *testing.T) *playing {
	return &playing{files: map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob}}
}

// test sets the test set: pairs of a text and its label.
func (p *playing) test(pairs ...string) { p.files["test.jsonl"] = rowsOf(pairs) }

func rowsOf(pairs []string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, `{"question": %q, "answer": %q}`+"\n", pairs[i], pairs[i+1])
	}
	return b.String()
}

// predicted sets the predictions: a system prompt, and pairs of a user message and
// what the platform's model wrote.
func (p *playing) predicted(system string, pairs ...string) {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, `{"prompt": [{"role": "system", "content": %q}, {"role": "user", "content": %q}], "completion": "ant", "prediction": {"role": "assistant", "content": %q}}`+"\n",
			system, pairs[i], pairs[i+1])
	}
	p.files["predictions.jsonl"] = b.String()
}

func (p *playing) run(t *testing.T) (Result, error) {
	t.Helper()
	p.o.Name, p.o.ReadRows = "a", readJSONL
	p.o.Start = func(m *models.Model) (Running, error) { return oracle{m, p.cut, &p.asked}, nil }
	if p.o.Path == "" {
		p.o.Path = tarOf(t, p.files)
	}
	s := models.NewStore(t.TempDir())
	res, err := Import(t.Context(), s, p.o)
	if err != nil {
		checkEmpty(t, s)
		return res, err
	}
	m, err := s.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if res.Replay != nil && *m.Manifest.Replay != res.Replay.Replay && m.Manifest.Replay.PlatformAccuracy == nil {
		t.Errorf("stored %+v, told %+v", *m.Manifest.Replay, res.Replay.Replay)
	}
	if (res.Replay == nil) != (m.Manifest.Replay == nil) {
		t.Errorf("stored %+v, told %+v", m.Manifest.Replay, res.Replay)
	}
	return res, nil
}

// A test set and the platform's answers to it are counted row by row.
func TestReplayCounts(t *testing.T) {
	p := newPlaying(t)
	p.test("ant 1", "ant", "zebra 2", "ant", "cow é 3", "cow é", "ant 4", "moose", "nobody's", "ant", "", "ant", "ant 1", "ant")
	p.predicted("Sort it.", "ant 1", "ant", "ant 1", "zebra", "zebra 2", "<output>zebra</output>", "cow é 3", "gnu", "ant 4", "ant", "", "ant", "unused", "ant")
	res, err := p.run(t)
	if err != nil {
		t.Fatal(err)
	}
	r := res.Replay
	if r.Of != 7 || r.Rows != 7 || r.Matched != 6 || r.Agree != 3 || r.Outside != 1 || r.Failed != 1 {
		t.Errorf("%+v", r.Replay)
	}
	// Six rows have a label of the set; the platform's accuracy is of the five with a prediction.
	if r.Labeled != 6 || r.Correct != 3 || r.PlatformCorrect != 2 || r.Unpredicted != 1 {
		t.Errorf("accuracies: %+v", r.Replay)
	}
	var lines []int
	for _, d := range r.Differ {
		lines = append(lines, d.Line)
	}
	if !slices.Equal(lines, []int{3, 6, 7}) || !slices.Equal(r.Unmatched, []int{5}) {
		t.Errorf("differ %v, unmatched %v", lines, r.Unmatched)
	}
	if d := r.Differ[0]; d.Text != "cow é 3" || d.Label != "cow é" || d.Probability != 1 || d.Platform != "gnu" || d.Answer != "cow é" {
		t.Errorf("%+v", d)
	}
	if d := r.Differ[1]; d.Label != "" || d.Error != "the text is empty" {
		t.Errorf("%+v", d)
	}
	if r.Test != models.DigestOf([]byte(p.files["test.jsonl"])) || r.Predictions != models.DigestOf([]byte(p.files["predictions.jsonl"])) {
		t.Error("the digests are of other files")
	}
	if !strings.HasPrefix(r.Problem, "only 3 of 6 answers (50.0 %) are the platform's, and 97 % are expected") {
		t.Error(r.Problem)
	}
}

// What explains a difference is found by looking.
func TestReplayCauses(t *testing.T) {
	same := []string{"ant 1", "ant", "zebra 2", "zebra"}
	other := []string{"ant 1", "zebra", "zebra 2", "ant"}
	for _, c := range []struct {
		name    string
		set     func(*playing)
		problem string
		cause   string // the first
	}{
		{"as on the platform", func(p *playing) { p.predicted("Sort it.", same...) }, "", ""},
		{"another system prompt that does not matter", func(p *playing) { p.predicted("Sort them.", same...) }, "", ""},
		{"another system prompt", func(p *playing) { p.predicted("Sort them.", other...) }, "only 0 of 2",
			"template: the platform asked with another system prompt than model_client.py holds, in 2 of 2 rows (line 1 of the predictions)"},
		{"no system prompt", func(p *playing) {
			p.files["predictions.jsonl"] = `{"prompt":[{"role":"user","content":"ant 1"}],"completion":"ant","prediction":"zebra"}` + "\n"
		}, "only 0 of 1", "template: the platform asked without a system prompt in 1 of 1 rows, and model_client.py sends one"},
		{"examples", func(p *playing) {
			p.files["predictions.jsonl"] = `{"prompt":[{"role":"system","content":"Sort it."},{"role":"user","content":"u"},{"role":"assistant","content":"ant"},{"role":"user","content":"ant 1"}],"completion":"ant","prediction":"zebra"}` + "\n"
		}, "only 0 of 1", "template: the platform's prompt has other examples before the text than model_client.py sends, in 1 of 1 rows"},
		{"answer form", func(p *playing) {
			p.predicted("Sort it.", "ant 1", `{"label": "zebra"}`, "zebra 2", "zebra")
		}, "only 1 of 2", `answer form: the platform's model wrote {"label": "label"} in 1 of 2 rows (line 1 of the predictions), and is asked here for the bare label`},
		{"reasoning", func(p *playing) { p.predicted("Sort it.", "ant 1", "<think>stripes</think>zebra", "zebra 2", "zebra") }, "only 1 of 2",
			"answer form: the platform's model reasoned before it answered in 1 of 2 rows; here it answers at once"},
		{"cut texts", func(p *playing) { p.cut = 9; p.predicted("Sort it.", other...) }, "only 0 of 2", "length: 2 of the texts that differ were cut"},
		{"a label outside the set", func(p *playing) {
			p.predicted("Sort it.", append(slices.Repeat([]string{"zebra 2", "zebra"}, 99), "ant 1", "gnu")...)
		}, "1 of the platform's 100 answers are no label of the model",
			"1 of the platform's answers are no label of the model"},
		{"weights of another training", func(p *playing) { p.predicted("Sort it.", other...) }, "only 0 of 2", "quantisation: most weights are stored as Q4_0, coarser than Q8_0"},
		{"no prediction of the rows that are run", func(p *playing) {
			p.o.Rows = 1
			p.test(same...)
			p.predicted("Sort it.", "zebra 2", "zebra")
		}, "none of the rows that were run has a prediction", "1 rows of the test set have no prediction (first line 1)"},
		{"labels that the model lacks", func(p *playing) { p.test("ant 1", "gnu", "zebra 2", "zebra"); p.predicted("Sort it.", other...) }, "only 0 of 2", "labels: 1 rows of the test set have a label that the model does not"},
		{"no predictions, another accuracy", func(p *playing) {
			p.test(other...)
			p.files["metrics.json"] = `{"tuned_model_performance": {"accuracy": 1.0}}`
		}, "the accuracy is 0.0 % on the test set, and the platform's 100.0 %", "quantisation: most weights are stored as Q4_0"},
		{"no predictions, the same accuracy", func(p *playing) {
			p.test(same...)
			p.files["metrics.json"] = `{"evaluation_results": {"student-tuned": {"accuracy": 0.97}}}`
		}, "", ""},
		{"only a test set", func(p *playing) { p.test(other...) }, "", ""},
		{"predictions for one row of two", func(p *playing) { p.test(same...); p.predicted("Sort it.", same[:2]...) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlaying(t)
			c.set(p)
			res, err := p.run(t)
			if err != nil {
				t.Fatal(err)
			}
			r := res.Replay
			if r == nil || !strings.HasPrefix(r.Problem, c.problem) || (c.problem == "") != (r.Problem == "") {
				t.Fatalf("problem %q, want %q", r.Problem, c.problem)
			}
			if len(r.Causes) == 0 != (c.cause == "") || c.cause != "" && !strings.HasPrefix(r.Causes[0], c.cause) {
				t.Errorf("causes %q, want %q", r.Causes, c.cause)
			}
			p.o.Require = true
			_, err = p.run(t)
			refused, _ := errors.AsType[*RefusedError](err)
			if (refused != nil) != (c.problem != "" || res.Replay.shows() != "") || refused != nil && !strings.Contains(err.Error(), c.cause) {
				t.Errorf("required: %v", err)
			}
		})
	}
}

// An adapter that was merged into another base than it names is told by that.
func TestReplayOtherBase(t *testing.T) {
	pl := &player{set: mustSet(t, "a", "b"), manifest: &models.Manifest{Answer: models.Answer{Form: models.Bare}}, otherBase: "Qwen/Qwen3-0.6B", coarse: "Q4_K"}
	pl.result.Matched = 2
	pl.result.Matched = 2
	if got := pl.causes(); len(got) != 2 || !strings.HasPrefix(got[0], "wrong base: the adapter is of the base model Qwen/Qwen3-0.6B") || !strings.HasPrefix(got[1], "quantisation: most weights are stored as Q4_K") {
		t.Errorf("%q", got)
	}
	pl.otherBase, pl.coarse = "", ""
	if got := pl.causes(); len(got) != 1 || !strings.HasPrefix(got[0], "nothing that was looked at explains it") {
		t.Errorf("%q", got)
	}
}

func mustSet(t *testing.T, names ...string) *labels.Set {
	t.Helper()
	var list []labels.Label
	for _, n := range names {
		list = append(list, labels.Label{Name: n})
	}
	s, err := labels.NewSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCoarseType(t *testing.T) {
	const (
		f32, q4k, q8, q6k = 0, 12, 8, 14
	)
	for _, c := range []struct {
		tensors []gguftest.Tensor
		want    string
	}{
		{[]gguftest.Tensor{{Name: "a", Type: f32, Shape: []uint64{256}, Data: make([]byte, 1024)}}, ""},
		{[]gguftest.Tensor{{Name: "a", Type: q8, Shape: []uint64{256, 2}, Data: make([]byte, 2*272)}, {Name: "b", Type: q4k, Shape: []uint64{256}, Data: make([]byte, 144)}}, ""},
		{[]gguftest.Tensor{{Name: "a", Type: q8, Shape: []uint64{256}, Data: make([]byte, 272)}, {Name: "b", Type: q4k, Shape: []uint64{256, 2}, Data: make([]byte, 288)}}, "Q4_K"},
		{[]gguftest.Tensor{{Name: "a", Type: q6k, Shape: []uint64{256}, Data: make([]byte, 210)}}, "Q6_K"},
	} {
		stage, err := models.NewStore(t.TempDir()).Stage()
		if err != nil {
			t.Fatal(err)
		}
		if err := stage.Write(t.Context(), "m.gguf", strings.NewReader(string(gguftest.Encode(nil, c.tensors)))); err != nil {
			t.Fatal(err)
		}
		if got, err := coarseType(stage, &models.Manifest{Weights: "m.gguf"}); err != nil || got != c.want {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
	if got, err := coarseType(nil, &models.Manifest{Weights: "m.safetensors"}); err != nil || got != "" {
		t.Errorf("safetensors: %q, %v", got, err)
	}
}

// The client's words around a text are taken off before texts are compared.
func TestReplayUnwraps(t *testing.T) {
	p := newPlaying(t)
	p.files[clientName] = "class M:\n    def get_prompt(self, question):\n        return [{'role': 'system', 'content': 'Sort it.'}, " +
		"{'role': 'user', 'content': f'''\n\nClassify\n<question>{question}</question>\n'''}]\n"
	p.predicted("Sort it.", "\n\nClassify\n<question>ant 1</question>\n", "ant")
	res, err := p.run(t)
	if err != nil || res.Replay.Agree != 1 || !slices.Equal(p.asked, []string{"ant 1"}) {
		t.Errorf("asked %q, %+v, %v", p.asked, res.Replay, err)
	}
	p.test("ant 1", "ant")
	p.o.Path = ""
	if res, err = p.run(t); err != nil || res.Replay.Matched != 1 {
		t.Errorf("%+v, %v", res.Replay, err)
	}
}

// Of a large test set, rows from all over it are run.
func TestReplayRows(t *testing.T) {
	p := newPlaying(t)
	var pairs []string
	for i := range 300 {
		pairs = append(pairs, fmt.Sprintf("ant %d", i), "ant")
	}
	p.test(pairs...)
	p.predicted("Sort it.", pairs...)
	var steps []int
	p.o.Progress = func(done, _ int) { steps = append(steps, done) }
	p.o.Rows = 100
	res, err := p.run(t)
	if r := res.Replay; err != nil || r.Of != 300 || r.Rows != 100 || r.Agree != 100 || p.asked[1] != "ant 3" || p.asked[99] != "ant 297" {
		t.Errorf("%+v, %v", r, err)
	}
	if !slices.Equal(steps, []int{64, 100}) {
		t.Errorf("progress %v", steps)
	}
	p.o.Rows = -1
	if res, err = p.run(t); err != nil || res.Replay.Rows != 300 {
		t.Errorf("all: %+v, %v", res.Replay, err)
	}
	p.o.NoReplay = true
	if res, err = p.run(t); err != nil || res.Replay != nil {
		t.Errorf("none: %+v, %v", res.Replay, err)
	}
}

// What the model was trained and tested on is kept with it, and goes with it into
// another store; the same package makes the same artefact.
func TestImportKeepsData(t *testing.T) {
	p := newPlaying(t)
	p.test("ant 1", "ant")
	p.predicted("Sort it.", "ant 1", "ant")
	for name, text := range map[string]string{"metrics.json": "{}", "config.yaml": "base:\n", "train.csv": "question,answer\nx,ant\n"} {
		p.files[name] = text
	}
	want := []string{"data/config.yaml", "data/job_description.json", "data/metrics.json", "data/predictions.jsonl", "data/test.jsonl", "data/train.csv"}
	kept := func(m models.Manifest) (names []string) {
		for _, f := range m.Files {
			if strings.HasPrefix(f.Path, "data/") {
				names = append(names, f.Path)
			}
		}
		return names
	}
	s := models.NewStore(t.TempDir())
	o := Options{Path: tarOf(t, p.files), Name: "a", Start: func(m *models.Model) (Running, error) { return oracle{m, 0, &p.asked}, nil }, Checks: Checks{ReadRows: readJSONL}}
	first, err := Import(t.Context(), s, o)
	if err != nil || !slices.Equal(kept(first.Manifest), want) {
		t.Fatal(kept(first.Manifest), err)
	}
	if f, ok := first.Manifest.TestSet(); !ok || f.Path != "data/test.jsonl" {
		t.Errorf("test set %+v", f)
	}
	if err := s.Verify("a"); err != nil {
		t.Error(err)
	}
	again, err := Import(t.Context(), models.NewStore(t.TempDir()), o)
	if err != nil || again.Digest != first.Digest {
		t.Errorf("the same package is %s and %s, %v", first.Digest, again.Digest, err)
	}
	exported := filepath.Join(s.Root(), "models", first.Digest.Hex())
	o.Path, o.Name = exported, "b"
	copied, err := Import(t.Context(), s, o)
	if err != nil || !slices.Equal(kept(copied.Manifest), want) || copied.Manifest.Replay == nil || copied.Manifest.Replay.Agree != 1 {
		t.Errorf("a model folder: %v, %+v, %v", kept(copied.Manifest), copied.Manifest.Replay, err)
	}
	o.NoData = true
	if bare, err := Import(t.Context(), s, o); err != nil || len(kept(bare.Manifest)) > 0 || bare.Manifest.Replay == nil {
		t.Errorf("without data: %v, %+v, %v", kept(bare.Manifest), bare.Manifest.Replay, err)
	}
	o.Path, o.NoReplay = tarOf(t, p.files), true
	if bare, err := Import(t.Context(), s, o); err != nil || len(kept(bare.Manifest)) > 0 || bare.Replay != nil || bare.Manifest.Replay != nil {
		t.Errorf("a tar, without data and replay: %v, %+v, %v", kept(bare.Manifest), bare.Manifest.Replay, err)
	}
	o.NoReplay = false
	if bare, err := Import(t.Context(), s, o); err != nil || len(kept(bare.Manifest)) > 0 || bare.Replay == nil || bare.Replay.Test == (models.Digest{}) {
		t.Errorf("a tar, without data: %v, %+v, %v", kept(bare.Manifest), bare.Replay, err)
	}
}

// Files that were found and do not fit are passed over with a word; files that were
// named must fit.
func TestReplayOfStrangers(t *testing.T) {
	p := newPlaying(t)
	p.test("x", "y")
	res, err := p.run(t)
	if err != nil || res.Replay != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "the test set is another model's") {
		t.Errorf("%+v, %q, %v", res.Replay, res.Warnings, err)
	}
	for _, f := range res.Manifest.Files {
		if strings.HasSuffix(f.Path, "test.jsonl") {
			t.Error("it was kept")
		}
	}
	p.o.Test = filepath.Join(t.TempDir(), "mine.jsonl")
	if err := os.WriteFile(p.o.Test, []byte(p.files["test.jsonl"]), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.run(t); err == nil || !strings.Contains(err.Error(), "the test set is another model's") {
		t.Error(err)
	}
	p = newPlaying(t)
	p.files["predictions.jsonl"] = "no JSON"
	if res, err := p.run(t); err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "the predictions are not used") {
		t.Errorf("%q, %v", res.Warnings, err)
	}
	p.o.Require, p.o.Path = true, ""
	if _, err := p.run(t); err == nil || !strings.Contains(err.Error(), "there is neither a test set nor predictions to replay") {
		t.Error(err)
	}
}

// Predictions of another task say nothing of the accuracy: those that were found are
// passed over, those that were named refused.
func TestReplayOfOtherPredictions(t *testing.T) {
	for _, c := range []struct {
		name  string
		pairs []string
		why   string
	}{
		{"texts", []string{"x", "ant", "y", "zebra"}, "they are of other texts than the test set"},
		{"labels", []string{"ant 1", "gnu", "zebra 2", "gnu"}, `none of their labels is one of the model's, which has "zebra"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, metrics := range []string{"", `{"tuned_model_performance": {"accuracy": 0.5}}`} {
				p := newPlaying(t)
				p.test("ant 1", "ant", "zebra 2", "ant")
				p.predicted("Sort it.", c.pairs...)
				p.files["predictions.jsonl"] = strings.ReplaceAll(p.files["predictions.jsonl"], `"completion": "ant"`, `"completion": "gnu"`) + "no JSON\n"
				if metrics != "" {
					p.files["metrics.json"] = metrics
				}
				res, err := p.run(t)
				if err != nil || len(res.Warnings) != 1 || !strings.HasSuffix(res.Warnings[0], "the predictions are not used: "+c.why) {
					t.Fatalf("%q, %v", res.Warnings, err)
				}
				r := res.Replay
				if r.Problem != "" || r.Matched != 0 || r.Labeled != 2 || r.Correct != 1 || r.Unpredicted != 0 || r.Predictions != (models.Digest{}) ||
					len(r.Unread) != 0 || (r.PlatformAccuracy != nil) != (metrics != "") {
					t.Errorf("%+v", r)
				}
				if _, kept := res.Manifest.DataFile("predictions.jsonl"); kept {
					t.Error("they were kept")
				}
				p.o.Predictions = filepath.Join(t.TempDir(), "mine.jsonl")
				if err := os.WriteFile(p.o.Predictions, []byte(p.files["predictions.jsonl"]), 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := p.run(t); err == nil || !strings.Contains(err.Error(), "mine.jsonl: "+c.why) {
					t.Error(err)
				}
			}
		})
	}
}
