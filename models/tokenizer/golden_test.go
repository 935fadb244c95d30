package tokenizer

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/gguf"
)

// golden is a text with the ids Hugging Face gives it.
type golden struct {
	Text string  `json:"T"`
	IDs  []int32 `json:"I"`
}

const goldenTexts = 4394

func readGoldens(t testing.TB) []golden {
	t.Helper()
	f, err := os.Open(filepath.Join(testenv.Shared(t), "data", "tokenizer_golden.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var goldens []golden
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var g golden
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		goldens = append(goldens, g)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(goldens) != goldenTexts {
		t.Fatalf("%d golden texts, want %d", len(goldens), goldenTexts)
	}
	return goldens
}

func smollmJSON(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testenv.Packages(t), "hub/HuggingFaceTB/SmolLM2-135M-Instruct/tokenizer.json"))
	if err != nil {
		t.Skip(err)
	}
	return data
}

func smollm(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := FromJSON(smollmJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// checkGoldens compares all texts with added tokens parsed, as the goldens were
// made, and Encode wherever a text spells no added token.
func checkGoldens(t *testing.T, tok *Tokenizer, goldens []golden) {
	t.Helper()
	wrong, plain := 0, 0
	check := func(what string, got []int32, g golden) {
		if slices.Equal(got, g.IDs) {
			return
		}
		if wrong++; wrong <= 5 {
			t.Errorf("%s(%.200q)\n got %v\nwant %v", what, g.Text, got, g.IDs)
		}
	}
	for _, g := range goldens {
		check("EncodeSpecial", tok.EncodeSpecial(g.Text), g)
		if !slices.ContainsFunc(g.IDs, tok.isAdded) {
			check("Encode", tok.Encode(g.Text), g)
			plain++
		}
		checkPlain(t, tok, g.Text)
	}
	if wrong > 0 {
		t.Errorf("%d of %d texts differ", wrong, len(goldens))
	}
	if plain < len(goldens)-1 {
		t.Errorf("only %d of %d texts are plain: the goldens changed", plain, len(goldens))
	}
}

func (t *Tokenizer) isAdded(id int32) bool {
	for _, added := range t.added.ids {
		if id == added {
			return true
		}
	}
	return false
}

// checkPlain holds what is true of Encode for every text: no added tokens, ids
// in range, and the text comes back, but for bytes without a token.
func checkPlain(t testing.TB, tok *Tokenizer, text string) {
	t.Helper()
	ids := tok.Encode(text)
	for _, id := range ids {
		if id < 0 || int(id) >= tok.Len() || tok.isAdded(id) {
			t.Fatalf("Encode(%q) yields id %d, which plain text must not", text, id)
		}
	}
	var want []byte
	for _, b := range []byte(tok.normalize(text)) {
		if tok.model.bytes[b] >= 0 {
			want = append(want, b)
		}
	}
	if tok.pre.prefixSpace {
		return // spaces are put before words
	}
	if got := tok.Decode(ids); got != string(want) {
		t.Fatalf("Decode(Encode(%q)) = %q", text, got)
	}
}

func TestGoldenFromJSON(t *testing.T) {
	checkGoldens(t, smollm(t), readGoldens(t))
}

func TestGoldenFromGGUF(t *testing.T) {
	f := packagedGGUF(t)
	tok, err := FromVocabulary(readVocabulary(t, f))
	if err != nil {
		t.Fatal(err)
	}
	checkGoldens(t, tok, readGoldens(t))
}

// TestGoldenCutVocabulary reads the demo model, whose vocabulary keeps a third of
// SmolLM2's tokens under new ids, each with the merges that make it. Texts whose
// tokens were all kept must be cut at the same places.
func TestGoldenCutVocabulary(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(testenv.Shared(t), "models", "demo", "model.gguf"))
	if err != nil {
		t.Skip(err)
	}
	tok, err := FromVocabulary(readVocabulary(t, data))
	if err != nil {
		t.Fatal(err)
	}
	whole := smollm(t)
	compared := 0
	for _, g := range readGoldens(t) {
		checkPlain(t, tok, g.Text)
		want := make([]int32, len(g.IDs))
		kept := true
		for i, id := range g.IDs {
			kept = kept && !whole.isAdded(id)
			cut, ok := tok.model.ids[string(appendLetters(nil, whole.model.pieces[id]))]
			want[i] = cut
			kept = kept && ok
		}
		if !kept {
			continue
		}
		compared++
		if got := tok.Encode(g.Text); !slices.Equal(got, want) {
			t.Errorf("Encode(%.200q)\n got %v\nwant %v", g.Text, got, want)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d texts were comparable", compared)
	}
	t.Logf("%d texts compared", compared)
}

// packagedGGUF reads the model out of a built package.
func packagedGGUF(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join(testenv.Packages(t), "banking-routing", "gguf.tar"))
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("no .gguf in the package: %v", err)
		}
		if filepath.Ext(h.Name) != ".gguf" {
			continue
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			t.Fatal(err)
		}
		return data
	}
}

func readVocabulary(t testing.TB, data []byte) Vocabulary {
	t.Helper()
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var v Vocabulary
	var ok [4]bool
	v.Model, ok[0] = f.String("tokenizer.ggml.model")
	v.Pre, ok[1] = f.String("tokenizer.ggml.pre")
	v.Tokens, ok[2] = f.Strings("tokenizer.ggml.tokens")
	v.Merges, ok[3] = f.Strings("tokenizer.ggml.merges")
	types, found := f.Ints("tokenizer.ggml.token_type")
	if ok != [4]bool{true, true, true, true} || !found {
		t.Fatalf("the GGUF lacks tokenizer keys: %v %v", ok, found)
	}
	for _, typ := range types {
		v.Types = append(v.Types, int32(typ))
	}
	return v
}
