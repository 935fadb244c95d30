package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestMergeOrders compares the two merge loops with each other on words that
// have many equal and overlapping pairs.
func TestMergeOrders(t *testing.T) {
	tok := madeFamilies(t)["qwen2"].mustLoad(t)
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "aaathe)).-=of cé"
	for range 20000 {
		word := make([]byte, 1+random.IntN(shortWord))
		for i := range word {
			word[i] = letters[random.IntN(len(letters))]
		}
		short := tok.model.mergeShort(nil, string(word))
		long := tok.model.mergeLong(nil, string(word))
		if !slices.Equal(short, long) {
			t.Fatalf("%q: short %v, long %v", word, short, long)
		}
	}
}

// TestMergeEqualRanksLeftmostFirst is the case in point: four and two, not two and four.
func TestMergeEqualRanksLeftmostFirst(t *testing.T) {
	tok, err := FromVocabulary(Vocabulary{
		Model: "gpt2", Pre: "smollm",
		Tokens: []string{")", "))", "))))"}, Types: []int32{1, 1, 1},
		Merges: []string{") )", ")) ))"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{"))))))": {2, 1}, ")))))": {2, 0}, ")))": {1, 0}} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
		if got := tok.model.mergeLong(nil, text); !slices.Equal(got, want) {
			t.Errorf("mergeLong(%q) = %v, want %v", text, got, want)
		}
	}
}

// TestLongTexts counts the merges that are looked at in hostile texts, which grow with
// the text and not with its square, and encodes the texts whole: a quadratic step
// anywhere else would take minutes for each.
func TestLongTexts(t *testing.T) {
	if testing.Short() {
		t.Skip("long texts")
	}
	const size = 1 << 18
	texts := map[string]string{
		"one letter":     strings.Repeat("a", size),
		"two letters":    strings.Repeat("ab", size/2),
		"spaces":         strings.Repeat(" ", size),
		"spaces, word":   strings.Repeat(" ", size) + "x",
		"line ends":      strings.Repeat("\n", size),
		"blank lines":    strings.Repeat(" \n", size/2) + " x",
		"marks":          "a" + strings.Repeat("\u0301\u0323", size/4),
		"digits":         strings.Repeat("1", size),
		"punctuation":    strings.Repeat("'", size),
		"added, almost":  strings.Repeat("<|end|", size/6),
		"no text at all": strings.Repeat("\xff\x80", size/2),
	}
	toks := map[string]*Tokenizer{"gemma": readSPM(t).gguf(t, true)}
	for family, f := range madeFamilies(t) {
		toks[family] = f.mustLoad(t)
	}
	for family, tok := range toks {
		for name, text := range texts {
			if ids := tok.EncodeSpecial(text); len(ids) > 2*len(text) {
				t.Errorf("%s, %s: %d tokens of %d bytes", family, name, len(ids), len(text))
			}
			w := longWord{model: &tok.model, syms: tok.model.symbols(nil, text)}
			w.link()
			looks, most := 0, 3*len(w.syms)
			for ; len(w.queue) > 0 && looks <= most; looks++ {
				w.merge(w.pop())
			}
			if looks > most {
				t.Errorf("%s, %s: more than %d merges looked at in %d bytes", family, name, most, len(text))
			}
		}
	}
}
