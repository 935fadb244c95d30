package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// madeFamily is one tokenizer of testdata/families.json, which make.py writes,
// with Hugging Face's ids for the texts there: added tokens parsed.
type madeFamily struct {
	Tokenizer json.RawMessage `json:"tokenizer"`
	IDs       [][]int32       `json:"ids"`
	texts     []string
}

func madeFamilies(t testing.TB) map[string]madeFamily {
	t.Helper()
	data, err := os.ReadFile("testdata/families.json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		Texts    []string              `json:"texts"`
		Families map[string]madeFamily `json:"families"`
	}
	if err := json.Unmarshal(data, &made); err != nil {
		t.Fatal(err)
	}
	for name, f := range made.Families {
		f.texts = made.Texts
		made.Families[name] = f
	}
	return made.Families
}

// check compares every text's ids with Hugging Face's.
func (f *madeFamily) check(t *testing.T, encode func(string) []int32) {
	t.Helper()
	for i, text := range f.texts {
		if got := encode(text); !slices.Equal(got, f.IDs[i]) {
			t.Errorf("%q\n got %v\nwant %v", text, got, f.IDs[i])
		}
	}
}

func (f madeFamily) mustLoad(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := FromJSON(f.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestFamiliesFromJSON(t *testing.T) {
	for name, f := range madeFamilies(t) {
		t.Run(name, func(t *testing.T) {
			f.check(t, f.mustLoad(t).EncodeSpecial)
		})
	}
}

// TestFamiliesFromVocabulary carries the made tokenizers over to what a GGUF
// would hold: the ids must not change.
func TestFamiliesFromVocabulary(t *testing.T) {
	made := madeFamilies(t)
	for pre := range families {
		t.Run(pre, func(t *testing.T) {
			f, ok := made[pre]
			if !ok {
				t.Fatal("no golden for this pre-tokeniser")
			}
			tok, err := FromVocabulary(f.vocabulary(t, pre))
			if err != nil {
				t.Fatal(err)
			}
			f.check(t, tok.EncodeSpecial)
		})
	}
}

func (f *madeFamily) vocabulary(t testing.TB, pre string) Vocabulary {
	t.Helper()
	var parsed file
	if err := json.Unmarshal(f.Tokenizer, &parsed); err != nil {
		t.Fatal(err)
	}
	entries, err := parsed.entries()
	if err != nil {
		t.Fatal(err)
	}
	types := map[kind]int32{ordinary: 1, added: 3}
	v := Vocabulary{Model: "gpt2", Pre: pre}
	for _, e := range entries {
		v.Tokens = append(v.Tokens, e.text)
		v.Types = append(v.Types, types[e.kind])
	}
	for _, merge := range parsed.Model.Merges {
		v.Merges = append(v.Merges, merge[0]+" "+merge[1])
	}
	return v
}

func TestEncodeIsPlain(t *testing.T) {
	for name, f := range madeFamilies(t) {
		t.Run(name, func(t *testing.T) {
			tok := f.mustLoad(t)
			for _, text := range f.texts {
				checkPlain(t, tok, text)
			}
			id, ok := tok.Special("<|end|>")
			if got := tok.EncodeSpecial("<|end|>"); !ok || !slices.Equal(got, []int32{id}) {
				t.Errorf("EncodeSpecial(<|end|>) = %v, Special = %d, %v", got, id, ok)
			}
			if got := tok.Decode([]int32{-1, id, int32(tok.Len())}); got != "<|end|>" {
				t.Errorf("Decode with ids out of range = %q", got)
			}
			if _, ok := tok.Special("the"); ok {
				t.Error("Special finds an ordinary token")
			}
		})
	}
}

// TestIgnoreMergesIsUsed keeps the golden honest: its tokens that no merge makes
// must come up with the option and not without.
func TestIgnoreMergesIsUsed(t *testing.T) {
	f := madeFamilies(t)["llama-bpe"]
	with, without := f.mustLoad(t), f.mustLoad(t)
	without.model.ignoreMerges = false
	const text = "rock roll"
	if slices.Equal(with.Encode(text), without.Encode(text)) {
		t.Errorf("Encode(%q) is the same without ignore_merges", text)
	}
}
