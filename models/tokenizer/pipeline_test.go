package tokenizer

import (
	"slices"
	"testing"

	sugarme "github.com/sugarme/tokenizer"
)

func pipelineIDs(t *testing.T, p *sugarme.Tokenizer, text string) []int32 {
	t.Helper()
	e, err := p.Encode(sugarme.NewSingleEncodeInput(sugarme.NewInputSequence(text)), false)
	if err != nil {
		t.Fatalf("pipeline on %q: %v", text, err)
	}
	ids := make([]int32, len(e.Ids))
	for i, id := range e.Ids {
		ids[i] = int32(id)
	}
	return ids
}

// spellable tells whether every byte has a token: the pipeline fails on words
// without any.
func spellable(tok *Tokenizer, text string) bool {
	for _, b := range []byte(text) {
		if tok.model.bytes[b] < 0 {
			return false
		}
	}
	return true
}

// TestPipelineGoldens runs the assembled pipeline on every golden text but the
// very long ones, whose offsets it would track for minutes.
func TestPipelineGoldens(t *testing.T) {
	const longest = 2000
	goldens := readGoldens(t)
	tok := smollm(t)
	p := tok.Pipeline()
	if testing.Short() {
		goldens = goldens[:200]
	}
	for _, g := range goldens {
		if len(g.Text) > longest || !spellable(tok, g.Text) {
			continue
		}
		want := g.IDs
		if slices.ContainsFunc(want, tok.isAdded) {
			want = tok.Encode(g.Text)
		}
		if got := pipelineIDs(t, p, g.Text); !slices.Equal(got, want) {
			t.Errorf("pipeline(%.200q)\n got %v\nwant %v", g.Text, got, want)
		}
	}
}

func TestPipelineFamilies(t *testing.T) {
	for name, f := range madeFamilies(t) {
		t.Run(name, func(t *testing.T) {
			tok := f.mustLoad(t)
			p := tok.Pipeline()
			for _, text := range f.texts {
				if text == "" || !spellable(tok, text) {
					continue
				}
				want := tok.Encode(text)
				if got := pipelineIDs(t, p, text); !slices.Equal(got, want) {
					t.Errorf("pipeline(%q)\n got %v\nwant %v", text, got, want)
				}
			}
		})
	}
}

func TestPipelineDecodes(t *testing.T) {
	tok := madeFamilies(t)["llama-bpe"].mustLoad(t)
	const text = "<|begin|>I'd like 12 cafés 👍<|end|>"
	var ids []int
	for _, id := range tok.EncodeSpecial(text) {
		ids = append(ids, int(id))
	}
	if back := tok.Pipeline().Decode(ids, false); back != text {
		t.Errorf("pipeline decodes %q", back)
	}
}

func TestPipelineModel(t *testing.T) {
	f := madeFamilies(t)["llama-bpe"]
	tok := f.mustLoad(t)
	m := pipelineModel{tok}
	if got, want := m.GetVocabSize(), tok.Len(); got != want || len(m.GetVocab()) != want {
		t.Errorf("vocabulary of %d tokens, %d listed; want %d", got, len(m.GetVocab()), want)
	}
	for text, id := range m.GetVocab() {
		if back, ok := m.IdToToken(id); !ok || back != text {
			t.Errorf("IdToToken(%d) = %q, %v; want %q", id, back, ok, text)
		}
		if back, ok := m.TokenToId(text); !ok || back != id {
			t.Errorf("TokenToId(%q) = %d, %v; want %d", text, back, ok, id)
		}
	}
	if _, ok := m.IdToToken(tok.Len()); ok {
		t.Error("IdToToken finds an id outside the vocabulary")
	}
	if _, err := m.Tokenize("a b"); err == nil {
		t.Error("Tokenize takes a space, which is outside the byte alphabet")
	}
	if m.Save(t.TempDir()) == nil {
		t.Error("Save claims to have saved")
	}
}
