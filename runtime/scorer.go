package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strings"
	"unicode/utf8"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// scorer turns texts into token trees and an engine's outputs into
// distributions. One pass answers for all labels of all its texts, or a few where
// there are very many labels.
type scorer struct {
	eng    engine.Engine
	set    *labels.Set
	method models.Scoring
	prompt prompt
	prefix engine.Prefix
	trie   *labels.Trie // nil with a classification head
	plans  map[models.Scoring]*answerPlan
	limit  int // most tokens of a text inside its prompt
	shared int // tokens at the end of prompt.suffix that all answers begin with
}

// newScorer computes the shared prefix, once for the model's life.
func newScorer(ctx context.Context, eng engine.Engine, m models.Manifest, set *labels.Set) (*scorer, error) {
	s := &scorer{eng: eng, set: set, method: m.Scoring, prompt: newPrompt(eng.Tokenizer(), m.Prompt)}
	if m.Scoring == models.Head {
		if n := eng.Info().Classes; n != set.Len() {
			return nil, fmt.Errorf("the manifest has %d labels, but the classification head has %d outputs", set.Len(), n)
		}
	} else if err := s.plan(m.Answer); err != nil {
		return nil, err
	}
	if err := s.measure(); err != nil {
		return nil, err
	}
	var err error
	s.prefix, err = eng.Prefix(ctx, s.prompt.prefix)
	return s, err
}

func (s *scorer) plan(a models.Answer) error {
	shared, rest, err := s.prompt.answers(a, s.set)
	if err != nil {
		return err
	}
	s.prompt.suffix, s.shared = append(s.prompt.suffix, shared...), len(shared)
	if s.trie, err = labels.NewTrie(rest); err != nil {
		return err
	}
	dear := s.eng.Info().NodeByNode
	s.plans = map[models.Scoring]*answerPlan{
		models.Constrained: newAnswerPlan(s.trie, s.trie.Branching(), false, dear),
		models.Likelihood:  newAnswerPlan(s.trie, innerNodes(s.trie), true, dear),
	}
	return nil
}

// measure finds how long a text may be: prefix, suffix and the longest answer
// must fit the context with it, and all nodes must fit one pass.
func (s *scorer) measure() error {
	info := s.eng.Info()
	deepest, nodes := 0, 0
	if s.trie != nil {
		for _, p := range s.plans {
			nodes = max(nodes, p.most())
		}
		for _, n := range s.trie.Nodes() {
			deepest = max(deepest, int(n.Depth))
		}
	}
	s.limit = min(info.Context-len(s.prompt.prefix)-deepest, info.MaxPass-nodes) - len(s.prompt.suffix)
	if s.limit <= len(s.prompt.head.tokens) {
		return fmt.Errorf("prompt and answers leave no room for a text: the context of the model is %d tokens, and the prompt has %d",
			info.Context, len(s.prompt.prefix)+len(s.prompt.suffix))
	}
	return nil
}

// scored is one text on its way through a pass.
type scored struct {
	tree       engine.Tree
	identity   string      // equal where all that a pass computes is equal
	plan       *answerPlan // nil with a classification head
	reading    *reading    // of the plan, until there is an answer
	base       int         // nodes before the label nodes
	cost       int         // tokens it spends of a pass
	tokens     int         // tokens of the text that are scored
	truncated  int         // tokens cut off its end
	dist       labels.Distribution
	mass       float64 // by likelihood, the probability of all answers together, from what they share on
	unresolved float64 // probability that is shared out evenly, see answers.go
	err        *Error
}

// prepare tokenises one text. It is safe to call from many goroutines, also
// while a pass runs.
func (s *scorer) prepare(text string, method models.Scoring, noTruncate bool) (*scored, *Error) {
	if method == "" {
		method = s.method
	}
	plan := s.plans[method]
	if plan == nil && (method != models.Head || s.method != models.Head) {
		return nil, errorf(CodeBadScoring, "this model cannot score by %q: it has %s", method, s.methods())
	}
	switch {
	case !utf8.ValidString(text):
		return nil, errorf(CodeInvalidUTF8, "the text is not valid UTF-8")
	case strings.TrimSpace(text) == "":
		return nil, errorf(CodeEmptyText, "the text is empty: there is nothing to classify")
	}
	e, lost := s.prompt.encodeWithin(text, s.limit)
	if e.text == 0 {
		return nil, errorf(CodeEmptyText, "the text has no character that the model's vocabulary knows: there is nothing to classify")
	}
	if lost > 0 && noTruncate {
		return nil, errorf(CodeTextTooLong, "the text is %d tokens too long: at most %d fit, and truncation was refused", lost, s.limit)
	}
	w := &scored{plan: plan, tokens: e.text, truncated: lost}
	w.identity = identify(method, e)
	w.place(append(append(make([]labels.Token, 0, len(e.tokens)+len(s.prompt.suffix)), e.tokens...), s.prompt.suffix...), e.back)
	return w, nil
}

// place hangs a text's tokens behind all but the last back tokens of the prefix.
func (w *scored) place(chain []labels.Token, back int) {
	w.base, w.cost = len(chain), len(chain)
	w.tree = engine.Chain(chain)
	w.tree.Back = back
	if w.plan == nil {
		w.tree.Pooled = w.base - 1
	} else {
		w.cost += w.plan.cost(w.base)
	}
}

// identify names a text's tree: prefix, suffix and label nodes are the model's
// and the method's, the rest is the text's own tokens.
func identify(method models.Scoring, e encoded) string {
	b := make([]byte, 0, len(method)+5*len(e.tokens)+1)
	b = append(append(b, method...), 0)
	b = binary.AppendUvarint(b, uint64(e.back))
	for _, t := range e.tokens {
		b = binary.AppendUvarint(b, uint64(t))
	}
	return string(b)
}

func (s *scorer) methods() string {
	if s.method == models.Head {
		return `only "head", a classification head`
	}
	return `"constrained" and "likelihood"`
}

// run answers the texts, in one pass where their label nodes fit it. Its error
// means that a pass failed as a whole; a text whose numbers are unusable gets its
// own error.
func (s *scorer) run(ctx context.Context, list []*scored) error {
	for _, w := range list {
		if w.plan != nil {
			w.reading = w.plan.newReading()
			w.plan.attach(&w.tree, w.base, w.plan.first)
		}
	}
	for len(list) > 0 {
		var open []*scored // texts that need another pass
		for pack := range s.packs(list) {
			trees := make([]engine.Tree, len(pack))
			for i, w := range pack {
				trees[i] = w.tree
			}
			out, err := s.eng.Eval(ctx, s.prefix, trees)
			if err != nil {
				return err
			}
			for i, w := range pack {
				if s.take(w, out[i]) {
					open = append(open, w)
				}
			}
		}
		list = open
	}
	return nil
}

// packs yields the texts in runs that fit a pass of the engine.
func (s *scorer) packs(list []*scored) iter.Seq[[]*scored] {
	return func(yield func([]*scored) bool) {
		from, tokens, most := 0, 0, s.eng.Info().MaxPass
		for i, w := range list {
			n := len(w.tree.Tokens)
			if i > from && tokens+n > most {
				if !yield(list[from:i]) {
					return
				}
				from, tokens = i, 0
			}
			tokens += n
		}
		yield(list[from:])
	}
}

// take reads what a pass gave for a text, and says whether it needs another one.
func (s *scorer) take(w *scored, out engine.Output) bool {
	if out.Err != nil {
		w.err, w.reading = engineError(out.Err), nil
		return false
	}
	scores := make([]float64, len(out.Scores))
	for i, v := range out.Scores {
		scores[i] = float64(v)
	}
	if w.plan != nil {
		var more bool
		w.reading.read(out)
		if scores, w.unresolved, more = w.reading.next(w.plan.stageLimit(w.base)); more {
			w.plan.attach(&w.tree, w.base, w.reading.stage)
			return true
		}
		w.mass = math.Exp(logSumExp(scores))
	}
	var err error
	if w.dist, err = labels.Softmax(scores); err != nil {
		w.err = &Error{Code: CodeEngineFailed, Message: "the model gave no usable numbers for this text", Cause: err}
	}
	w.reading = nil
	return false
}
