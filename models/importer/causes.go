package importer

import (
	"fmt"
	"strings"

	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/predictions"
)

// seen is what the matched predictions show of how the platform asked.
type seen struct {
	otherPrompt, noPrompt, turns, otherForm, reasoned, unknown, cut int

	form                     models.AnswerForm // of the answers in another form
	lineOfPrompt, lineOfForm int               // of the predictions, where each was seen first
}

// see looks at one prediction and the index of its reference, -1 where that is none.
func (pl *player) see(row predictions.Row, said predictions.Said, truth int) {
	s, m := &pl.seen, pl.manifest
	if truth < 0 {
		s.unknown++
	}
	if said.Reasoned {
		s.reasoned++
	}
	if m.Answer.Form == models.None {
		return
	}
	asked, turns := pl.client.lead()
	if row.HasPrompt && row.Turns != turns {
		s.turns++
	}
	switch system := strings.TrimSpace(row.System); {
	case system != "" && !pl.sends(system):
		if s.otherPrompt == 0 {
			s.lineOfPrompt = row.Line
		}
		s.otherPrompt++
	case row.HasPrompt && system == "" && asked:
		s.noPrompt++
	}
	if said.Label >= 0 && said.Form != m.Answer.Form {
		if s.otherForm == 0 {
			s.form, s.lineOfForm = said.Form, row.Line
		}
		s.otherForm++
	}
}

// sends reports whether the system message is the model's here: the client's, or where
// that cannot be read a part of the prompt.
func (pl *player) sends(system string) bool {
	if asked, _ := pl.client.lead(); asked {
		return strings.TrimSpace(pl.client.Lead[0].Content) == system
	}
	return strings.Contains(pl.manifest.Prompt.Prefix, system)
}

// lead says whether a system message is sent, and how many messages of examples.
func (c conversation) lead() (system bool, examples int) {
	system = len(c.Lead) > 0 && c.Lead[0].Role == "system"
	if system {
		return true, len(c.Lead) - 1
	}
	return false, len(c.Lead)
}

// causes lists what may explain that the model answers otherwise, the likeliest
// first.
func (pl *player) causes() []string {
	s, r := &pl.seen, &pl.result
	var list []string
	add := func(seen bool, format string, args ...any) {
		if seen {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	add(s.otherPrompt > 0, "template: the platform asked with another system prompt than %s holds, in %d of %d rows (line %d of the predictions)", clientName, s.otherPrompt, r.Matched, s.lineOfPrompt)
	add(s.noPrompt > 0, "template: the platform asked without a system prompt in %d of %d rows, and %s sends one", s.noPrompt, r.Matched, clientName)
	add(s.turns > 0, "template: the platform's prompt has other examples before the text than %[3]s sends, in %[1]d of %[2]d rows", s.turns, r.Matched, clientName)
	add(s.otherForm > 0, "answer form: the platform's model wrote %s in %d of %d rows (line %d of the predictions), and is asked here for %s", formName(s.form), s.otherForm, r.Matched, s.lineOfForm, formName(pl.manifest.Answer.Form))
	add(s.reasoned > 0, "answer form: the platform's model reasoned before it answered in %d of %d rows; here it answers at once", s.reasoned, r.Matched)
	add(pl.otherBase != "", "wrong base: the adapter is of the base model %s, and its weights are from another", pl.otherBase)
	add(s.cut > 0, "length: %d of the texts that differ were cut, because they do not fit the model's context", s.cut)
	add(r.Failed > 0, "%d texts could not be answered", r.Failed)
	add(r.Outside > 0, "%d of the platform's answers are no label of the model, which it can never give here", r.Outside)
	add(s.unknown > 0, "labels: %d rows of the test set have a label that the model does not", s.unknown)
	add(len(r.Unmatched) > 0, "%d rows of the test set have no prediction (first line %d): they may be of another training", r.Rows-r.Matched, firstOf(r.Unmatched))
	add(pl.coarse != "" && (r.Matched == 0 && r.PlatformAccuracy != nil || r.Agree+r.Outside < r.Matched), "quantisation: most weights are stored as %s, coarser than Q8_0", pl.coarse)
	add(len(list) == 0, "nothing that was looked at explains it: neither prompt, answer form, base, quantisation nor length; the weights may be those of another training")
	return list
}

func firstOf(lines []int) int {
	if len(lines) == 0 {
		return 0
	}
	return lines[0]
}

func formName(f models.AnswerForm) string {
	switch f {
	case models.Tagged:
		return "<output>label</output>"
	case models.JSON:
		return `{"label": "label"}`
	}
	return "the bare label"
}

// bitsOfQ8 is what Q8_0 takes for a weight: eight, and a scale for 32 of them.
const bitsOfQ8 = 8.5

// coarseType names the type of most weights of a staged GGUF file where that is
// coarser than Q8_0, else it is empty.
func coarseType(stage *models.Stage, m *models.Manifest) (string, error) {
	if !strings.HasSuffix(m.Weights, ".gguf") {
		return "", nil
	}
	data, release, err := stage.Map(m.Weights)
	if err != nil {
		return "", err
	}
	f, err := gguf.Parse(data)
	if err != nil {
		return "", release() // libllama reads it all the same
	}
	values := map[gguf.Type]uint64{}
	var most gguf.Type
	for _, t := range f.Tensors() {
		n := uint64(1)
		for _, d := range t.Shape {
			n *= d
		}
		if values[t.Type] += n; values[t.Type] > values[most] {
			most = t.Type
		}
	}
	if block := most.BlockSize(); block == 0 || float64(8*most.RowSize(block))/float64(block) >= bitsOfQ8 {
		return "", release()
	}
	return most.String(), release()
}
