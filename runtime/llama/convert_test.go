package llama

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/convert"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// letters is a tokenizer.json of 26 letters and three special tokens, as LFM2 and
// Llama 3 cut texts.
func letters() string {
	var vocab []string
	for i := range 26 {
		vocab = append(vocab, fmt.Sprintf(`"%c":%d`, 'a'+i, i+3))
	}
	var added []string
	for i, text := range []string{"<pad>", "<s>", "</s>"} {
		added = append(added, fmt.Sprintf(`{"id":%d,"content":%q,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}`, i, text))
	}
	const pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
	return `{"version":"1.0","truncation":null,"padding":null,"added_tokens":[` + strings.Join(added, ",") + `],"normalizer":null,
"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"` + pattern + `"},"behavior":"Isolated","invert":false},
{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
"ignore_merges":true,"vocab":{` + strings.Join(vocab, ",") + `},"merges":[]}}`
}

// converted writes a golden as a Hugging Face folder, and that as GGUF.
func converted(t *testing.T, g enginetest.Golden) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"config.json": string(g.Config()), "tokenizer.json": letters(), "model.safetensors": string(g.Safetensors(t))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = convert.GGUF(t.Context(), dir, f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// What package convert writes gives transformers' logits in libllama.
func TestConvertedGoldens(t *testing.T) {
	libraries := testenv.Libllama(t)
	for _, g := range append(enginetest.Goldens(t), enginetest.Foreign(t)...) {
		switch g.Name {
		case "mistral", "qwen2", "gemma3":
			continue // llama.cpp has no window in the first two, and no scale of queries in the last
		}
		if g.Classifier() {
			continue
		}
		t.Run(g.Name, func(t *testing.T) {
			e, err := New(hybridTokens{}, Options{Libraries: libraries, Model: converted(t, g), Threads: 2, GPULayers: AutoLayers, MainGPU: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			pre, err := e.Prefix(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			tree := engine.Chain(g.Tokens)
			for i, row := range g.Logits {
				want := engine.Want{Node: i}
				for c := range row {
					want.Columns = append(want.Columns, int32(c))
				}
				tree.Wants = append(tree.Wants, want)
			}
			out, err := e.Eval(t.Context(), pre, []engine.Tree{tree})
			if err != nil {
				t.Fatal(err)
			}
			worst := 0.0
			for i, row := range out[0].Logits {
				worst = max(worst, softmax32(row).Distance(softmax32(g.Logits[i])))
			}
			t.Logf("at most %.5f from transformers", worst)
			if !(worst <= hybridTolerance) {
				t.Errorf("%.4f from transformers", worst)
			}
		})
	}
}
