package importer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cubby/labels"
	"cubby/models"
)

const (
	tagOpen, tagClose = "<output>", "</output>"
	defaultKey        = "label"
)

var (
	bare   = models.Answer{Form: models.Bare}
	tagged = models.Answer{Form: models.Tagged, Prefix: tagOpen, Suffix: tagClose}
)

// jsonAnswer is an object with one key, as Python's json module writes it.
func jsonAnswer(key string) models.Answer {
	quoted, _ := json.Marshal(key) // a string always has a form
	return models.Answer{Form: models.JSON, Prefix: "{" + string(quoted) + `: "`, Suffix: `"}`}
}

// ParseForm reads what a user says of the answers: bare, tagged, json or json:KEY.
func ParseForm(s string) (models.Answer, error) {
	kind, key, _ := strings.Cut(s, ":")
	switch {
	case s == string(models.Bare):
		return bare, nil
	case s == string(models.Tagged):
		return tagged, nil
	case s == string(models.JSON):
		return jsonAnswer(defaultKey), nil
	case kind == string(models.JSON) && key != "":
		return jsonAnswer(key), nil
	}
	return models.Answer{}, fmt.Errorf("the form of the answers %q is none of bare, tagged, json and json:KEY", s)
}

// writtenForm is the form in which a completion writes one of the labels.
func writtenForm(completion string, set *labels.Set) (models.Answer, bool) {
	text := strings.TrimSpace(completion)
	if _, ok := set.Index(text); ok {
		return bare, true
	}
	if inner, ok := strings.CutPrefix(text, tagOpen); ok {
		if inner, ok = strings.CutSuffix(inner, tagClose); ok {
			name := strings.TrimSpace(inner)
			before, after, _ := strings.Cut(inner, name)
			if _, ok := set.Index(name); ok {
				return models.Answer{Form: models.Tagged, Prefix: tagOpen + before, Suffix: after + tagClose}, true
			}
		}
	}
	return writtenJSON(text, set)
}

// writtenJSON finds the space and the spelling of an object with one key.
func writtenJSON(text string, set *labels.Set) (a models.Answer, ok bool) {
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return a, false
	}
	if _, err := dec.Token(); err != nil {
		return a, false
	}
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil || len(raw) < 2 || raw[0] != '"' {
		return a, false
	}
	end := int(dec.InputOffset())
	if t, err := dec.Token(); err != nil || t != json.Delim('}') || dec.More() {
		return a, false
	}
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return a, false
	}
	if _, ok := set.Index(name); !ok {
		return a, false
	}
	a = models.Answer{Form: models.JSON, Prefix: text[:end-len(raw)+1], Suffix: text[end-1:], ASCII: bytes.Contains(raw, []byte(`\u`))}
	return a, a.Text(name) == text
}

// exampleObject is an object of one string that a prompt shows.
var exampleObject = regexp.MustCompile(`\{\s*"((?:[^"\\{}]|\\.){1,64})"\s*:\s*"[^"{}]*"\s*\}`)

// stated lists the forms that a prompt speaks of.
func stated(prompt string) []models.Answer {
	var forms []models.Answer
	if strings.Contains(prompt, tagOpen) {
		forms = append(forms, tagged)
	}
	for _, m := range exampleObject.FindAllString(prompt, 64) {
		key := strings.Index(m, ":")
		open := key + strings.Index(m[key:], `"`) + 1
		forms = add(forms, models.Answer{Form: models.JSON, Prefix: m[:open], Suffix: m[strings.LastIndexByte(m, '"'):]})
	}
	return forms
}

func add(forms []models.Answer, a models.Answer) []models.Answer {
	if slices.Contains(forms, a) {
		return forms
	}
	return append(forms, a)
}

// writing is what is known of how a model writes its labels.
type writing struct {
	chosen models.Answer
	others []models.Answer // what else it may be: the model is asked
	why    string          // what the choice rests on
	sure   bool            // the user said so, or answers of the model itself show it
	doubt  string          // what speaks against it
}

// findWriting decides for a form: what the user says; else how the model's own answers
// are written, those among the platform's predictions and those that the prompt
// gives as examples; else how the training's rows are, where they are not bare labels;
// else what the prompt speaks of; else bare labels.
func (p *pack) findWriting(o Options, c conversation, set *labels.Set) (w *writing, err error) {
	w = &writing{}
	prompt := stated(c.prompt())
	shown, shownWhy := models.Answer{}, ""
	for _, source := range []struct {
		why   string
		texts []string
	}{
		{"the platform's predictions", p.predicted(o.Predictions)},
		{"the examples in the prompt", c.examples()},
		{"the rows of the training", p.completions()},
	} {
		form, ok := common(source.texts, set)
		if !ok {
			continue
		}
		if shownWhy == "" && (form != bare || source.why != "the rows of the training") {
			shown, shownWhy = form, source.why
		}
		w.others = add(w.others, form)
	}
	w.others = append(w.others, prompt...)
	switch {
	case o.Answer != "":
		if w.chosen, err = ParseForm(o.Answer); err != nil {
			return w, err
		}
		w.why, w.sure = "-answer", true
		if shownWhy != "" && shown.Form == w.chosen.Form && shown.Key() == w.chosen.Key() {
			w.chosen = shown // with its space
		}
	case shownWhy != "":
		w.chosen, w.why, w.sure = shown, shownWhy, true
		if len(prompt) > 0 && !slices.Contains(prompt, shown) && shown == bare {
			w.sure, w.doubt = false, "the prompt speaks of another form"
		}
	case len(prompt) > 0:
		w.chosen, w.why = prompt[0], "the prompt"
		if len(prompt) > 1 {
			w.doubt = "the prompt speaks of several forms"
		}
	default:
		w.chosen, w.why = bare, "the prompt, which speaks of no other form"
	}
	object := jsonAnswer(cmp.Or(w.chosen.Key(), defaultKey))
	compact := object
	compact.Prefix = strings.Replace(object.Prefix, `": "`, `":"`, 1)
	for _, form := range []models.Answer{bare, tagged, object, compact} {
		w.others = add(w.others, form)
	}
	w.others = slices.DeleteFunc(w.others, func(a models.Answer) bool { return a == w.chosen })
	return w, nil
}

// common is the form of nearly all texts that write a label, if most do.
func common(texts []string, set *labels.Set) (models.Answer, bool) {
	count, written := map[models.Answer]int{}, 0
	ascii := false
	for _, text := range texts {
		if form, ok := writtenForm(text, set); ok {
			ascii = ascii || form.ASCII
			form.ASCII = false
			count[form]++
			written++
		}
	}
	for form, n := range count {
		if 10*n >= 9*written && 2*written >= len(texts) {
			form.ASCII = ascii
			return form, true
		}
	}
	return models.Answer{}, false
}

const (
	muchMass = 10   // times as much as the form that was chosen
	someMass = 0.05 // of all probability
)

// settle asks the model itself for its form of answer. Where that is another one, the
// model is started anew with it.
func (w *work) settle(ctx context.Context, stage *models.Stage, running Running) (Running, error) {
	if w.writing == nil {
		return running, nil
	}
	end := w.manifest.Answer.End
	forms := append([]models.Answer{w.writing.chosen}, w.writing.others...)
	for i := range forms {
		forms[i].End = end
	}
	masses, err := running.AnswerMass(ctx, forms)
	if err != nil {
		return nil, errors.Join(err, running.Close())
	}
	answer, warning := w.writing.weigh(masses)
	w.warnOf(warning)
	if answer.End = end; answer == w.manifest.Answer {
		return running, nil
	}
	w.manifest.Answer = answer
	if err := running.Close(); err != nil {
		return nil, err
	}
	return w.begin(stage)
}

// warnOf keeps a warning, if there is one.
func (w *work) warnOf(warning string) {
	if warning != "" {
		w.warnings = append(w.warnings, warning)
	}
}

// weigh compares the masses that the model itself gives to the forms: of the chosen
// one first, then of the others. It returns the form to use and what to warn of.
func (w *writing) weigh(masses []float64) (models.Answer, string) {
	if len(masses) == 0 {
		return w.chosen, w.unconfirmed()
	}
	forms := append([]models.Answer{w.chosen}, w.others...)
	best := 0
	for i, mass := range masses {
		if mass > masses[best] {
			best = i
		}
	}
	other := best > 0 && masses[best] >= someMass && masses[best] >= muchMass*masses[0]
	switch {
	case other && w.sure:
		return w.chosen, fmt.Sprintf("answers are read as %s, by %s, but the model itself writes %s (with %.2g of the probability, and %.2g for the former); "+
			"to change it: -answer %s", told(w.chosen), w.why, told(forms[best]), masses[best], masses[0], flag(forms[best]))
	case other:
		return forms[best], fmt.Sprintf("answers are read as %s, which the model itself writes (with %.2g of the probability), and not as %s, by %s (%.2g); to change it: -answer %s",
			told(forms[best]), masses[best], told(w.chosen), w.why, masses[0], flag(w.chosen))
	case masses[best] < someMass:
		return w.chosen, fmt.Sprintf("the model gives %.2g of the probability to all labels together, written as %s, and no more in another form: "+
			"compare the prompt and the labels with those it was trained on", masses[0], told(w.chosen))
	}
	return w.chosen, ""
}

// unconfirmed is what to warn of where the model was not asked.
func (w *writing) unconfirmed() string {
	if w == nil || w.doubt == "" {
		return ""
	}
	return fmt.Sprintf("answers are read as %s, by %s, but %s; to change it: -answer bare|tagged|json[:KEY]", told(w.chosen), w.why, w.doubt)
}

// told is a form in a sentence.
func told(a models.Answer) string {
	if a.Form == models.Bare {
		return "bare labels"
	}
	return a.Text("…")
}

// flag is what a user gives for a form.
func flag(a models.Answer) string {
	if key := a.Key(); key != "" && key != defaultKey {
		return "json:" + key
	}
	return string(a.Form)
}
