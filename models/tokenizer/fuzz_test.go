package tokenizer

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func FuzzEncode(f *testing.F) {
	var toks []*Tokenizer
	for _, made := range madeFamilies(f) {
		toks = append(toks, made.mustLoad(f))
		for _, text := range made.texts {
			f.Add(text)
		}
	}
	f.Add("\xff'\xc5 \xf4\x90")
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			checkPlain(t, tok, text)
			checkPieces(t, tok, text)
			if back := tok.Decode(tok.EncodeSpecial(text)); !strings.ContainsAny(text, "<|") && back != tok.Decode(tok.Encode(text)) {
				t.Errorf("EncodeSpecial differs from Encode on %q, which holds no added token", text)
			}
		}
	})
}

// checkPieces: a pre-tokeniser cuts, and changes nothing.
func checkPieces(t *testing.T, tok *Tokenizer, text string) {
	t.Helper()
	pre := tok.pre
	pre.prefixSpace = false
	var joined strings.Builder
	pre.split(text, func(piece string) {
		if piece == "" {
			t.Fatalf("an empty piece of %q", text)
		}
		joined.WriteString(piece)
	})
	if joined.String() != text {
		t.Fatalf("the pieces of %q join to %q", text, joined.String())
	}
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(small))
	if data, err := os.ReadFile("testdata/families.json"); err == nil {
		f.Add(data)
	}
	g := readSPM(f)
	for _, form := range []spmForm{g.Bare, g.Spaced} {
		data, err := json.Marshal(form.Tokenizer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := FromJSON(data)
		if err != nil {
			return
		}
		const text = "it's 12 <s> a\u0301ab\n\n x"
		if tok.model.characters {
			checkSPM(t, tok, text)
		} else {
			checkPlain(t, tok, text)
		}
		tok.Decode(tok.EncodeSpecial(text))
		v, err := VocabularyFromJSON(data, tok.Len())
		if err != nil {
			return
		}
		if _, err := FromVocabulary(v); err != nil {
			t.Errorf("as GGUF: %v", err)
		}
	})
}
