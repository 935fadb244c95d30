package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// counted counts the passes of an engine, bounds their size, and sharpens its
// logits.
type counted struct {
	hashed
	passes, most int
	sharp        float32
}

func (c *counted) Info() engine.Info {
	i := c.hashed.Info()
	i.MaxPass = 2 * wholeNodes
	return i
}

func (c *counted) Eval(ctx context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if err := engine.Check(c.Info(), p.Len(), trees); err != nil {
		return nil, err
	}
	c.passes++
	for _, t := range trees {
		c.most = max(c.most, len(t.Tokens))
	}
	out, err := c.hashed.Eval(ctx, p, trees)
	for i := range out {
		for _, row := range out[i].Logits {
			for j := range row {
				row[j] *= c.sharp
			}
		}
	}
	return out, err
}

// manyNames returns n label names that share beginnings, as generated ones do.
func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%c%c_%03d", 'a'+i%7, 'a'+i%5, i)
	}
	return names
}

func scoreTogether(t *testing.T, s *scorer, texts []string, method models.Scoring) []*scored {
	t.Helper()
	list := make([]*scored, len(texts))
	for i, text := range texts {
		w, err := s.prepare(text, method, false)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = w
	}
	if err := s.run(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		if err := w.dist.Check(); err != nil || w.err != nil {
			t.Fatal(err, w.err)
		}
	}
	return list
}

// Where a trie is opened in stages, no label is further from its probability
// than what was left unresolved, alone or beside others.
func TestManyLabelsAreOpenedInStages(t *testing.T) {
	texts := []string{"hello", "a b c"}
	for _, method := range []models.Scoring{models.Constrained, models.Likelihood} {
		m := testManifest(manyNames(600), method)
		set, err := labels.NewSet(m.Labels)
		if err != nil {
			t.Fatal(err)
		}
		eng := &counted{sharp: 1}
		s, err := newScorer(t.Context(), eng, m, set)
		if err != nil {
			t.Fatal(err)
		}
		if s.plans[method].whole {
			t.Fatal("all label nodes fit one stage: nothing is tested")
		}
		together := scoreTogether(t, s, texts, method)
		for i, w := range together {
			want := bruteForce(m, texts[i], method)
			for j := range want {
				if off := math.Abs(w.dist[j] - want[j]); off > w.unresolved+1e-6 {
					t.Fatalf("%s, text %q: label %q has %v, by whole sequences %v; unresolved %v", method, texts[i], m.Labels[j].Name, w.dist[j], want[j], w.unresolved)
				}
			}
			eng.passes = 0
			alone := scoreTogether(t, s, texts[i:i+1], method)[0]
			for j := range want {
				if alone.dist[j] != w.dist[j] {
					t.Fatalf("%s, text %q: label %d has %v alone and %v beside others", method, texts[i], j, alone.dist[j], w.dist[j])
				}
			}
		}
		if eng.passes > maxStages {
			t.Errorf("%s: %d passes for one text", method, eng.passes)
		}
	}
}

// A model that is sure of its answer needs few passes, however many labels.
func TestSureAnswersTakeFewPasses(t *testing.T) {
	m := testManifest(manyNames(3000), models.Constrained)
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		t.Fatal(err)
	}
	eng := &counted{sharp: 30}
	s, err := newScorer(t.Context(), eng, m, set)
	if err != nil {
		t.Fatal(err)
	}
	w := scoreTogether(t, s, []string{"hello"}, models.Constrained)[0]
	if eng.passes > 4 {
		t.Errorf("%d passes", eng.passes)
	}
	if best, p := w.dist.Best(); p < 0.5 || w.unresolved > unresolvedMass {
		t.Errorf("label %d with %v, unresolved %v", best, p, w.unresolved)
	}
}

// A text whose second pass failed is scored from the start.
func TestStagesBeginAnew(t *testing.T) {
	m := testManifest(manyNames(600), models.Constrained)
	s, _ := testScorer(t, m)
	w, err := s.prepare("hello", "", false)
	if err != nil {
		t.Fatal(err)
	}
	var got [2]labels.Distribution
	for i := range got {
		if err := s.run(t.Context(), []*scored{w}); err != nil {
			t.Fatal(err)
		}
		got[i] = w.dist
	}
	for j := range got[0] {
		if got[0][j] != got[1][j] {
			t.Fatalf("label %d: %v, then %v", j, got[0][j], got[1][j])
		}
	}
}

// partial is an engine that pays for each node, and knows the logits of the
// likeliest columns only.
type partial struct {
	counted
	knows, wants int
}

func (p *partial) Info() engine.Info {
	i := p.counted.Info()
	i.NodeByNode = true
	return i
}

func (p *partial) Eval(ctx context.Context, pre engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	out, err := p.counted.Eval(ctx, pre, trees)
	for i := range out {
		p.wants += len(trees[i].Wants)
		out[i].Unseen = make([]float64, len(out[i].Logits))
		for j, row := range out[i].Logits {
			out[i].Unseen[j] = hide(row, p.knows)
		}
	}
	return out, err
}

// hide replaces all but the k largest values by an even share of the bound that
// the least of these gives, and returns the bound as a share of the whole.
func hide(row []float32, k int) float64 {
	if len(row) <= k {
		return 0
	}
	order := slices.Clone(row)
	slices.Sort(order)
	least := order[len(order)-k]
	seen, unseen := 0.0, 0.0
	for i, v := range row {
		if v >= least {
			seen += math.Exp(float64(v))
		} else {
			row[i] = least
			unseen += math.Exp(float64(least))
		}
	}
	return unseen / (seen + unseen)
}

// An engine that pays for each node is asked where there is probability, and what
// it does not know is told.
func TestNodesAreAskedWhereProbabilityIs(t *testing.T) {
	for _, method := range []models.Scoring{models.Constrained, models.Likelihood} {
		for _, sharp := range []float32{1, 20} {
			m := testManifest(manyNames(60), method)
			set, err := labels.NewSet(m.Labels)
			if err != nil {
				t.Fatal(err)
			}
			eng := &partial{counted: counted{sharp: sharp}, knows: 3}
			s, err := newScorer(t.Context(), eng, m, set)
			if err != nil {
				t.Fatal(err)
			}
			w := scoreTogether(t, s, []string{"hello"}, method)[0]
			if sharp == 1 {
				want := bruteForce(m, "hello", method)
				for j := range want {
					if off := math.Abs(w.dist[j] - want[j]); off > w.unresolved+1e-6 {
						t.Errorf("%s: label %d has %v, by whole sequences %v; unresolved %v", method, j, w.dist[j], want[j], w.unresolved)
					}
				}
				continue
			}
			if most := 3 * s.plans[method].deepest; eng.wants > most {
				t.Errorf("%s: %d nodes were asked for a sure answer, want at most %d", method, eng.wants, most)
			}
		}
	}
}

// broken refuses one token.
type broken struct{ counted }

func (b *broken) Eval(ctx context.Context, pre engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	out, err := b.counted.Eval(ctx, pre, trees)
	for i := range out {
		if slices.Contains(trees[i].Tokens, 'x') {
			out[i] = engine.Output{Err: &engine.UnavailableError{Err: errors.New("no route to host")}}
		}
	}
	return out, err
}

// A tree without an answer is its text's error, and no other's.
func TestTreeThatFailsAlone(t *testing.T) {
	m := testManifest([]string{"a", "b"}, models.Constrained)
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScorer(t.Context(), &broken{counted{sharp: 1}}, m, set)
	if err != nil {
		t.Fatal(err)
	}
	var list []*scored
	for _, text := range []string{"one", "box", "two"} {
		w, err := s.prepare(text, "", false)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, w)
	}
	if err := s.run(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if list[0].err != nil || list[2].err != nil || list[0].dist.Check() != nil {
		t.Errorf("the others: %v, %v", list[0].err, list[2].err)
	}
	if e := list[1].err; e == nil || e.Code != CodeUnavailable || e.RetryAfter <= 0 || list[1].dist != nil {
		t.Errorf("got %+v", e)
	}
}
