package remote

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/remote/remotetest"
)

func TestEvalFollowsEveryPath(t *testing.T) {
	f := &fake{}
	e := newEngine(t, f, 3)
	p := prefixed(t, e, "prefix")
	all := []labels.Token{'a', 'b', remotetest.End}
	trees := []engine.Tree{{
		//       root  x        y        two children of x
		Tokens: []labels.Token{'x', 'y', 'z', 'w'}, Parents: []int32{-1, 0, 0, 2}, Pooled: -1, Back: 2,
		Wants: []engine.Want{{Node: 1, Columns: all, Normalizer: true}, {Node: 0}, {Node: 3, Columns: all[:1]}},
	}, chain("other")}
	out, err := e.Eval(t.Context(), p, trees)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tree, want int
		sequence   string
		columns    []labels.Token
	}{{0, 0, "prefxy", all}, {0, 2, "prefxzw", all[:1]}, {1, 0, "prefixother", all[:2]}} {
		logp := remotetest.LogP(e.Tokenizer().Encode(c.sequence))
		row := out[c.tree].Logits[c.want]
		for i, col := range c.columns {
			if row[i] != float32(logp[col]) {
				t.Errorf("behind %q column %d has %v, want %v", c.sequence, col, row[i], logp[col])
			}
		}
	}
	if out[0].Unseen != nil || out[1].Unseen != nil || len(out[0].LogZ) != 3 || out[0].LogZ[0] != 0 || len(out[0].Logits[1]) != 0 {
		t.Errorf("%+v", out)
	}
	if n := f.count(); n != 3 || f.most > 3 {
		t.Errorf("%d questions for 3 wants with columns, %d at once", n, f.most)
	}
}

// What is said of unseen columns holds whatever the distribution, and the logits of
// those seen are exact.
func TestUnseenIsAnUpperBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		sequence := []labels.Token{labels.Token(r.IntN(256)), labels.Token(r.IntN(256))}
		logp := remotetest.LogP(sequence)
		columns := make([]labels.Token, 1+r.IntN(6))
		for i, c := range r.Perm(len(logp))[:len(columns)] {
			columns[i] = labels.Token(c)
		}
		told := tell(logp, columns, 1+r.IntN(40))
		if !told.valid(len(columns)) {
			t.Fatalf("%+v is not valid", told)
		}
		row, share := told.row()
		var hidden, seen, even float64
		for i, c := range columns {
			if p := math.Exp(logp[c]); math.IsNaN(told.LogP[i]) {
				hidden += p
				even += math.Exp(float64(row[i]))
			} else {
				seen += p
				if row[i] != float32(logp[c]) {
					t.Fatalf("a seen column has %v, want %v", row[i], logp[c])
				}
			}
		}
		if truth := hidden / (hidden + seen); share < truth-1e-9 || share > 1 {
			t.Fatalf("share %v, but it is %v", share, truth)
		}
		if share > 0 && math.Abs(even/(even+seen)-share) > 1e-6 {
			t.Fatalf("the logits give unseen columns %v, not the bound of %v", even/(even+seen), share)
		}
	}
}

func TestUnseenCorners(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(-1)
	for _, c := range []struct {
		name  string
		told  Told
		valid bool
		share float64
	}{
		{"all seen", Told{LogP: []float64{-1, -2}, Mass: 0.6}, true, 0},
		{"nothing known", Told{LogP: []float64{nan, nan}}, true, 1},
		{"rounding took all the mass", Told{LogP: []float64{0, nan}, Mass: 1.00005, Least: -1}, true, 1e-6},
		{"a certain answer", Told{LogP: []float64{0, inf}, Mass: 1}, true, 0},
		{"more than everything", Told{LogP: []float64{-1}, Mass: 1.2}, false, 0},
		{"a probability of 7", Told{LogP: []float64{2}, Mass: 1}, false, 0},
		{"too few", Told{Mass: 1}, false, 0},
		{"no number", Told{LogP: []float64{-1, nan}, Mass: nan}, false, 0},
		{"no least", Told{LogP: []float64{nan}, Mass: 0.5, Least: math.Inf(1)}, false, 0},
	} {
		n := len(c.told.LogP)
		if c.name == "too few" {
			n = 1
		}
		if got := c.told.valid(n); got != c.valid {
			t.Errorf("%s: valid %v", c.name, got)
		}
		if c.valid && math.Abs(c.told.Share()-c.share) > 1e-9 {
			t.Errorf("%s: share %v, want %v", c.name, c.told.Share(), c.share)
		}
	}
}

func TestOneTreeFailsAlone(t *testing.T) {
	f := &fake{}
	e := newEngine(t, f, 1)
	p := prefixed(t, e, "prefix")
	bad := chain("bad")
	bad.Wants = append(bad.Wants, bad.Wants[0], bad.Wants[0])
	f.set(func(ask int) error {
		if ask == 2 {
			return &Error{Fault: Unaskable, Server: "fake", Message: "it spells <|end|>"}
		}
		return nil
	})
	out, err := e.Eval(t.Context(), p, []engine.Tree{chain("good"), bad, chain("good too")})
	if err != nil {
		t.Fatal(err)
	}
	var why *Error
	if !errors.As(out[1].Err, &why) || why.Fault != Unaskable || out[1].Logits != nil {
		t.Errorf("the bad tree has %+v", out[1])
	}
	if out[0].Err != nil || out[2].Err != nil || len(out[0].Logits[0]) != 2 || len(out[2].Logits[0]) != 2 {
		t.Errorf("the others have %+v %+v", out[0], out[2])
	}
	if n := f.count(); n != 3 {
		t.Errorf("%d questions: a tree that has failed was asked about again", n)
	}
}

func TestEvalRefusesWhatItCannotTake(t *testing.T) {
	f := &fake{}
	e := newEngine(t, f, 1)
	p := prefixed(t, e, "prefix")
	pooled := engine.Chain([]labels.Token{'a'})
	pooled.Pooled = 0
	other := newEngine(t, &fake{}, 1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		p     engine.Prefix
		trees []engine.Tree
		says  string
	}{
		"class scores":        {t.Context(), p, []engine.Tree{pooled}, "no classification head"},
		"too long":            {t.Context(), p, []engine.Tree{chain(strings.Repeat("x", 64))}, "context"},
		"another's prefix":    {t.Context(), prefixed(t, other, "prefix"), []engine.Tree{chain("x")}, "prefix is not"},
		"a caller who left":   {gone, p, []engine.Tree{chain("x")}, "canceled"},
		"outside the columns": {t.Context(), p, []engine.Tree{{Tokens: []labels.Token{1}, Parents: []int32{-1}, Pooled: -1, Wants: []engine.Want{{Columns: []labels.Token{9999}}}}}, "vocabulary"},
	} {
		if _, err := e.Eval(c.ctx, c.p, c.trees); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := f.count(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
	if _, err := e.Prefix(t.Context(), make([]labels.Token, 65)); err == nil {
		t.Error("a prefix longer than the context was taken")
	}
	e.Close()
	e.Close()
	if _, err := e.Eval(t.Context(), p, []engine.Tree{chain("x")}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
	if err := e.Probe(t.Context()); err == nil {
		t.Error("a closed engine is ready")
	}
}

func TestInfoFitsTheLongestText(t *testing.T) {
	c := Config{Info: info, Tokenizer: remotetest.Tokenizer{}}
	c.Info.Context = 100000
	e, err := New(&fake{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Info(); got.MaxPass < 2*got.Context || !got.NodeByNode || got.Classes != 0 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []Config{{Info: engine.Info{Vocab: 5}}, {Info: info, Slots: -1}, {Info: info, Timeout: -1}} {
		if _, err := New(&fake{}, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
