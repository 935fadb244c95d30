package importer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/models/checkpoint"
)

func testSet(t testing.TB, names ...string) *labels.Set {
	t.Helper()
	var list []labels.Label
	for _, n := range names {
		list = append(list, labels.Label{Name: n})
	}
	set, err := labels.NewSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func objectAnswer(prefix, suffix string) models.Answer {
	return models.Answer{Form: models.JSON, Prefix: prefix, Suffix: suffix}
}

func TestWrittenForm(t *testing.T) {
	set := testSet(t, "late", `say "é"`)
	ascii := objectAnswer(`{"label": "`, `"}`)
	ascii.ASCII = true
	for text, want := range map[string]models.Answer{
		"late":                          bare,
		" late\n":                       bare,
		`say "é"`:                       bare,
		"<output>late</output>":         tagged,
		"<output>\nlate \n</output>\n":  {Form: models.Tagged, Prefix: "<output>\n", Suffix: " \n</output>"},
		`{"label": "late"}`:             jsonAnswer("label"),
		`{"label":"late"}`:              objectAnswer(`{"label":"`, `"}`),
		"{\n  \"team\" : \"late\"\n}":   objectAnswer("{\n  \"team\" : \"", "\"\n}"),
		`{"label": "say \"é\""}`:        jsonAnswer("label"),
		`{"label": "say \"\u00e9\""}`:   ascii,
		"":                              {},
		"early":                         {},
		"<output>early</output>":        {},
		"<output>late</output> because": {},
		`{"label": "early"}`:            {},
		`{"label": late}`:               {},
		`{"label": "late", "x": "y"}`:   {},
		`{"label": "late"} done`:        {},
		`{"label": "l\u0061te"}`:        {}, // spelt as nothing writes it
		`["late"]`:                      {},
		`{`:                             {},
	} {
		got, ok := writtenForm(text, set)
		if got != want && ok || ok != (want != models.Answer{}) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
}

func TestParseForm(t *testing.T) {
	for s, want := range map[string]models.Answer{
		"bare": bare, "tagged": tagged, "json": objectAnswer(`{"label": "`, `"}`), "json:team": objectAnswer(`{"team": "`, `"}`), `json:a"b`: objectAnswer(`{"a\"b": "`, `"}`),
	} {
		if got, err := ParseForm(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Bare", "json:", "xml", "bare:x"} {
		if _, err := ParseForm(s); err == nil {
			t.Errorf("%q is a form", s)
		}
	}
}

// predictionsOf writes ten predictions whose answers alternate.
func predictionsOf(answers ...string) string {
	var b strings.Builder
	for i := range 10 {
		data, _ := json.Marshal(map[string]string{"question": "q", "answer": "late", "prediction": answers[i%len(answers)]})
		b.Write(append(data, '\n'))
	}
	return b.String()
}

func TestFindWriting(t *testing.T) {
	plain, output, keyed := ofSystem("Sort it."), ofSystem("Write <output>x</output>"), ofSystem("Sort it.\n{ \"team\":\"<team>\" }")
	shots := conversation{Lead: []message{{"system", "s"}, {"user", "u"}, {"assistant", `{"label":"late"}`}}}
	messages := `{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{\"label\":\"late\"}"}]}` + "\n"
	for _, c := range []struct {
		name    string
		prompt  conversation
		files   map[string]string
		said    string
		want    models.Answer
		sure    bool
		warning string
	}{
		{"nothing", plain, nil, "", bare, false, ""},
		{"tagged prompt", output, nil, "", tagged, false, ""},
		{"JSON prompt", keyed, nil, "", objectAnswer(`{ "team":"`, `" }`), false, ""},
		{"two forms in the prompt", ofSystem(`<output>{"label": "x"}</output>`), nil, "", tagged, false, "the prompt speaks of several forms; to change it: -answer bare|tagged|json[:KEY]"},
		{"said", output, nil, "bare", bare, true, ""},
		{"said, with the rows' space", plain, map[string]string{"train.jsonl": messages}, "json", objectAnswer(`{"label":"`, `"}`), true, ""},
		{"said, another key than the rows'", plain, map[string]string{"train.jsonl": messages}, "json:team", jsonAnswer("team"), true, ""},
		{"rows of JSON", plain, map[string]string{"train.jsonl": messages}, "", objectAnswer(`{"label":"`, `"}`), true, ""},
		{"bare rows of a tagged student", output, map[string]string{"train.csv": "question,answer\nx,late\ny,broken\n"}, "", tagged, false, ""},
		{"tagged rows", plain, map[string]string{"test.csv": "answer\n<output>late</output>\n"}, "", tagged, true, ""},
		{"predictions", plain, map[string]string{"predictions.jsonl": predictionsOf("<output>late</output>")}, "", tagged, true, ""},
		{"predictions as messages", plain, map[string]string{"predictions.jsonl": `{"question": "q", "answer": "late", "prediction": {"role": "assistant", "content": "<output>late</output>"}}`}, "", tagged, true, ""},
		{"predictions and rows", plain, map[string]string{"predictions.jsonl": predictionsOf("<output>late</output>"), "train.jsonl": messages}, "", tagged, true, ""},
		{"predictions with a few errors", plain, map[string]string{"predictions.jsonl": predictionsOf("<output>late</output>", "<output>broken</output>", "nonsense")}, "", tagged, true, ""},
		{"predictions of no common form", plain, map[string]string{"predictions.jsonl": predictionsOf("<output>late</output>", "late")}, "", bare, false, ""},
		{"predictions that are mostly nonsense", plain, map[string]string{"predictions.jsonl": predictionsOf("<output>late</output>", "x", "y", "z")}, "", bare, false, ""},
		{"bare predictions of a tagged student", output, map[string]string{"predictions.jsonl": predictionsOf("late")}, "", bare, false, "but the prompt speaks of another form"},
		{"examples", shots, nil, "", objectAnswer(`{"label":"`, `"}`), true, ""},
		{"damaged files", plain, map[string]string{"predictions.jsonl": "{\x00\n[1]\n\"late\"\n", "train.csv": "\"answer\n\"x", "test.jsonl": ""}, "", bare, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.files)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			files, err := listFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			p := &pack{dir: dir, beside: filepath.Dir(dir), files: files}
			w, err := p.findWriting(Options{Answer: c.said}, c.prompt, testSet(t, "late", "broken"))
			if err != nil {
				t.Fatal(err)
			}
			if w.chosen != c.want || w.sure != c.sure {
				t.Errorf("%+v, sure %v, want %+v, %v", w.chosen, w.sure, c.want, c.sure)
			}
			if got := w.unconfirmed(); (got == "") != (c.warning == "") || !strings.Contains(got, c.warning) {
				t.Errorf("warning %q, want %q", got, c.warning)
			}
			for _, other := range w.others {
				if other == w.chosen {
					t.Error("the chosen form is among the others")
				}
			}
		})
	}
}

func TestWeigh(t *testing.T) {
	others := []models.Answer{tagged, jsonAnswer("team")}
	for _, c := range []struct {
		name    string
		sure    bool
		masses  []float64
		want    models.Answer
		warning string
	}{
		{"not known", false, nil, bare, ""},
		{"confirmed", false, []float64{0.9, 1e-6, 0}, bare, ""},
		{"weakly confirmed", false, []float64{0.06, 0.3, 0}, bare, ""},
		{"another", false, []float64{0.01, 1e-6, 0.97}, jsonAnswer("team"), `answers are read as {"team": "…"}, which the model itself writes (with 0.97 of the probability), and not as bare labels, by the prompt (0.01); to change it: -answer bare`},
		{"another than was said", true, []float64{0.01, 1e-6, 0.97}, bare, "to change it: -answer json:team"},
		{"none", false, []float64{0.001, 1e-6, 0.04}, bare, "compare the prompt and the labels"},
	} {
		w := &writing{chosen: bare, others: others, why: "the prompt", sure: c.sure}
		got, warning := w.weigh(c.masses)
		if got != c.want || (warning == "") != (c.warning == "") || !strings.Contains(warning, c.warning) {
			t.Errorf("%s: %+v, %q", c.name, got, warning)
		}
	}
}

// massive is a model that writes its answers in one form.
type massive struct {
	fakeRunning
	form models.AnswerForm
}

func (r massive) AnswerMass(_ context.Context, forms []models.Answer) ([]float64, error) {
	masses := make([]float64, len(forms))
	for i, f := range forms {
		if f.Form == r.form {
			masses[i] = 0.9
		}
		if f.End != "<|im_end|>" {
			return nil, errors.New("the end of the answers is missing")
		}
	}
	return masses, nil
}

// What the model writes goes before what its prompt says, and not before what the
// user says; the canary is that of the form that is installed.
func TestImportAsksTheModel(t *testing.T) {
	path := folder(t, map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob})
	for _, c := range []struct {
		said, form, warning string
	}{
		{"", "tagged", "which the model itself writes"},
		{"json:team", "json", "by -answer, but the model itself writes <output>"},
	} {
		s := models.NewStore(t.TempDir())
		start := func(m *models.Model) (Running, error) {
			return massive{fakeRunning{m, func(m *models.Model) (*models.Canary, error) {
				if m.Manifest.Answer.Form != models.AnswerForm(c.form) {
					t.Errorf("the canary is scored with %+v", m.Manifest.Answer)
				}
				return nil, nil
			}}, models.Tagged}, nil
		}
		res, err := Import(t.Context(), s, Options{Path: path, Name: "a", Start: start, Answer: c.said})
		if err != nil {
			t.Fatal(err)
		}
		if string(res.Manifest.Answer.Form) != c.form || res.Manifest.Answer.End != "<|im_end|>" {
			t.Errorf("answer %+v", res.Manifest.Answer)
		}
		if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], c.warning) {
			t.Errorf("warnings %q", res.Warnings)
		}
	}
	if _, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: path, Name: "a", Answer: "xml"}); err == nil {
		t.Error("a form that there is not was accepted")
	}
}

// A client of the user's own goes before the package's, and is kept.
func TestImportWithAClient(t *testing.T) {
	own := filepath.Join(t.TempDir(), "mine.py")
	const text = "SYSTEM_PROMPT = 'Mine.'\n"
	if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"model/model.gguf": demoWeights(t), jobName: smallJob, clientName: "SYSTEM_PROMPT = read()\n"}
	beside := map[string]string{"model.gguf": files["model/model.gguf"], jobName: smallJob}
	for name, path := range map[string]string{"folder": folder(t, files), "tar": tarOf(t, files), "beside": folder(t, beside)} {
		o := Options{Path: path, Name: "a", Client: own}
		if name == "beside" {
			o.Client = ""
			if err := os.WriteFile(filepath.Join(filepath.Dir(path), clientName), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if _, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: path, Name: "a"}); err == nil || !strings.Contains(err.Error(), "name that with -client") {
			t.Errorf("%s: without a client of one's own: %v", name, err)
		}
		res, err := Import(t.Context(), models.NewStore(t.TempDir()), o)
		if err != nil {
			t.Fatal(name, err)
		}
		if !strings.Contains(res.Manifest.Prompt.Prefix, "system\nMine.<") || !hasFile(res.Manifest.Files, clientName, []byte(text)) {
			t.Errorf("%s: prompt %q, files %v", name, res.Manifest.Prompt, res.Manifest.Files)
		}
	}
}

func TestImportOfExamplesInThePrompt(t *testing.T) {
	client, err := os.ReadFile(filepath.Join("testdata", "clients", "new_shots.py"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"model.gguf": demoWeights(t), jobName: `{"classes_description": {"late": "", "broken": ""}}`, clientName: string(client)}
	for config, warning := range map[string]string{
		"tuning: {num_few_shot_examples_student: 2}":  "",
		"tuning:\n  num_few_shot_examples_student: 3": "the training put 3 examples into the prompt, and the client sends 2 as messages",
		"tuning:\n  num_few_shot_examples_student: x": "config.yaml is not used: tuning.num_few_shot_examples_student is \"x\"",
		`{"base": {"enable_thinking": "x"}}`:          "config.yaml is not used",
		"\xff":                                        "config.yaml is not used",
		`{"base": {"enable_thinking": false}}`:        "",
	} {
		files["config.yaml"] = config
		res, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: folder(t, files), Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		const want = "<|im_start|>system\nSort the note.<|im_end|>\n<|im_start|>user\nIt is late.<|im_end|>\n<|im_start|>assistant\n{\"label\": \"late\"}<|im_end|>\n" +
			"<|im_start|>user\nIt is in two pieces.<|im_end|>\n<|im_start|>assistant\n{\"label\": \"broken\"}<|im_end|>\n<|im_start|>user\n"
		if res.Manifest.Prompt.Prefix != want || res.Manifest.Answer.Form != models.JSON || res.Manifest.Answer.Prefix != `{"label": "` {
			t.Errorf("prefix %q, answer %+v", res.Manifest.Prompt.Prefix, res.Manifest.Answer)
		}
		if got := strings.Join(res.Warnings, "; "); (got == "") != (warning == "") || !strings.Contains(got, warning) {
			t.Errorf("%s: warnings %q", config, got)
		}
	}
}

func TestImportRefusesReasoning(t *testing.T) {
	files := map[string]string{"model.gguf": demoWeights(t), jobName: smallJob}
	for name, add := range map[string]map[string]string{
		"client":        {clientName: smallClient + "x = {'chat_template_kwargs': {'enable_thinking': True}}\n"},
		"configuration": {clientName: smallClient, "config.yaml": "base:\n  task: classification\n  enable_thinking: true\n"},
	} {
		all := map[string]string{}
		for _, m := range []map[string]string{files, add} {
			for k, v := range m {
				all[k] = v
			}
		}
		s := models.NewStore(t.TempDir())
		_, err := Import(t.Context(), s, Options{Path: folder(t, all), Name: "a"})
		if unsupported, _ := errors.AsType[*checkpoint.UnsupportedError](err); unsupported == nil || !strings.Contains(err.Error(), "reason before it answers") {
			t.Errorf("%s: %v", name, err)
		}
		checkEmpty(t, s)
	}
}

func FuzzWrittenForm(f *testing.F) {
	f.Add(`{"label": "late"}`, "late")
	f.Add("<output>\nlate</output>", "late")
	f.Add(`{"x":"\u00e9"} `, "é")
	f.Fuzz(func(t *testing.T, text, name string) {
		set, err := labels.NewSet([]labels.Label{{Name: name}})
		if err != nil {
			return
		}
		form, ok := writtenForm(text, set)
		if ok && form.Text(name) != strings.TrimSpace(text) {
			t.Fatalf("%q is no answer %q for %q", text, form.Text(name), name)
		}
		for _, a := range stated(text) {
			if a.Prefix == "" || a.Suffix == "" || !strings.Contains(text, a.Prefix) {
				t.Fatalf("%+v is not in %q", a, text)
			}
		}
	})
}

func TestParseTraining(t *testing.T) {
	for text, want := range map[string]struct {
		thinking bool
		examples int
	}{
		"": {}, "base:\n": {}, "base: null\ntuning: ~\n": {},
		"base:\n  enable_thinking: true\n  task: classification\ntuning:\n  lora_r: 16\n  num_few_shot_examples_student: 4\n":  {true, 4},
		"base:\r\n  task: classification\r\n  enable_thinking: True # on\r\ntuning:\r\n  num_few_shot_examples_student: 0\r\n": {true, 0},
		"base: {task: classification, enable_thinking: yes}\n":                                                                 {true, 0},
		"base:\n  # enable_thinking: true\n  enable_thinking: false\n":                                                         {},
		"base:\n  enable_thinking: false\nsynthgen:\n  enable_thinking: true\n":                                                {},
		"base:\n  teacher_enable_thinking: true\n":                                                                             {},
		"\"base\":\n  'enable_thinking': 'true'\n":                                                                             {true, 0},
		`{"base": {"enable_thinking": true}, "tuning": {"num_few_shot_examples_student": 2, "lora_r": 8}}`:                     {true, 2},
		"{\n \"tuning\": {\n  \"num_few_shot_examples_student\": null\n },\n \"base\": {\n  \"enable_thinking\": true\n }\n}":  {true, 0},
	} {
		got, err := parseTraining([]byte(text))
		if err != nil || got.Base.Thinking != want.thinking || got.Tuning.Examples != want.examples {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzTraining(f *testing.F) {
	f.Add([]byte("base:\n  enable_thinking: true\ntuning:\n  num_few_shot_examples_student: 2\n"))
	f.Add([]byte("base: {enable_thinking: 'no'} # x\n"))
	f.Add([]byte(`{"base": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseTraining(data); err == nil && c.Base.Thinking && !strings.Contains(string(data), "enable_thinking") && !strings.Contains(string(data), `\u`) {
			t.Fatalf("%+v", c)
		}
	})
}

func FuzzCompletions(f *testing.F) {
	f.Add("question,answer\nx,late\n")
	f.Add(`{"messages": [{"role": "assistant", "content": "late"}]}` + "\n{\"prediction\": {\"role\": \"assistant\", \"content\": \"x\"}}")
	f.Fuzz(func(t *testing.T, data string) {
		if n := len(jsonCompletions(strings.NewReader(data), nil)) + len(csvCompletions(strings.NewReader(data), nil)); n > 2*maxCompletions {
			t.Fatalf("%d answers", n)
		}
	})
}
