package predictions

import (
	"encoding/json"
	"strings"

	"cubby/labels"
	"cubby/models"
)

// Said is what a model wrote, taken apart.
type Said struct {
	Label    int // in the set; -1 where it is none of it
	Form     models.AnswerForm
	Reasoned bool // there is reasoning before the answer
}

// ReadLabel finds the label in what a model wrote: bare, in <output> tags, or as
// {"label": "…"}, behind <think> reasoning or not.
func ReadLabel(set *labels.Set, written string) Said {
	s := Said{Label: -1, Form: models.Bare}
	answer := strings.TrimSpace(written)
	if head, tail, ok := cutLast(answer, "</think>"); ok {
		s.Reasoned = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(head), "<think>")) != ""
		answer = strings.TrimSpace(tail)
	} else if strings.HasPrefix(answer, "<think>") {
		s.Reasoned = true // and it did not come to an end
		return s
	}
	if i, ok := find(set, answer); ok {
		s.Label = i
		return s
	}
	name := answer
	if inner, ok := tagged(answer); ok {
		s.Form, name = models.Tagged, inner
	} else if inner, ok := object(answer); ok {
		s.Form, name = models.JSON, inner
	}
	if i, ok := find(set, name); ok {
		s.Label = i
	}
	return s
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// tagged is the content of the last <output> block.
func tagged(answer string) (string, bool) {
	before, _, closed := cutLast(answer, "</output>")
	_, inner, opened := cutLast(before, "<output>")
	return inner, closed && opened
}

// object is the value of a JSON object's "label", or of its only key.
func object(answer string) (string, bool) {
	var fields map[string]any
	if json.Unmarshal([]byte(answer), &fields) != nil {
		return "", false
	}
	value, ok := fields["label"]
	for _, only := range fields {
		if !ok && len(fields) == 1 {
			value, ok = only, true
		}
	}
	name, isText := value.(string)
	return name, ok && isText
}

// find looks a label up by its name, or by that without the space around it.
func find(set *labels.Set, name string) (int, bool) {
	if i, ok := set.Index(name); ok {
		return i, true
	}
	name = strings.TrimSpace(name)
	for i := range set.Len() {
		if strings.TrimSpace(set.Name(i)) == name {
			return i, true
		}
	}
	return -1, false
}
