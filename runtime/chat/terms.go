package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"cubby/labels"
	"cubby/runtime/remote"
)

// term is something that a question asks for and that a server may refuse.
type term int

const (
	formatTerm   term = iota // response_format
	logprobsTerm             // logprobs, top_logprobs
	limitTerm                // max_tokens
	warmthTerm               // temperature
	termCount
)

// steps says what is asked for, the best first; what stands last any server takes.
var steps = [termCount][]string{
	formatTerm:   {"json_schema", "json_object", "no response_format"},
	logprobsTerm: {"top_logprobs 20", "top_logprobs 5", "no logprobs"},
	limitTerm:    {"max_tokens", "max_completion_tokens", "no limit"},
	warmthTerm:   {"temperature 0", "the server's temperature"},
}

// alternatives is how many other tokens each step of logprobsTerm asks for.
var alternatives = []int{20, 5, 0}

// words are what a refusal calls a term, in lower case.
var words = [termCount][]string{
	formatTerm:   {"response_format", "json_schema", "json_object", "structured output", "structured_output", "guided", "grammar", "schema"},
	logprobsTerm: {"logprob"},
	limitTerm:    {"max_tokens", "max_completion_tokens"},
	warmthTerm:   {"temperature"},
}

// terms is how far each was given up: an index into its steps.
type terms [termCount]int

func (t terms) limit() string     { return steps[limitTerm][t[limitTerm]] }
func (t terms) alternatives() int { return alternatives[t[logprobsTerm]] }
func (t terms) bare() bool        { return t[formatTerm] == len(steps[formatTerm])-1 }
func (t terms) withoutLogprobs() terms {
	t[logprobsTerm] = len(alternatives) - 1
	return t
}

// String tells people what the server is asked for.
func (t terms) String() string {
	parts := make([]string, termCount)
	for i := range parts {
		parts[i] = steps[i][t[i]]
	}
	return "asked for " + strings.Join(parts, ", ")
}

// maxSaid is the most of a refusal that is searched for the name of a term.
const maxSaid = 8 << 10

// without gives up one step more of what a refusal names: that which its "param" names,
// or else the first whose words it holds. It says whether there is one.
func (t terms) without(e *remote.Error) (terms, bool) {
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotImplemented:
	default:
		return t, false
	}
	for _, text := range []string{paramOf(e.Said), string(e.Said[:min(len(e.Said), maxSaid)])} {
		text = strings.ToLower(text)
		for i := range termCount {
			named := slices.ContainsFunc(words[i], func(w string) bool { return strings.Contains(text, w) })
			if named && t[i] < len(steps[i])-1 {
				t[i]++
				return t, true
			}
		}
	}
	return t, false
}

// paramOf is the parameter that an OpenAI error object blames.
func paramOf(body []byte) string {
	var said struct {
		Error struct{ Param string }
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	return said.Error.Param
}

// agreed is what the server was found to take, for the backend's life.
type agreed struct {
	mu sync.Mutex
	t  terms
}

func (a *agreed) now() terms {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.t
}

// settle remembers terms that brought an answer.
func (a *agreed) settle(t terms) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range t {
		a.t[i] = max(a.t[i], t[i])
	}
}

// formats has the response_format of each step, made once.
func formats(set *labels.Set) []json.RawMessage {
	var schema bytes.Buffer
	names := make([]string, set.Len())
	for i, n := range set.Names() {
		names[i] = quote(n)
	}
	fmt.Fprintf(&schema, `{"type":"json_schema","json_schema":{"name":"label","strict":true,"schema":{"type":"object",`+
		`"properties":{"label":{"type":"string","enum":[%s]}},"required":["label"],"additionalProperties":false}}}`, strings.Join(names, ","))
	return []json.RawMessage{schema.Bytes(), json.RawMessage(`{"type":"json_object"}`), nil}
}
