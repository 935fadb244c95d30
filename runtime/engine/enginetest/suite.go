package enginetest

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
)

// Suite says what an engine promises beyond the contract.
type Suite struct {
	// Open makes an engine of the model; the suite closes it.
	Open func(t *testing.T, m Model) engine.Engine
	// Tolerance is the largest total variation distance from the float64
	// reference, over the whole vocabulary.
	Tolerance float64
	// Q8 makes the models' matrices Q8_0 instead of float32.
	Q8 bool
	// Exact engines give a tree the same bits in every batch.
	Exact bool
	// Families are the architectures that the engine computes; nil for all of
	// enginetest.Families.
	Families []string
	family   string
}

// Run runs the whole suite for each family.
func (s Suite) Run(t *testing.T) {
	families := s.Families
	if families == nil {
		families = Families
	}
	list := families
	if s.Q8 {
		list = []string{"llama", "gemma3"}
	}
	for _, family := range list {
		s.family = family
		t.Run(family, s.run)
	}
}

func (s Suite) run(t *testing.T) {
	t.Run("chains agree with the reference", s.chains)
	t.Run("trees agree with the reference", s.trees)
	t.Run("a prefix changes nothing", s.prefix)
	t.Run("the batch changes nothing", s.batches)
	t.Run("class scores agree with the reference", s.classes)
	t.Run("bad passes are refused", s.refusals)
	t.Run("a cancelled pass leaves the engine whole", s.cancellation)
	t.Run("a closed engine answers with an error", s.closed)
}

// bench is an engine with the reference of its model.
type bench struct {
	*testing.T
	Suite
	engine.Engine
	ref  reference
	rnd  *rand.Rand
	none engine.Prefix
}

func (s Suite) bench(t *testing.T, seed uint64, classes ...string) *bench {
	t.Helper()
	m := newModel(s.family, s.Q8, seed, classes...)
	b := &bench{T: t, Suite: s, Engine: s.Open(t, m), ref: m.reference(t), rnd: rand.New(rand.NewPCG(seed, 2))}
	t.Cleanup(func() { b.Engine.Close() })
	b.none = b.newPrefix(nil)
	return b
}

func (b *bench) newPrefix(tokens []labels.Token) engine.Prefix {
	b.Helper()
	p, err := b.Prefix(context.Background(), tokens)
	if err != nil {
		b.Fatal(err)
	}
	if p.Len() != len(tokens) {
		b.Fatalf("prefix holds %d tokens, want %d", p.Len(), len(tokens))
	}
	return p
}

func (b *bench) tokens(n int) []labels.Token {
	out := make([]labels.Token, n)
	for i := range out {
		out[i] = labels.Token(b.rnd.IntN(vocab))
	}
	return out
}

// all is every column of the vocabulary.
func all() []labels.Token {
	out := make([]labels.Token, vocab)
	for i := range out {
		out[i] = labels.Token(i)
	}
	return out
}

// chain is a text whose last logits are wanted, with their normaliser.
func (b *bench) chain(tokens []labels.Token) engine.Tree {
	t := engine.Chain(tokens)
	t.Wants = []engine.Want{{Node: len(tokens) - 1, Columns: all(), Normalizer: true}}
	return t
}

func (b *bench) eval(p engine.Prefix, trees ...engine.Tree) []engine.Output {
	b.Helper()
	out, err := b.Eval(context.Background(), p, trees)
	if err != nil {
		b.Fatal(err)
	}
	if len(out) != len(trees) {
		b.Fatalf("%d outputs for %d trees", len(out), len(trees))
	}
	return out
}

// agrees compares logits and their normaliser with the reference's state
// behind a sequence.
func (b *bench) agrees(what string, logits []float32, logZ float64, sequence []labels.Token) {
	b.Helper()
	want := b.ref.next(sequence)
	got := make([]float64, vocab)
	for i := range got {
		got[i] = float64(logits[i])
	}
	sum := 0.0
	for _, v := range got {
		sum += math.Exp(v - logZ)
	}
	if math.Abs(sum-1) > 0.002 {
		b.Errorf("%s: probabilities under LogZ sum to %.4f", what, sum)
	}
	softmax(got)
	if d := distance(got, want); d > b.Tolerance {
		b.Errorf("%s: total variation distance to the reference is %.4f, more than %.4f", what, d, b.Tolerance)
	}
}

func distance(p, q []float64) float64 {
	d := 0.0
	for i := range p {
		d += math.Abs(p[i]-q[i]) / 2
	}
	return d
}

func (s Suite) chains(t *testing.T) {
	b := s.bench(t, 1)
	for _, n := range []int{1, 2, 5, 6, 7, 31, 32, 33, 70} {
		tokens := b.tokens(n)
		out := b.eval(b.none, b.chain(tokens))
		b.agrees("chain", out[0].Logits[0], out[0].LogZ[0], tokens)
	}
}

// randomTree hangs branches off a trunk and wants every node.
func (b *bench) randomTree(trunk, branches int) engine.Tree {
	t := engine.Chain(b.tokens(trunk))
	for i := range branches {
		t.Tokens = append(t.Tokens, labels.Token(b.rnd.IntN(vocab)))
		parent := int32(b.rnd.IntN(trunk+i+1)) - 1
		if b.rnd.IntN(2) == 0 {
			parent = int32(trunk + i - 1) // long branches, too
		}
		t.Parents = append(t.Parents, parent)
	}
	for i := range t.Tokens {
		t.Wants = append(t.Wants, engine.Want{Node: i, Columns: all(), Normalizer: true})
	}
	return t
}

func path(t *engine.Tree, node int) []labels.Token {
	var out []labels.Token
	for n := int32(node); n >= 0; n = t.Parents[n] {
		out = append([]labels.Token{t.Tokens[n]}, out...)
	}
	return out
}

func (s Suite) trees(t *testing.T) {
	b := s.bench(t, 2)
	start := b.tokens(9)
	pre := b.newPrefix(start)
	for _, shape := range [][2]int{{1, 5}, {4, 12}, {33, 40}} {
		tree := b.randomTree(shape[0], shape[1])
		tree.Back = b.rnd.IntN(4)
		out := b.eval(pre, tree)
		seen := start[:len(start)-tree.Back]
		for i, w := range tree.Wants {
			sequence := append(append([]labels.Token{}, seen...), path(&tree, w.Node)...)
			b.agrees("tree", out[0].Logits[i], out[0].LogZ[i], sequence)
		}
	}
}

func (s Suite) prefix(t *testing.T) {
	b := s.bench(t, 3)
	tokens := b.tokens(60)
	for _, cut := range []int{0, 1, 31, 32, 33, 59} {
		pre := b.newPrefix(tokens[:cut])
		out := b.eval(pre, b.chain(tokens[cut:]))
		b.agrees("behind a prefix", out[0].Logits[0], out[0].LogZ[0], tokens)
	}
	long := b.tokens(300)
	out := b.eval(b.newPrefix(long), b.chain(tokens))
	b.agrees("behind a long prefix", out[0].Logits[0], out[0].LogZ[0], append(long, tokens...))
}

// batches holds results of trees alone against those in batches of every make-up.
func (s Suite) batches(t *testing.T) {
	b := s.bench(t, 4, "a", "b", "c")
	pre := b.newPrefix(b.tokens(40))
	var trees []engine.Tree
	var alone []engine.Output
	for i := range 12 {
		tree := b.randomTree(1+b.rnd.IntN(40), i%4*5)
		tree.Back = b.rnd.IntN(3)
		if i%3 == 0 {
			tree.Pooled = b.rnd.IntN(len(tree.Tokens))
		}
		trees = append(trees, tree)
		alone = append(alone, b.eval(pre, tree)[0])
	}
	for range 8 {
		order := b.rnd.Perm(len(trees))[:1+b.rnd.IntN(len(trees))]
		var batch []engine.Tree
		for _, i := range order {
			batch = append(batch, trees[i])
		}
		for j, out := range b.eval(pre, batch...) {
			b.same(alone[order[j]], out)
		}
	}
}

func (b *bench) same(x, y engine.Output) {
	b.Helper()
	if b.Exact && !slices.Equal(x.Scores, y.Scores) {
		b.Fatalf("class scores are %v in one batch and %v in another", x.Scores, y.Scores)
	}
	for i := range x.Logits {
		if b.Exact {
			for j := range x.Logits[i] {
				if math.Float32bits(x.Logits[i][j]) != math.Float32bits(y.Logits[i][j]) {
					b.Fatalf("logit %d of want %d is %v in one batch and %v in another", j, i, x.Logits[i][j], y.Logits[i][j])
				}
			}
			if x.LogZ[i] != y.LogZ[i] {
				b.Fatalf("LogZ of want %d is %v in one batch and %v in another", i, x.LogZ[i], y.LogZ[i])
			}
			continue
		}
		p, q := widen(x.Logits[i]), widen(y.Logits[i])
		if d := distance(p, q); d > b.Tolerance {
			b.Fatalf("want %d moves by %.4f in another batch", i, d)
		}
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	softmax(out)
	return out
}

func (s Suite) classes(t *testing.T) {
	b := s.bench(t, 5, "a", "b", "c")
	if n := b.Info().Classes; n != 3 {
		t.Fatalf("Info says %d classes, want 3", n)
	}
	tokens := b.tokens(20)
	tree := engine.Chain(tokens)
	tree.Pooled = len(tokens) - 1
	got := b.eval(b.none, tree)[0].Scores
	states := b.ref.states(tokens)
	want := b.ref.product("cls.output.weight", states[len(states)-1])
	softmax(want)
	if d := distance(widen(got), want); d > b.Tolerance {
		t.Errorf("class scores are %.4f from the reference", d)
	}
}

func (s Suite) refusals(t *testing.T) {
	b := s.bench(t, 6)
	ok := func() engine.Tree { return b.chain([]labels.Token{1, 2, 3}) }
	bad := map[string]func(*engine.Tree){
		"no tokens":                 func(t *engine.Tree) { *t = engine.Tree{Pooled: -1} },
		"token out of range":        func(t *engine.Tree) { t.Tokens = []labels.Token{1, vocab, 2} },
		"negative token":            func(t *engine.Tree) { t.Tokens = []labels.Token{1, -1, 2} },
		"parent behind its child":   func(t *engine.Tree) { t.Parents[1] = 2 },
		"parent is itself":          func(t *engine.Tree) { t.Parents[1] = 1 },
		"missing parents":           func(t *engine.Tree) { t.Parents = t.Parents[:2] },
		"want out of range":         func(t *engine.Tree) { t.Wants[0].Node = 3 },
		"column out of range":       func(t *engine.Tree) { t.Wants[0].Columns = []labels.Token{vocab} },
		"pooled out of range":       func(t *engine.Tree) { t.Pooled = 3 },
		"pooled without a head":     func(t *engine.Tree) { t.Pooled = 1 },
		"back beyond the prefix":    func(t *engine.Tree) { t.Back = 1 },
		"longer than the context":   func(t *engine.Tree) { *t = b.chain(b.tokens(longest + 1)) },
		"negative back":             func(t *engine.Tree) { t.Back = -1 },
		"parent before the prefix":  func(t *engine.Tree) { t.Parents[0] = -2 },
		"want of a negative node":   func(t *engine.Tree) { t.Wants[0].Node = -1 },
		"negative column of a want": func(t *engine.Tree) { t.Wants[0].Columns = []labels.Token{-1} },
	}
	for name, spoil := range bad {
		tree := ok()
		spoil(&tree)
		if _, err := b.Eval(context.Background(), b.none, []engine.Tree{ok(), tree}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := b.Prefix(context.Background(), []labels.Token{vocab}); err == nil {
		t.Error("a prefix with a token out of range was accepted")
	}
	if _, err := b.Prefix(context.Background(), b.tokens(longest+1)); err == nil {
		t.Error("a prefix longer than the context was accepted")
	}
	if out, err := b.Eval(context.Background(), b.none, nil); err != nil || len(out) != 0 {
		t.Errorf("an empty pass gave %v, %v", out, err)
	}
	b.eval(b.none, ok())
}

func (s Suite) cancellation(t *testing.T) {
	b := s.bench(t, 7)
	tree := b.chain(b.tokens(30))
	before := b.eval(b.none, tree)[0]
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Eval(ctx, b.none, []engine.Tree{tree}); err == nil {
		t.Error("a cancelled pass was computed")
	}
	b.same(before, b.eval(b.none, tree)[0])
}

func (s Suite) closed(t *testing.T) {
	b := s.bench(t, 8)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := b.Eval(context.Background(), b.none, []engine.Tree{b.chain([]labels.Token{1})}); err == nil {
		t.Error("a closed engine computed a pass")
	}
	if _, err := b.Prefix(context.Background(), []labels.Token{1}); err == nil {
		t.Error("a closed engine computed a prefix")
	}
}
