package tokenizer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// spmGolden is testdata/sentencepiece.json, which make_sentencepiece.py writes.
type spmGolden struct {
	Texts      []string
	Special    []string // prompts with special tokens
	Vocabulary struct {
		Tokens []string
		Scores []float64
		Types  []int32
	}
	Bare, Spaced spmForm
}

// spmForm is the vocabulary without, or with, a space before the text.
type spmForm struct {
	Tokenizer map[string]json.RawMessage
	IDs       [][]int32 // of Hugging Face, special tokens parsed
	Special   [][]int32
	SPM       [][]int32 // of SentencePiece
}

func readSPM(t testing.TB) spmGolden {
	t.Helper()
	data, err := os.ReadFile("testdata/sentencepiece.json")
	if err != nil {
		t.Fatal(err)
	}
	var g spmGolden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	for key, value := range g.Bare.Tokenizer {
		if _, ok := g.Spaced.Tokenizer[key]; !ok {
			g.Spaced.Tokenizer[key] = value
		}
	}
	return g
}

func (f spmForm) json(t testing.TB) *Tokenizer {
	t.Helper()
	data, err := json.Marshal(f.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (g spmGolden) vocabulary(bare bool) Vocabulary {
	v := g.Vocabulary
	return Vocabulary{Model: "llama", Pre: "default", Tokens: slices.Clone(v.Tokens), Types: slices.Clone(v.Types), Scores: slices.Clone(v.Scores), NoSpace: bare}
}

func (g spmGolden) gguf(t testing.TB, bare bool) *Tokenizer {
	t.Helper()
	tok, err := FromVocabulary(g.vocabulary(bare))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func compare(t *testing.T, what string, encode func(string) []int32, texts []string, want [][]int32) {
	t.Helper()
	for i, text := range texts {
		if got := encode(text); !slices.Equal(got, want[i]) {
			t.Errorf("%s(%q)\n got %v\nwant %v", what, text, got, want[i])
		}
	}
}

func TestSentencePieceGoldens(t *testing.T) {
	g := readSPM(t)
	for name, f := range map[string]spmForm{"bare": g.Bare, "spaced": g.Spaced} {
		t.Run(name, func(t *testing.T) {
			hf, spm := f.json(t), g.gguf(t, name == "bare")
			compare(t, "HF EncodeSpecial", hf.EncodeSpecial, g.Texts, f.IDs)
			compare(t, "HF EncodeSpecial", hf.EncodeSpecial, g.Special, f.Special)
			if name == "bare" { // where to put spaces among special tokens, the two have other views
				compare(t, "GGUF EncodeSpecial", spm.EncodeSpecial, g.Special, f.Special)
			}
			compare(t, "GGUF Encode", spm.Encode, g.Texts, f.SPM)
			for i, text := range g.Texts {
				if slices.ContainsFunc(f.IDs[i], hf.isAdded) {
					continue
				}
				if got := hf.Encode(text); !slices.Equal(got, f.IDs[i]) {
					t.Errorf("HF Encode(%q)\n got %v\nwant %v", text, got, f.IDs[i])
				}
			}
			for _, tok := range []*Tokenizer{hf, spm} {
				for _, text := range append(g.Texts, g.Special...) {
					checkSPM(t, tok, text)
				}
			}
		})
	}
}

// checkSPM holds what is true of every text: no special token, ids in range, and
// the text comes back, U+2581 as a space.
func checkSPM(t testing.TB, tok *Tokenizer, text string) {
	t.Helper()
	ids := tok.Encode(text)
	for _, id := range ids {
		if id < 0 || int(id) >= tok.Len() || tok.isAdded(id) {
			t.Fatalf("Encode(%q) yields id %d, which plain text must not", text, id)
		}
	}
	want := strings.ReplaceAll(text, blank, " ")
	got := tok.Decode(ids)
	if tok.form == escapedAfterSpace && got != want {
		// A piece that is cut out before the space is put leaves it out.
		got = strings.TrimPrefix(got, " ")
		want = strings.TrimPrefix(want, " ")
	}
	if tok.form == escaped && got != want {
		t.Fatalf("Decode(Encode(%q)) = %q", text, got)
	}
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("Decode(Encode(%q)) = %q", text, got)
	}
}

// Special tokens are out of reach of plain text, and pieces beside the merges are not.
func TestSentencePieceSpecials(t *testing.T) {
	g := readSPM(t)
	for name, tok := range map[string]*Tokenizer{"HF": g.Bare.json(t), "GGUF": g.gguf(t, true)} {
		turn, ok := tok.Special("<end_of_turn>")
		if !ok || !slices.Equal(tok.EncodeSpecial("<end_of_turn>"), []int32{turn}) {
			t.Errorf("%s: Special finds %d, %v", name, turn, ok)
		}
		if slices.Contains(tok.Encode("a<end_of_turn>"), turn) {
			t.Errorf("%s: plain text yields a special token", name)
		}
		if _, ok := tok.Special("\n"); ok {
			t.Errorf("%s: a line end counts as special", name)
		}
		if two := tok.Encode("\n\n"); len(two) != 1 || tok.Decode(two) != "\n\n" {
			t.Errorf("%s: two line ends are %v", name, two)
		}
		if tok.Pipeline() != nil {
			t.Errorf("%s: a byte-level pipeline of a SentencePiece vocabulary", name)
		}
	}
}

// slowMerges is SentencePiece's rule as it reads: of all pairs that make a piece,
// the one of the greatest score, the leftmost of equals. Pieces that a user
// defined are none that merges make.
func slowMerges(v Vocabulary, word string) []int32 {
	ids, made := map[string]int32{}, map[string]bool{}
	for id, text := range v.Tokens {
		if v.Types[id] == 1 || v.Types[id] == 4 {
			ids[text], made[text] = int32(id), v.Types[id] == 1
		}
	}
	var parts []string
	for _, r := range word {
		parts = append(parts, string(r))
	}
	for {
		at := -1
		for i := 0; i+1 < len(parts); i++ {
			joint := parts[i] + parts[i+1]
			if made[joint] && (at < 0 || v.Scores[ids[joint]] > v.Scores[ids[parts[at]+parts[at+1]]]) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		parts[at] += parts[at+1]
		parts = slices.Delete(parts, at+1, at+2)
	}
	var out []int32
	for _, p := range parts {
		if id, ok := ids[p]; ok {
			out = append(out, id)
			continue
		}
		for _, b := range []byte(p) {
			out = append(out, int32(slices.Index(v.Tokens, byteText(b))))
		}
	}
	return out
}

// TestSentencePieceMergeOrders compares both merge loops with the slow rule, on
// words full of overlapping pairs, long and short.
func TestSentencePieceMergeOrders(t *testing.T) {
	g := readSPM(t)
	v := g.vocabulary(true)
	tok := g.gguf(t, true)
	random := rand.New(rand.NewPCG(3, 4))
	letters := []rune("aaathe)).-=of" + blank + "ب👩世é")
	for range 3000 {
		word := make([]rune, 1+random.IntN(80))
		for i := range word {
			word[i] = letters[random.IntN(len(letters))]
		}
		want := slowMerges(v, string(word))
		if got := tok.model.appendWord(nil, string(word)); !slices.Equal(got, want) {
			t.Fatalf("%q\n got %v\nwant %v", string(word), got, want)
		}
		if got := tok.model.mergeLong(nil, string(word)); !slices.Equal(got, want) {
			t.Fatalf("%q, long\n got %v\nwant %v", string(word), got, want)
		}
	}
}

func TestSentencePieceVocabularyRefuses(t *testing.T) {
	g := readSPM(t)
	for _, c := range []struct {
		name string
		edit func(*Vocabulary)
		want string
	}{
		{"no scores", func(v *Vocabulary) { v.Scores = nil }, "scores"},
		{"score no number", func(v *Vocabulary) { v.Scores[400] *= 0; v.Scores[400] /= v.Scores[400] * 0 }, "no number"},
		{"no types", func(v *Vocabulary) { v.Types = nil }, "token_type"},
		{"unknown type", func(v *Vocabulary) { v.Types[9] = 7 }, "type 7"},
		{"byte lost", func(v *Vocabulary) { v.Types[slices.Index(v.Tokens, "<0xE2>")] = 5 }, "byte 0xe2 has no token"},
		{"no byte", func(v *Vocabulary) { v.Types[400] = 6 }, "is no byte"},
		{"same text", func(v *Vocabulary) { v.Tokens[401] = v.Tokens[400] }, "are both"},
		{"empty piece", func(v *Vocabulary) { v.Tokens[400] = "" }, "no text"},
		{"empty special", func(v *Vocabulary) { v.Tokens[2] = "" }, "no text"},
		{"nothing", func(v *Vocabulary) { v.Tokens, v.Types, v.Scores = nil, nil, nil }, "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := g.vocabulary(true)
			c.edit(&v)
			_, err := FromVocabulary(v)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gguf vocabulary: ") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestSentencePieceJSONRefuses(t *testing.T) {
	g := readSPM(t)
	data, err := json.Marshal(g.Bare.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	normalizer, decoder := string(g.Bare.Tokenizer["normalizer"]), string(g.Bare.Tokenizer["decoder"])
	pre := string(g.Bare.Tokenizer["pre_tokenizer"])
	for _, c := range []struct{ name, from, to, want string }{
		{"no normalizer", `"normalizer":` + normalizer, `"normalizer":null`, "normalizer: missing"},
		{"other normalizer", `"normalizer":` + normalizer, `"normalizer":{"type":"NFC"}`, "only Replace"},
		{"other pre-tokenizer", `"pre_tokenizer":` + pre, `"pre_tokenizer":{"type":"Whitespace"}`, `"Whitespace"`},
		{"metaspace", `"pre_tokenizer":` + pre, `"pre_tokenizer":{"type":"Metaspace","replacement":"x","prepend_scheme":"first","split":false}`, "pre_tokenizer"},
		{"no decoder", `"decoder":` + decoder, `"decoder":null`, "decoder: missing"},
		{"byte-level decoder", `"decoder":` + decoder, `"decoder":{"type":"ByteLevel"}`, "decoder"},
		{"ignore_merges", `"ignore_merges":false`, `"ignore_merges":true`, "ignore_merges"},
		{"byte lost", `"\u003c0xE2\u003e"`, `"lost"`, "byte 0xe2 has no token"},
		{"stripping", `"lstrip":false`, `"lstrip":true`, "lstrip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			edited := strings.Replace(string(data), c.from, c.to, 1)
			if edited == string(data) {
				edited = strings.Replace(string(data), strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(c.from), c.to, 1)
			}
			if edited == string(data) {
				t.Fatal("the edit changed nothing")
			}
			_, err := FromJSON([]byte(edited))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer.json: ") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// Gemma's tokenizer has a token for images that its text models have no row for.
func TestFromJSONWithinLeavesAddedTokensOut(t *testing.T) {
	g := readSPM(t)
	var added []map[string]any
	if err := json.Unmarshal(g.Bare.Tokenizer["added_tokens"], &added); err != nil {
		t.Fatal(err)
	}
	n := len(g.Vocabulary.Tokens)
	added = append(added, map[string]any{"id": n, "content": "<image>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
	g.Bare.Tokenizer["added_tokens"], _ = json.Marshal(added)
	data, err := json.Marshal(g.Bare.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	for rows, want := range map[int]int{n: n, n + 1: n + 1, maxTokens: n + 1} {
		tok, err := FromJSONWithin(data, rows)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tok.Special("<image>"); tok.Len() != want || ok != (want > n) {
			t.Errorf("%d rows: %d tokens, the last %v", rows, tok.Len(), ok)
		}
	}
}

// Gemma's vocabulary has a tabulator of its own, and no byte for it.
func TestSentencePieceCharacterForByte(t *testing.T) {
	g := readSPM(t)
	v := g.vocabulary(true)
	at := slices.Index(v.Tokens, byteText('\t'))
	v.Tokens[at], v.Types[at] = "\t", 1
	tok, err := FromVocabulary(v)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tok.Encode("\t")); got != fmt.Sprint([]int{at}) {
		t.Errorf("a tabulator is %s", got)
	}
}

func FuzzSentencePiece(f *testing.F) {
	g := readSPM(f)
	v := g.vocabulary(true)
	toks := []*Tokenizer{g.Bare.json(f), g.Spaced.json(f), g.gguf(f, true), g.gguf(f, false)}
	for _, text := range append(g.Texts, g.Special...) {
		f.Add(text)
	}
	f.Add("\xff'\xc5 \xf4\x90\n\xe2\x96")
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			checkSPM(t, tok, text)
			tok.Decode(tok.EncodeSpecial(text))
		}
		if word := strings.ReplaceAll(text, " ", blank); utf8.ValidString(text) && len(text) < 200 {
			if got, want := toks[2].model.appendWord(nil, word), slowMerges(v, word); !slices.Equal(got, want) {
				t.Errorf("%q\n got %v\nwant %v", word, got, want)
			}
		}
	})
}
