package chat

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cubby/labels"
)

// tok is a token of probability p, in Bytes where that is not valid UTF-8.
func tok(piece string, p float64) token {
	l := math.Log(p)
	return token{Token: strings.ToValidUTF8(piece, "\ufffd"), LogP: &l, Bytes: []byte(piece)}
}

// at is a position: the chosen token, then the alternatives.
func at(all ...token) position { return position{all[0], all} }

// sure is a position with one token.
func sure(piece string) position { return at(tok(piece, 1)) }

func set(names ...string) *labels.Set {
	var list []labels.Label
	for _, n := range names {
		list = append(list, labels.Label{Name: n})
	}
	return mustSet(list...)
}

// distributed reads the answer that the tokens spell, up to the content's length.
func distributed(t *testing.T, set *labels.Set, content string, told ...position) (labels.Distribution, float64) {
	t.Helper()
	a, err := read(content, set, true)
	if err != nil {
		t.Fatal(err)
	}
	d, unresolved, ok := distribute(content, a, set, told)
	if !ok {
		t.Fatalf("%q cannot be followed", content)
	}
	if err := d.Check(); err != nil || unresolved < 0 || unresolved > 1 {
		t.Errorf("%v, unresolved %v", err, unresolved)
	}
	return d, unresolved
}

func near(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) < 2e-6 })
}

func TestDistribute(t *testing.T) {
	head, end := []position{sure(`{"`), sure("label"), sure(`":`), sure(` "`)}, sure(`"}`)
	fruit := set("apple", "apricot", "banana")
	cash := set("cash", "cash_advance", "card")
	for _, c := range []struct {
		name       string
		set        *labels.Set
		content    string
		told       []position
		want       []float64
		unresolved float64
	}{
		{"the first token tells all", fruit, `{"label": "banana"}`,
			append(head, at(tok("ban", 0.6), tok("app", 0.3), tok("apr", 0.1)), sure("ana"), end), []float64{0.3, 0.1, 0.6}, 0},
		{"what no label begins with counts for none", fruit, `{"label": "banana"}`,
			append(head, at(tok("ban", 0.3), tok("Sure", 0.4), tok("app", 0.15), tok("apr", 0.15)), sure("ana"), end), []float64{0.25, 0.25, 0.5}, 0},
		{"two labels begin so", fruit, `{"label": "banana"}`,
			append(head, at(tok("ban", 0.6), tok("ap", 0.4)), sure("ana"), end), []float64{0.2, 0.2, 0.6}, 0.4},
		{"the way goes on", fruit, `{"label": "apricot"}`,
			append(head, at(tok("ap", 0.8), tok("ban", 0.2)), at(tok("ricot", 0.75), tok("ple", 0.25)), end), []float64{0.2, 0.6, 0.2}, 0},
		{"junk behind the way does not count", fruit, `{"label": "apricot"}`,
			append(head, at(tok("ap", 0.8), tok("ban", 0.2)), at(tok("ricot", 0.3), tok("x", 0.6), tok("ple", 0.1)), end), []float64{0.2, 0.6, 0.2}, 0},
		{"other tokens for the same letters", fruit, `{"label": "banana"}`,
			append(head, at(tok("ban", 0.5), tok("b", 0.1), tok("app", 0.3), tok("apr", 0.1)), sure("ana"), end), []float64{0.3, 0.1, 0.6}, 0},
		{"an alternative that is the whole label and more", fruit, `{"label": "banana"}`,
			append(head, at(tok("ban", 0.5), tok(`apple"}`, 0.5)), sure("ana"), end), []float64{0.5, 0, 0.5}, 1e-6},
		{"an alternative that takes the head with it", fruit, `{"label": "banana"}`,
			[]position{sure(`{"label":`), at(tok(` "`, 0.5), tok(` "a`, 0.5)), sure(`banana"}`)}, []float64{0.25, 0.25, 0.5}, 0.5},
		{"a fence that the server cut off", fruit, `{"label": "banana"}`,
			slices.Concat([]position{sure("```"), sure("json\n")}, head, []position{at(tok("ban", 0.6), tok("app", 0.4)), sure("ana"), end, sure("\n```"), sure("")}),
			[]float64{0.4, 0, 0.6}, 1e-6},
		{"a label that begins another, told apart by its quote", cash, `{"label": "cash"}`,
			append(head, at(tok("cash", 0.9), tok("card", 0.1)), at(tok(`"}`, 0.75), tok("_", 0.25))), []float64{0.675, 0.225, 0.1}, 0},
		{"bare, and the end is told", cash, "cash",
			[]position{at(tok("cash", 0.9), tok("card", 0.1)), at(tok("", 0.75), tok("_", 0.25))}, []float64{0.675, 0.225, 0.1}, 0},
		{"bare, and the end is told by its name", cash, "cash_advance",
			[]position{at(tok("cash", 0.9), tok("card", 0.1)), at(tok("_advance", 0.75), tok("<|im_end|>", 0.25)), sure("</s>")}, []float64{0.225, 0.675, 0.1}, 0},
		{"bare, and the end is not told", cash, "cash",
			[]position{at(tok("cash", 0.9), tok("card", 0.1))}, []float64{0.9, 0, 0.1}, 0.45},
		{"bare, in quotes", cash, `"cash"`,
			[]position{sure(`"`), at(tok("cash", 0.9), tok("card", 0.1)), at(tok(`"`, 0.75), tok("_", 0.25))}, []float64{0.675, 0.225, 0.1}, 0},
		{"bare, cut off by the server at a stop word", cash, "cash",
			[]position{at(tok("cash", 0.9), tok("card", 0.1)), at(tok("###", 0.75), tok("_", 0.25))}, []float64{0.9, 0, 0.1}, 0.45},
		{"not told is no likelier than the least told", set("a", "b", "c", "d"), `{"label": "a"}`,
			append(head, at(tok("a", 0.5), tok("b", 0.1)), end), []float64{0.625, 0.125, 0.125, 0.125}, 0.25},
		{"nor than what is left", set("a", "b", "c", "d"), `{"label": "a"}`,
			append(head, at(tok("a", 0.5), tok("b", 0.48)), end), []float64{0.5, 0.48, 0.01, 0.01}, 0.02},
		{"the chosen one is not among the alternatives", fruit, `{"label": "banana"}`,
			append(head, position{tok("ban", 0.02), []token{tok("x", 0.5), tok("app", 0.06), tok("apr", 0.02)}}, sure("ana"), end), []float64{0.6, 0.2, 0.2}, 0},
		{"the chosen one is not told at all", fruit, `{"label": "banana"}`,
			append(head, position{token{Token: "ban", LogP: logp(-9999)}, []token{tok("x", 0.5), tok("app", 0.3), tok("apr", 0.1)}}, sure("ana"), end), []float64{0.6, 0.2, 0.2}, 0.2},
		{"no alternatives", set("a", "b", "c"), `{"label": "a"}`,
			append(head, position{token: tok("a", 0.8)}, end), []float64{0.8, 0.1, 0.1}, 0.2},
		{"nothing of the labels is told", fruit, `{"label": "banana"}`,
			append(head, position{tok("ban", 0), []token{tok("ban", 0), tok("x", 1)}}, sure("ana"), end), []float64{0.25, 0.25, 0.5}, 1},
		{"one label", set("a"), `{"label": "a"}`, append(head, at(tok("a", 0.1), tok("b", 0.9)), end), []float64{1}, 0},
		{"parts of a character", set("é", "è"), `{"label": "é"}`,
			append(head, sure("\xc3"), at(tok("\xa9", 0.75), tok("\xa8", 0.25)), end), []float64{0.75, 0.25}, 0},
		{"escapes", set("é", "ü", "a\"b"), `{"label": "\u00e9"}`,
			append(head, at(tok(`\u00`, 0.5), tok(`a\`, 0.5)), at(tok("e9", 0.5), tok("fc", 0.5)), end), []float64{0.25, 0.25, 0.5}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, unresolved := distributed(t, c.set, c.content, c.told...)
			if !near(d, c.want) {
				t.Errorf("%v, want %v", d, c.want)
			}
			if math.Abs(unresolved-c.unresolved) > 1e-6 {
				t.Errorf("unresolved %v, want %v", unresolved, c.unresolved)
			}
		})
	}
}

func logp(v float64) *float64 { return &v }

// Of labels about which equally little is known, the best is the one that was said.
func TestDistributeBreaksTiesBySaying(t *testing.T) {
	d, unresolved := distributed(t, set("a", "b", "c"), `{"label": "b"}`, sure(`{"label": "`),
		position{token{Token: "b", LogP: logp(-9999)}, []token{tok("x", 0.9), tok("y", 0.1)}}, sure(`"}`))
	if i, _ := d.Best(); i != 1 || unresolved < 0.9 {
		t.Errorf("%v, unresolved %v", d, unresolved)
	}
}

func TestDistributeRefuses(t *testing.T) {
	s := set("a", "b")
	content := `{"label": "a"}`
	a, err := read(content, s, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, told := range map[string][]position{
		"other tokens":        {sure("hello")},
		"half of them":        {sure(`{"label`)},
		"more than certainty": {sure(`{"label": "`), at(token{Token: "a", LogP: logp(0.5)}), sure(`"}`)},
		"more than all":       {sure(`{"label": "`), at(tok("a", 0.7), tok("b", 0.7)), sure(`"}`)},
		"characters cut":      {sure(`{"label": "`), {token: token{Token: "\ufffd", LogP: logp(0)}}, sure(`"}`)},
	} {
		if d, _, ok := distribute(content, a, s, told); ok {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// The model of this test has the whole truth: what a grammar that allows the labels
// alone would make of it. What is read out of its 20, or fewer, likeliest tokens is off
// by no more than it says.
func TestDistributeIsOffByNoMoreThanUnresolved(t *testing.T) {
	exact := 0
	for seed := range uint64(3000) {
		m := newTreeModel(seed)
		content, told := m.generate()
		a, err := read(content, m.set, false)
		if err != nil {
			t.Fatal(err)
		}
		d, unresolved, ok := distribute(content, a, m.set, told)
		if !ok {
			t.Fatalf("seed %d: %q cannot be followed", seed, content)
		}
		if err := d.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if unresolved < 2e-6 {
			exact++
		}
		for i, p := range m.truth() {
			if math.Abs(d[i]-p) > unresolved+1e-6 {
				t.Errorf("seed %d: label %d has %v, truly %v, unresolved %v", seed, i, d[i], p, unresolved)
			}
		}
	}
	if exact < 100 {
		t.Errorf("only %d answers were told whole", exact)
	}
}

// treeModel spells labels out of pieces of two letters, and says junk besides.
type treeModel struct {
	seed   uint64
	set    *labels.Set
	top    int
	prefix bool // tells probabilities of before the grammar
}

var pieces = []string{"ab", "cd", "ef", "gh", "ij", "kl"}

func newTreeModel(seed uint64) *treeModel {
	rng := rand.New(rand.NewPCG(seed, 1))
	names := map[string]bool{}
	for range 2 + rng.IntN(9) {
		var name strings.Builder
		for range 1 + rng.IntN(3) {
			name.WriteString(pieces[rng.IntN(1+rng.IntN(len(pieces)))])
		}
		names[name.String()] = true
	}
	var list []labels.Label
	for n := range names {
		list = append(list, labels.Label{Name: n})
	}
	slices.SortFunc(list, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return &treeModel{seed, mustSet(list...), 1 + rng.IntN(9), rng.IntN(2) == 0}
}

// next is the model's distribution behind a part of a label: the pieces, the end, junk.
func (m *treeModel) next(said string) map[string]float64 {
	rng := rand.New(rand.NewPCG(m.seed, uint64(len(said))<<32|uint64(hash(said))))
	p, sum := map[string]float64{}, 0.0
	for _, piece := range append([]string{`"}`, "zz", "yy"}, pieces...) {
		p[piece] = math.Exp(6 * rng.Float64())
		sum += p[piece]
	}
	for piece := range p {
		p[piece] /= sum
	}
	return p
}

func hash(s string) (h uint32) {
	for i := range len(s) {
		h = h*31 + uint32(s[i])
	}
	return h
}

// allowed is next as a grammar makes it.
func (m *treeModel) allowed(said string) map[string]float64 {
	p, sum := m.next(said), 0.0
	for piece := range p {
		if !slices.ContainsFunc(m.set.Names(), func(n string) bool { return strings.HasPrefix(n+`"}`, said+piece) }) {
			delete(p, piece)
		}
		sum += p[piece]
	}
	for piece := range p {
		p[piece] /= sum
	}
	return p
}

// generate says the likeliest allowed pieces.
func (m *treeModel) generate() (content string, told []position) {
	told = []position{sure(`{"label":`), sure(` "`)}
	said := ""
	for !strings.HasSuffix(said, `"}`) {
		chosen, highest := "", -1.0
		for piece, p := range m.allowed(said) {
			if p > highest {
				chosen, highest = piece, p
			}
		}
		all := m.next(said)
		if !m.prefix {
			all = m.allowed(said)
		}
		var top []token
		for piece, p := range all {
			top = append(top, tok(piece, p))
		}
		slices.SortFunc(top, func(a, b token) int { return -compare(*a.LogP, *b.LogP) })
		told = append(told, position{tok(chosen, all[chosen]), top[:min(len(top), m.top)]})
		said += chosen
	}
	return `{"label": "` + said, told
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (m *treeModel) truth() labels.Distribution {
	d := make(labels.Distribution, m.set.Len())
	for i, name := range m.set.Names() {
		d[i] = 1
		for said := ""; said != name+`"}`; {
			piece := `"}`
			if said != name {
				piece = name[len(said) : len(said)+2]
			}
			d[i] *= m.allowed(said)[piece]
			said += piece
		}
	}
	return d
}

// Whatever a server tells, the result is a distribution or nothing.
func FuzzDistribute(f *testing.F) {
	for _, s := range []string{
		`[{"token":"{\"label\": \"","logprob":0},{"token":"cash","bytes":[99,97,115,104],"logprob":-0.1,"top_logprobs":[{"token":"card","logprob":-2.3}]},{"token":"\"}","logprob":0}]`,
		`[{"token":"cash","logprob":-9999,"top_logprobs":[{"token":"","logprob":-1},{"token":"ca","logprob":-3},{"token":"<|end|>","logprob":null}]}]`,
		`[{"token":"x","bytes":[300]}]`, `{}`, `[{"token":"","bytes":[]},{"token":"other","logprob":1e308}]`,
	} {
		f.Add(`{"label": "cash"}`, s)
		f.Add("cash", s)
	}
	f.Fuzz(func(t *testing.T, content, told string) {
		a, err := read(content, testSet, true)
		if err != nil {
			return
		}
		c := choice{Logprobs: json.RawMessage(fmt.Sprintf(`{"content":%s}`, told))}
		d, unresolved, ok := distribute(content, a, testSet, c.positions())
		if !ok {
			return
		}
		if err := d.Check(); err != nil || len(d) != testSet.Len() || !(unresolved >= 0 && unresolved <= 1) {
			t.Errorf("%v %v: %v", d, unresolved, err)
		}
	})
}

// The same with tokens that do spell the answer, cut anywhere, and any alternatives.
func FuzzDistributeFollowed(f *testing.F) {
	f.Add(uint8(0), []byte{3, 200, 1, 7, 40, 9, 1, 2, 3})
	f.Add(uint8(5), []byte{0, 0, 255, 255, 1, 1, 90, 14, 33, 2, 8})
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		rng := rand.NewChaCha8([32]byte(append(slices.Clip(data[:min(len(data), 32)]), make([]byte, 32)...)[:32]))
		draw := func(n int) int { return int(rng.Uint64() % uint64(n)) }
		contents := []string{}
		for _, name := range testSet.Names() {
			contents = append(contents, answerOf(name), name, `{"label":`+ascii(name)+"}")
		}
		content := contents[int(which)%len(contents)]
		a, err := read(content, testSet, true)
		if err != nil {
			t.Fatal(err)
		}
		var told []position
		for rest := content; rest != ""; {
			n := 1 + draw(min(len(rest), 9))
			left := 1.0
			part := func() float64 { p := left * float64(draw(100)) / 100; left -= p; return p }
			p := at(tok(rest[:n], part()))
			for range draw(6) {
				other := contents[draw(len(contents))]
				from := draw(len(other))
				p.Top = append(p.Top, tok(other[from:from+draw(len(other)-from+1)], part()))
			}
			if draw(4) == 0 {
				p.Top = p.Top[1:]
			}
			told = append(told, p)
			rest = rest[n:]
		}
		d, unresolved, ok := distribute(content, a, testSet, told)
		if !ok {
			t.Fatalf("%q cannot be followed: %v", content, told)
		}
		if err := d.Check(); err != nil || !(unresolved >= 0 && unresolved <= 1) {
			t.Fatalf("%v %v: %v", d, unresolved, err)
		}
	})
}
