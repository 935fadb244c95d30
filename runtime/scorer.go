package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// scorer turns texts into token trees and an engine's outputs into
// distributions. One pass answers for all labels of all its texts.
type scorer struct {
	eng    engine.Engine
	set    *labels.Set
	method models.Scoring
	prompt prompt
	prefix engine.Prefix
	trie   *labels.Trie // nil with a classification head
	plans  map[models.Scoring]*answerPlan
	limit  int // most tokens of a text inside its prompt
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
	s.prompt.suffix = append(s.prompt.suffix, shared...)
	if s.trie, err = labels.NewTrie(rest); err != nil {
		return err
	}
	s.plans = map[models.Scoring]*answerPlan{
		models.Constrained: newAnswerPlan(s.trie, s.trie.Branching(), false),
		models.Likelihood:  newAnswerPlan(s.trie, innerNodes(s.trie), true),
	}
	return nil
}

// measure finds how long a text may be: prefix, suffix and the longest answer
// must fit the context with it, and all nodes must fit one pass.
func (s *scorer) measure() error {
	info := s.eng.Info()
	deepest, nodes := 0, 0
	if s.trie != nil {
		nodes = len(s.plans[models.Likelihood].nodes)
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
	tree      engine.Tree
	identity  string      // equal where all that a pass computes is equal
	plan      *answerPlan // nil with a classification head
	base      int         // nodes before the label nodes
	cost      int         // tokens it spends of a pass
	tokens    int         // tokens of the text that are scored
	truncated int         // tokens cut off its end
	dist      labels.Distribution
	err       *Error
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
	chain := append(append(make([]labels.Token, 0, len(e.tokens)+len(s.prompt.suffix)), e.tokens...), s.prompt.suffix...)
	w.base = len(chain)
	w.identity = identify(method, e)
	w.tree = engine.Chain(chain)
	w.tree.Back = e.back
	if plan == nil {
		w.tree.Pooled = w.base - 1
	} else {
		plan.attach(&w.tree)
	}
	w.cost = len(w.tree.Tokens)
	return w, nil
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

// run answers the texts in one pass. Its error means that the pass failed as a
// whole; a text whose numbers are unusable gets its own error.
func (s *scorer) run(ctx context.Context, list []*scored) error {
	trees := make([]engine.Tree, len(list))
	for i, w := range list {
		trees[i] = w.tree
	}
	out, err := s.eng.Eval(ctx, s.prefix, trees)
	if err != nil {
		return err
	}
	for i, w := range list {
		w.dist, err = s.distribution(w, out[i])
		if err != nil {
			w.err = &Error{Code: CodeEngineFailed, Message: "the model gave no usable numbers for this text", Cause: err}
		}
	}
	return nil
}

func (s *scorer) distribution(w *scored, out engine.Output) (labels.Distribution, error) {
	scores := make([]float64, s.set.Len())
	if w.plan == nil {
		for i, v := range out.Scores {
			scores[i] = float64(v)
		}
		return labels.Softmax(scores)
	}
	logp := w.plan.logProbabilities(out)
	for i := range scores {
		for _, n := range s.trie.Path(i) {
			scores[i] += logp[n]
		}
	}
	return labels.Softmax(scores)
}

// answerPlan says which trie nodes a scoring method computes and what it wants
// of them. It is attached behind every text.
type answerPlan struct {
	trie      *labels.Trie
	nodes     []int32 // trie nodes to compute, parents first; the root is the text's last token
	parents   []int32 // position in nodes of each one's parent; -1 for the root
	wants     []int32 // trie nodes whose logits are wanted
	at        []int32 // position in nodes of each want; -1 for the root
	columns   [][]labels.Token
	normalize bool
}

// newAnswerPlan plans for the logits behind the wanted trie nodes.
func newAnswerPlan(t *labels.Trie, wants []int32, normalize bool) *answerPlan {
	p := &answerPlan{trie: t, wants: wants, normalize: normalize}
	nodes := t.Nodes()
	need := make([]bool, len(nodes))
	for _, w := range wants {
		for n := w; n > 0 && !need[n]; n = nodes[n].Parent {
			need[n] = true
		}
	}
	place := make([]int32, len(nodes))
	place[0] = -1
	for n := range nodes {
		if need[n] {
			place[n] = int32(len(p.nodes))
			p.nodes = append(p.nodes, int32(n))
			p.parents = append(p.parents, place[nodes[n].Parent])
		}
	}
	for _, w := range wants {
		p.at = append(p.at, place[w])
		var columns []labels.Token
		for _, c := range nodes[w].Children {
			columns = append(columns, nodes[c].Token)
		}
		p.columns = append(p.columns, columns)
	}
	return p
}

// innerNodes lists the nodes that have children.
func innerNodes(t *labels.Trie) []int32 {
	var list []int32
	for i, n := range t.Nodes() {
		if len(n.Children) > 0 {
			list = append(list, int32(i))
		}
	}
	return list
}

// attach appends the label nodes behind the chain's last token.
func (p *answerPlan) attach(t *engine.Tree) {
	base := len(t.Tokens)
	for i, n := range p.nodes {
		t.Tokens = append(t.Tokens, p.trie.Nodes()[n].Token)
		t.Parents = append(t.Parents, int32(base)+p.parents[i])
	}
	t.Wants = make([]engine.Want, len(p.wants))
	for i, at := range p.at {
		t.Wants[i] = engine.Want{Node: base + int(at), Columns: p.columns[i], Normalizer: p.normalize}
	}
}

// logProbabilities returns, for each trie node, the log probability of its
// token behind its parent: normalised over the vocabulary, or among its
// siblings. Nodes with no sibling are certain in the latter.
func (p *answerPlan) logProbabilities(out engine.Output) []float64 {
	nodes := p.trie.Nodes()
	logp := make([]float64, len(nodes))
	for i, w := range p.wants {
		row := out.Logits[i]
		z := out.LogZ[i]
		if !p.normalize {
			z = logSumExp(row)
		}
		for j, c := range nodes[w].Children {
			logp[c] = float64(row[j]) - z
		}
	}
	return logp
}

func logSumExp(x []float32) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}
