package runtime

import (
	"context"
	"hash/fnv"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime/engine"
)

// pairs is a tokenizer of bytes that merges some pairs and knows two special
// tokens, so that seams between strings matter.
type pairs struct{}

const (
	pairBase = 256
	stop     = 300
	turn     = 301
	unknown  = 4 // a byte without a token
)

var merged = []string{"\n\n", "ab", "s ", " c", "a\n", "\nc"}

func (pairs) Encode(text string) []labels.Token {
	var out []labels.Token
next:
	for len(text) > 0 {
		if text[0] == unknown {
			text = text[1:]
			continue
		}
		for i, m := range merged {
			if strings.HasPrefix(text, m) {
				out, text = append(out, labels.Token(pairBase+i)), text[len(m):]
				continue next
			}
		}
		out, text = append(out, labels.Token(text[0])), text[1:]
	}
	return out
}

func (p pairs) EncodeSpecial(text string) []labels.Token {
	var out []labels.Token
	for {
		i := strings.IndexAny(text, "\x01\x02")
		if i < 0 {
			return append(out, p.Encode(text)...)
		}
		out = append(out, p.Encode(text[:i])...)
		id, _ := p.Special(text[i : i+1])
		out, text = append(out, id), text[i+1:]
	}
}

func (pairs) Decode(tokens []labels.Token) string {
	var b strings.Builder
	for _, t := range tokens {
		switch {
		case t == stop:
			b.WriteByte(1)
		case t == turn:
			b.WriteByte(2)
		case t >= pairBase:
			b.WriteString(merged[t-pairBase])
		default:
			b.WriteByte(byte(t))
		}
	}
	return b.String()
}

func (pairs) Special(piece string) (labels.Token, bool) {
	switch piece {
	case "\x01":
		return stop, true
	case "\x02":
		return turn, true
	}
	return 0, false
}

func (pairs) Len() int { return 302 }

// hashed is an engine whose logits are a hash of the whole sequence, prompt
// included: it tells apart any two ways to reach a token.
type hashed struct {
	pairs
	seen [][]labels.Token // chains of the last pass behind their prefix
}

type heldPrefix []labels.Token

func (p heldPrefix) Len() int     { return len(p) }
func (p heldPrefix) Bytes() int64 { return 4 * int64(len(p)) }

func (*hashed) Info() engine.Info {
	return engine.Info{Vocab: 302, Context: 4096, MaxPass: 1 << 16, Classes: 3}
}
func (h *hashed) Tokenizer() engine.Tokenizer { return h.pairs }
func (h *hashed) Close() error                { return nil }
func (h *hashed) Prefix(_ context.Context, tokens []labels.Token) (engine.Prefix, error) {
	return heldPrefix(tokens), nil
}

func (h *hashed) Eval(_ context.Context, p engine.Prefix, trees []engine.Tree) ([]engine.Output, error) {
	if err := engine.Check(h.Info(), p.Len(), trees); err != nil {
		return nil, err
	}
	out := make([]engine.Output, len(trees))
	h.seen = nil
	for i, t := range trees {
		start := p.(heldPrefix)[:p.Len()-t.Back]
		for _, w := range t.Wants {
			sequence := append(append([]labels.Token{}, start...), behind(t, w.Node)...)
			row := make([]float32, len(w.Columns))
			for j, c := range w.Columns {
				row[j] = logit(sequence, c)
			}
			out[i].Logits = append(out[i].Logits, row)
			z := 0.0
			if w.Normalizer {
				z = vocabularyLogSum(sequence)
			}
			out[i].LogZ = append(out[i].LogZ, z)
		}
		if t.Pooled >= 0 {
			for c := range 3 {
				out[i].Scores = append(out[i].Scores, logit(behind(t, t.Pooled), labels.Token(c)))
			}
		}
		h.seen = append(h.seen, append(append([]labels.Token{}, start...), t.Tokens...))
	}
	return out, nil
}

func behind(t engine.Tree, node int) []labels.Token {
	var out []labels.Token
	for n := int32(node); n >= 0; n = t.Parents[n] {
		out = append([]labels.Token{t.Tokens[n]}, out...)
	}
	return out
}

func logit(sequence []labels.Token, next labels.Token) float32 {
	h := fnv.New32a()
	for _, t := range append(sequence[:len(sequence):len(sequence)], next) {
		h.Write([]byte{byte(t), byte(t >> 8)})
	}
	return float32(h.Sum32()%4096)/512 - 4
}

func vocabularyLogSum(sequence []labels.Token) float64 {
	row := make([]float32, pairs{}.Len())
	for c := range row {
		row[c] = logit(sequence, labels.Token(c))
	}
	return logSumExp(row)
}

func testManifest(names []string, method models.Scoring) models.Manifest {
	m := models.Manifest{
		Prompt:  models.Prompt{Prefix: "\x02system\x01\n\x02user\n", Suffix: "\x01\n\x02assistant\n"},
		Answer:  models.Answer{Form: models.Bare, End: "\x01"},
		Scoring: method,
	}
	for _, n := range names {
		m.Labels = append(m.Labels, labels.Label{Name: n})
	}
	return m
}

func testScorer(t rapid.TB, m models.Manifest) (*scorer, *hashed) {
	t.Helper()
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		t.Fatal(err)
	}
	eng := &hashed{}
	s, err := newScorer(context.Background(), eng, m, set)
	if err != nil {
		t.Fatal(err)
	}
	return s, eng
}

func score(t rapid.TB, s *scorer, text string, method models.Scoring) labels.Distribution {
	t.Helper()
	w, err := s.prepare(text, method, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.run(context.Background(), []*scored{w}); err != nil {
		t.Fatal(err)
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	if err := w.dist.Check(); err != nil {
		t.Fatal(err)
	}
	return w.dist
}

// bruteForce scores each label by its whole token sequence, one at a time.
func bruteForce(m models.Manifest, text string, method models.Scoring) labels.Distribution {
	tok := pairs{}
	start := append(tok.EncodeSpecial("\x02system\x01\n\x02"), tok.Encode("user\n"+text)...)
	start = append(start, stop)
	start = append(start, tok.Encode("\n")...)
	start = append(start, turn)
	var answers [][]labels.Token
	for _, l := range m.Labels {
		answers = append(answers, append(tok.Encode("assistant\n"+m.Answer.Text(l.Name)), stop))
	}
	scores := make([]float64, len(answers))
	for i, a := range answers {
		for n := range a {
			sequence := append(append([]labels.Token{}, start...), a[:n]...)
			z := 0.0
			if method == models.Likelihood {
				z = vocabularyLogSum(sequence)
			} else {
				z = logSumExp(nextLogits(sequence, answers, a[:n]))
			}
			scores[i] += float64(logit(sequence, a[n])) - z
		}
	}
	d, err := labels.Softmax(scores)
	if err != nil {
		panic(err)
	}
	return d
}

// nextLogits lists the logits of the distinct tokens that continue head in some answer.
func nextLogits(sequence []labels.Token, answers [][]labels.Token, head []labels.Token) []float32 {
	var row []float32
	seen := map[labels.Token]bool{}
	for _, a := range answers {
		if len(a) > len(head) && common(a, head) == len(head) && !seen[a[len(head)]] {
			seen[a[len(head)]] = true
			row = append(row, logit(sequence, a[len(head)]))
		}
	}
	return row
}

// testForms are the forms of answer, with the spaces that matter.
var testForms = []models.Answer{
	{Form: models.Bare},
	{Form: models.Tagged, Prefix: "<output>", Suffix: "</output>"},
	{Form: models.JSON, Prefix: `{"label": "`, Suffix: `"}`},
	{Form: models.JSON, Prefix: "{\"c\":\"", Suffix: "\"\n}", ASCII: true},
}

// inForm ends a form's answers as the tests' model does.
func inForm(a models.Answer) models.Answer {
	a.End = "\x01"
	return a
}

func TestTrieScoresEqualScoresOfWholeSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[abcs_é"\\]{1,6}`)
		names := rapid.SliceOfNDistinct(name, 1, 12, rapid.ID[string]).Draw(t, "labels")
		text := rapid.StringMatching(`[\nabcs é]{0,12}x`).Draw(t, "text")
		method := rapid.SampledFrom([]models.Scoring{models.Constrained, models.Likelihood}).Draw(t, "method")
		m := testManifest(names, method)
		m.Answer = inForm(rapid.SampledFrom(testForms).Draw(t, "form"))
		s, _ := testScorer(t, m)
		got, want := score(t, s, text, ""), bruteForce(m, text, method)
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-5 {
				t.Fatalf("label %q: probability %v, by whole sequences %v", names[i], got[i], want[i])
			}
		}
	})
}

func TestLabelsThatBeginOthers(t *testing.T) {
	m := testManifest([]string{"cash", "cash_advance", "cash_advance_fee", "c"}, models.Constrained)
	s, _ := testScorer(t, m)
	got, want := score(t, s, "hello", ""), bruteForce(m, "hello", models.Constrained)
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-5 || got[i] <= 0 {
			t.Errorf("label %d: %v, want %v", i, got[i], want[i])
		}
	}
}

// A prompt in pieces gives the tokens of the one string it stands for.
func TestSeamsTokeniseAsOneString(t *testing.T) {
	s, eng := testScorer(t, testManifest([]string{"ab", "b"}, models.Constrained))
	for _, text := range []string{"x", "\nx", "\n\nx", "x\n", "cx", " cx", "\x01x", "\x02", "abs c"} {
		score(t, s, text, "")
		tok := pairs{}
		want := append(tok.EncodeSpecial("\x02system\x01\n\x02"), tok.Encode("user\n"+text)...)
		want = append(want, tok.EncodeSpecial("\x01\n\x02")...)
		if got := eng.seen[0]; common(got, want) != len(want) {
			t.Errorf("%q: tokens %v, want them to begin with %v", text, got, want)
		}
	}
}

func TestTruncationKeepsTheLimit(t *testing.T) {
	s, eng := testScorer(t, testManifest([]string{"ab", "b"}, models.Constrained))
	text := strings.Repeat("é bc", 3000)
	w, err := s.prepare(text, "", false)
	if err != nil {
		t.Fatal(err)
	}
	own := len(pairs{}.Encode(text))
	if w.truncated <= 0 || w.tokens+w.truncated != own {
		t.Errorf("%d tokens scored and %d cut: want %d in all", w.tokens, w.truncated, own)
	}
	if err := s.run(t.Context(), []*scored{w}); err != nil {
		t.Fatal(err)
	}
	if n := len(eng.seen[0]); n > 4096 || n < 4080 {
		t.Errorf("the sequence has %d tokens: want the context of 4096 filled", n)
	}
	if _, err := s.prepare(text, "", true); err == nil || err.Code != CodeTextTooLong {
		t.Errorf("with truncation refused: %v", err)
	}
	if w, err := s.prepare("short", "", true); err != nil || w.truncated != 0 {
		t.Errorf("a short text with truncation refused: %v", err)
	}
}

func TestTextsThatCannotBeScored(t *testing.T) {
	s, _ := testScorer(t, testManifest([]string{"a", "b"}, models.Constrained))
	for _, c := range []struct {
		text   string
		method models.Scoring
		code   Code
	}{
		{"", "", CodeEmptyText},
		{" \n\t\u00a0", "", CodeEmptyText},
		{"\x04\x04", "", CodeEmptyText},
		{"a\xff", "", CodeInvalidUTF8},
		{"a", "greedy", CodeBadScoring},
		{"a", models.Head, CodeBadScoring},
	} {
		if _, err := s.prepare(c.text, c.method, false); err == nil || err.Code != c.code {
			t.Errorf("%q by %q: %v, want %s", c.text, c.method, err, c.code)
		}
	}
}

func TestHeadScores(t *testing.T) {
	m := testManifest([]string{"a", "b", "c"}, models.Head)
	m.Prompt, m.Answer = models.Prompt{}, models.Answer{Form: models.None}
	s, _ := testScorer(t, m)
	d := score(t, s, "hello", "")
	want, _ := labels.Softmax([]float64{
		float64(logit(pairs{}.Encode("hello"), 0)), float64(logit(pairs{}.Encode("hello"), 1)), float64(logit(pairs{}.Encode("hello"), 2)),
	})
	for i := range want {
		if math.Abs(d[i]-want[i]) > 1e-9 {
			t.Errorf("class %d: %v, want %v", i, d[i], want[i])
		}
	}
	if _, err := s.prepare("hello", models.Constrained, false); err == nil {
		t.Error("a classification head was scored by its label trie")
	}
}
