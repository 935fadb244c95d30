package runtime

import (
	"context"
	"fmt"
	"math"
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
