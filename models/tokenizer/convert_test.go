package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// roundTrip holds a vocabulary to the tokenizer.json that it was written from.
func roundTrip(t *testing.T, data []byte, rows int, pre string, texts []string) Vocabulary {
	t.Helper()
	want, err := FromJSONWithin(data, rows)
	if err != nil {
		t.Fatal(err)
	}
	v, err := VocabularyFromJSON(data, rows)
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromVocabulary(v)
	if err != nil {
		t.Fatal(err)
	}
	if v.Pre != pre || len(v.Tokens) != rows || len(v.Types) != rows || got.Len() != rows {
		t.Errorf("pre-tokeniser %q and %d tokens, want %q and %d", v.Pre, len(v.Tokens), pre, rows)
	}
	for _, text := range texts {
		if a, b := want.Encode(text), got.Encode(text); !slices.Equal(a, b) {
			t.Errorf("Encode(%q) is %v, and as GGUF %v", text, a, b)
		}
		if a, b := want.EncodeSpecial(text), got.EncodeSpecial(text); !slices.Equal(a, b) {
			t.Errorf("EncodeSpecial(%q) is %v, and as GGUF %v", text, a, b)
		}
	}
	return v
}

func TestVocabularyFromJSON(t *testing.T) {
	data, err := os.ReadFile("testdata/families.json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		Texts    []string
		Families map[string]struct{ Tokenizer json.RawMessage }
	}
	if err := json.Unmarshal(data, &made); err != nil {
		t.Fatal(err)
	}
	for name, f := range made.Families {
		t.Run(name, func(t *testing.T) {
			tok, err := FromJSON(f.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			switch name {
			case "gpt2-prefix":
				if _, err := VocabularyFromJSON(f.Tokenizer, tok.Len()); err == nil || !strings.Contains(err.Error(), "no name") {
					t.Errorf("a space before each text: %v", err)
				}
				return
			case "lfm2": // the same as llama-bpe
				name = "llama-bpe"
			}
			roundTrip(t, f.Tokenizer, tok.Len(), name, made.Texts)
			v := roundTrip(t, f.Tokenizer, tok.Len()+3, name, made.Texts)
			if i := tok.Len(); v.Types[i] != typeUnused || v.Tokens[i] == v.Tokens[i+1] {
				t.Errorf("padding is %q of type %d", v.Tokens[i:], v.Types[i])
			}
			if _, err := VocabularyFromJSON(f.Tokenizer, 100); err == nil || !strings.Contains(err.Error(), "100 rows") {
				t.Errorf("more ids than rows: %v", err)
			}
		})
	}
}

func TestVocabularyFromSentencePieceJSON(t *testing.T) {
	g := readSPM(t)
	for name, f := range map[string]spmForm{"bare": g.Bare, "spaced": g.Spaced} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(f.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			texts := g.Texts
			if name == "spaced" { // what llama.cpp gives, which puts spaces elsewhere among pieces of a user
				texts = nil
			}
			v := roundTrip(t, data, len(g.Vocabulary.Tokens), "default", texts)
			tok, err := FromVocabulary(v)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "Encode", tok.Encode, g.Texts, f.SPM)
			if !slices.Equal(v.Tokens, g.Vocabulary.Tokens) || !slices.Equal(v.Types, g.Vocabulary.Types) {
				t.Error("tokens or types differ from those of llama.cpp's converter")
			}
			if v.NoSpace != (name == "bare") {
				t.Errorf("no space before a text: %v", v.NoSpace)
			}
		})
	}
}

// Merges that scores cannot say are refused.
func TestVocabularyFromSentencePieceJSONRefuses(t *testing.T) {
	g := readSPM(t)
	var model map[string]json.RawMessage
	if err := json.Unmarshal(g.Bare.Tokenizer["model"], &model); err != nil {
		t.Fatal(err)
	}
	var merges [][2]string
	if err := json.Unmarshal(model["merges"], &merges); err != nil {
		t.Fatal(err)
	}
	first := func(from int, makes func(string) bool) int {
		i := slices.IndexFunc(merges[from:], func(m [2]string) bool { return makes(m[0] + m[1]) })
		if i < 0 {
			t.Fatal("no such merge")
		}
		return from + i
	}
	the := first(0, func(s string) bool { return s == "the" })
	other := first(the, func(s string) bool { return s != "the" })
	for want, edited := range map[string][][2]string{
		"no merge says so":           slices.Delete(slices.Clone(merges), the, other),
		"behind merges of other pie": append(slices.Clone(merges), merges[the]),
	} {
		model["merges"], _ = json.Marshal(edited)
		g.Bare.Tokenizer["model"], _ = json.Marshal(model)
		data, _ := json.Marshal(g.Bare.Tokenizer)
		if _, err := VocabularyFromJSON(data, len(g.Vocabulary.Tokens)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
