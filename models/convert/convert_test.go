package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/safetensors"
	"cubby/models/tokenizer"
)

type object = map[string]any

// trained are the tokenizers of the tokenizer package's test data.
func trained(t testing.TB, name string) []byte {
	t.Helper()
	var made struct {
		Families map[string]struct{ Tokenizer json.RawMessage }
	}
	readJSON(t, "../tokenizer/testdata/families.json", &made)
	return made.Families[name].Tokenizer
}

func sentencePiece(t testing.TB) []byte {
	t.Helper()
	var made struct {
		Bare struct{ Tokenizer json.RawMessage }
	}
	readJSON(t, "../tokenizer/testdata/sentencepiece.json", &made)
	return made.Bare.Tokenizer
}

func readJSON(t testing.TB, name string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// model is a small model in the files of a folder.
type model struct {
	config    object
	tokenizer []byte
	shapes    map[string][]int
	dtype     string
	more      map[string][]byte
}

const (
	width = 32
	rows  = 700 // more than the tokenizers have ids
)

// layered names the tensors of layers.
func layered(shapes map[string][]int, layer int, parts map[string][]int) {
	for part, shape := range parts {
		shapes[fmt.Sprintf("model.layers.%d.%s", layer, part)] = shape
	}
}

// llama is a model of one layer with two heads.
func llama(t testing.TB, class string) model {
	m := model{
		config: object{"architectures": []string{class}, "hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1, "num_attention_heads": 2,
			"num_key_value_heads": 1, "vocab_size": rows, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
			"bos_token_id": 1, "eos_token_id": []int{2, 3}},
		tokenizer: trained(t, "smollm"), dtype: "F16",
		shapes: map[string][]int{"model.embed_tokens.weight": {rows, width}, "model.norm.weight": {width}},
		more:   map[string][]byte{},
	}
	half := width / 2
	layered(m.shapes, 0, map[string][]int{
		"self_attn.q_proj.weight": {width, width}, "self_attn.k_proj.weight": {half, width}, "self_attn.v_proj.weight": {half, width}, "self_attn.o_proj.weight": {width, width},
		"mlp.gate_proj.weight": {width, width}, "mlp.up_proj.weight": {width, width}, "mlp.down_proj.weight": {width, width},
		"input_layernorm.weight": {width}, "post_attention_layernorm.weight": {width},
	})
	return m
}

// headed has norms of heads, as qwen3 and gemma3 do.
func headed(t testing.TB, class, tokenizer string, more ...string) model {
	m := llama(t, class)
	m.config["head_dim"] = width / 2
	m.tokenizer = trained(t, tokenizer)
	for _, part := range append(more, "self_attn.q_norm", "self_attn.k_norm") {
		n := width / 2
		if strings.HasSuffix(part, "layernorm") {
			n = width
		}
		m.shapes["model.layers.0."+part+".weight"] = []int{n}
	}
	return m
}

func gemma3(t testing.TB) model {
	m := headed(t, "Gemma3ForCausalLM", "smollm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
	m.tokenizer, m.dtype, m.config["query_pre_attn_scalar"] = sentencePiece(t), "BF16", width/2
	return m
}

func lfm2Model(t testing.TB) model {
	m := model{
		config: object{"architectures": []string{"Lfm2ForCausalLM"}, "hidden_size": width, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
			"num_key_value_heads": 1, "vocab_size": rows, "max_position_embeddings": 64, "norm_eps": 1e-5, "conv_L_cache": 3, "rope_theta": 1e6,
			"full_attn_idxs": []int{1}, "tie_embedding": true},
		tokenizer: trained(t, "lfm2"), dtype: "BF16", more: map[string][]byte{},
		shapes: map[string][]int{"model.embed_tokens.weight": {rows, width}, "model.embedding_norm.weight": {width}},
	}
	for i := range 2 {
		layered(m.shapes, i, map[string][]int{"operator_norm.weight": {width}, "ffn_norm.weight": {width},
			"feed_forward.w1.weight": {48, width}, "feed_forward.w2.weight": {width, 48}, "feed_forward.w3.weight": {48, width}})
	}
	layered(m.shapes, 0, map[string][]int{"conv.conv.weight": {width, 1, 3}, "conv.in_proj.weight": {3 * width, width}, "conv.out_proj.weight": {width, width}})
	layered(m.shapes, 1, map[string][]int{"self_attn.q_proj.weight": {width, width}, "self_attn.k_proj.weight": {16, width}, "self_attn.v_proj.weight": {16, width},
		"self_attn.out_proj.weight": {width, width}, "self_attn.q_layernorm.weight": {16}, "self_attn.k_layernorm.weight": {16}})
	return m
}

func qwen35Model(t testing.TB) model {
	m := model{
		config: object{"architectures": []string{"Qwen3_5ForCausalLM"}, "model_type": "qwen3_5_text", "hidden_size": width, "intermediate_size": width,
			"num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": rows, "max_position_embeddings": 64,
			"rms_norm_eps": 1e-6, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
			"linear_conv_kernel_dim": 4, "tie_word_embeddings": true,
			"rope_parameters": object{"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5, "mrope_section": []int{2, 1, 1}}},
		tokenizer: trained(t, "qwen35"), dtype: "BF16", more: map[string][]byte{},
		shapes: map[string][]int{"model.embed_tokens.weight": {rows, width}, "model.norm.weight": {width}},
	}
	for i := range 4 {
		layered(m.shapes, i, map[string][]int{"input_layernorm.weight": {width}, "post_attention_layernorm.weight": {width},
			"mlp.gate_proj.weight": {width, width}, "mlp.up_proj.weight": {width, width}, "mlp.down_proj.weight": {width, width}})
		if i == 3 {
			layered(m.shapes, i, map[string][]int{"self_attn.q_proj.weight": {64, width}, "self_attn.k_proj.weight": {16, width}, "self_attn.v_proj.weight": {16, width},
				"self_attn.o_proj.weight": {width, 32}, "self_attn.q_norm.weight": {16}, "self_attn.k_norm.weight": {16}})
			continue
		}
		layered(m.shapes, i, map[string][]int{"linear_attn.in_proj_qkv.weight": {64, width}, "linear_attn.in_proj_z.weight": {32, width},
			"linear_attn.in_proj_a.weight": {4, width}, "linear_attn.in_proj_b.weight": {4, width}, "linear_attn.conv1d.weight": {64, 1, 4},
			"linear_attn.A_log": {4}, "linear_attn.dt_bias": {4}, "linear_attn.norm.weight": {8}, "linear_attn.out_proj.weight": {width, 32}})
	}
	return m
}

// tensor is a tensor of small values that differ by name and place.
func (m model) tensor(name string, shape []int) safetensors.Content {
	n, salt := 1, 0
	for _, d := range shape {
		n *= d
	}
	for _, c := range name {
		salt = (salt*31 + int(c)) % 97
	}
	dtype := m.dtype
	if strings.HasSuffix(name, "A_log") {
		dtype = "F32" // as transformers keeps it
	}
	return safetensors.Content{Name: name, DType: dtype, Shape: shape, Write: func(w io.Writer) error {
		var b []byte
		for i := range n {
			v := float32((i*7+salt)%128)/64 - 1
			switch dtype {
			case "F16":
				b = binary.LittleEndian.AppendUint16(b, gguf.ToFloat16(v))
			case "BF16":
				b = binary.LittleEndian.AppendUint16(b, uint16(math.Float32bits(v)>>16))
			default:
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
		}
		_, err := w.Write(b)
		return err
	}}
}

func (m model) weights(t testing.TB, names []string) []byte {
	t.Helper()
	var list []safetensors.Content
	for _, name := range names {
		list = append(list, m.tensor(name, m.shapes[name]))
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files are the folder's.
func (m model) files(t testing.TB) map[string][]byte {
	files := map[string][]byte{"config.json": marshal(t, m.config), "tokenizer.json": m.tokenizer,
		"model.safetensors": m.weights(t, slices.Sorted(maps.Keys(m.shapes)))}
	maps.Copy(files, m.more)
	return files
}

func folderOf(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func convertFiles(t testing.TB, files map[string][]byte) (*gguf.File, Summary) {
	t.Helper()
	var b bytes.Buffer
	s, err := GGUF(t.Context(), folderOf(t, files), &b)
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

// The native engine reads the same model and the same token ids from both forms.
func TestNativeFamilies(t *testing.T) {
	for name, m := range map[string]model{
		"llama": llama(t, "LlamaForCausalLM"), "mistral": llama(t, "MistralForCausalLM"), "qwen2": withBiases(llama(t, "Qwen2ForCausalLM")),
		"qwen3": headed(t, "Qwen3ForCausalLM", "qwen2"), "gemma3": gemma3(t),
	} {
		t.Run(name, func(t *testing.T) {
			m.config["sliding_window"] = map[string]any{"gemma3": 16}[name] // else null: none
			files := m.files(t)
			f, s := convertFiles(t, files)
			got, err := checkpoint.FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			shard, err := safetensors.Parse(files["model.safetensors"])
			if err != nil {
				t.Fatal(err)
			}
			want, err := checkpoint.FromHF(files["config.json"], shard)
			if err != nil {
				t.Fatal(err)
			}
			if s.By != "Cubby" || s.Architecture != want.Config().Architecture {
				t.Errorf("summary %+v", s)
			}
			sameConfig(t, got.Config(), want.Config())
			sameTensors(t, f, got, want)
			sameTokens(t, f, m.tokenizer)
		})
	}
}

func withBiases(m model) model {
	for _, p := range []string{"q", "k", "v"} {
		m.shapes["model.layers.0.self_attn."+p+"_proj.bias"] = m.shapes["model.layers.0.self_attn."+p+"_proj.weight"][:1]
	}
	return m
}

func sameConfig(t *testing.T, got, want checkpoint.Config) {
	t.Helper()
	for _, c := range []*checkpoint.Config{&got, &want} {
		c.RopeInterleaved = false
		c.NormEpsilon, c.RopeBase, c.LocalRopeBase = float64(float32(c.NormEpsilon)), float64(float32(c.RopeBase)), float64(float32(c.LocalRopeBase))
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("configuration %+v\nwant %+v", got, want)
	}
}

func sameTensors(t *testing.T, f *gguf.File, got, want checkpoint.Checkpoint) {
	t.Helper()
	headDim := want.Config().HeadDim
	for _, info := range f.Tensors() {
		x, _ := got.Tensor(info.Name)
		y, ok := want.Tensor(info.Name)
		if !ok || x.Rows != y.Rows || x.Cols != y.Cols || x.Rows > 1 && x.Type != y.Type {
			t.Errorf("%s: %d × %d of %s, want %d × %d of %s", info.Name, x.Rows, x.Cols, x.Type, y.Rows, y.Cols, y.Type)
			continue
		}
		turned := got.Config().RopeInterleaved && (strings.HasSuffix(info.Name, "attn_q.weight") || strings.HasSuffix(info.Name, "attn_k.weight"))
		a, b := make([]float32, x.Cols), make([]float32, x.Cols)
		for i := range x.Rows {
			j := i
			if turned { // pairs of GGUF lie side by side
				j = i/headDim*headDim + i%2*(headDim/2) + i%headDim/2
			}
			x.Row(a, i)
			y.Row(b, j)
			if !slices.Equal(a, b) {
				t.Errorf("%s: row %d differs", info.Name, i)
				break
			}
		}
	}
}

var texts = []string{"", " ", "I was charged twice for one coffee, and the card's limit isn't what you'd think.", "  \n\n  x 12345 ½", "你好，世界 naïve café", "<|end|> <end_of_turn>\n\n",
	"👩‍👩‍👧‍👦 😀😀😀 ok", "if(x==1){y+=2;}//ok\t\t", "e\u0301 \u1e9b\u0323"}

func sameTokens(t *testing.T, f *gguf.File, data []byte) {
	t.Helper()
	want, err := tokenizer.FromJSONWithin(data, rows)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokenizer.FromVocabulary(vocabulary(t, f))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if a, b := got.EncodeSpecial(text), want.EncodeSpecial(text); !slices.Equal(a, b) {
			t.Errorf("%q is %v, want %v", text, a, b)
		}
	}
	if got.Len() != rows {
		t.Errorf("%d ids, want %d", got.Len(), rows)
	}
}

func vocabulary(t *testing.T, f *gguf.File) (v tokenizer.Vocabulary) {
	t.Helper()
	v.Model, _ = f.String("tokenizer.ggml.model")
	v.Pre, _ = f.String("tokenizer.ggml.pre")
	v.Tokens, _ = f.Strings("tokenizer.ggml.tokens")
	v.Merges, _ = f.Strings("tokenizer.ggml.merges")
	v.Scores, _ = f.Floats("tokenizer.ggml.scores")
	types, _ := f.Ints("tokenizer.ggml.token_type")
	for _, x := range types {
		v.Types = append(v.Types, int32(x))
	}
	space, said := f.Bool("tokenizer.ggml.add_space_prefix")
	v.NoSpace = said && !space
	return v
}

// What only llama.cpp runs has the tensors and parameters that its own converter
// writes, and the token ids of its tokenizer.json.
func TestForeignFamilies(t *testing.T) {
	for pre, m := range map[string]model{"lfm2": lfm2Model(t), "qwen35": qwen35Model(t)} {
		t.Run(pre, func(t *testing.T) {
			f, s := convertFiles(t, m.files(t))
			data, err := os.ReadFile(filepath.FromSlash("../../runtime/llama/testdata/" + pre + ".gguf"))
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := gguf.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range theirs.Keys() {
				if !f.Has(key) && key != "general.name" && key != "general.size_label" {
					t.Errorf("no %s", key)
				}
			}
			for _, x := range f.Tensors() {
				if y, ok := theirs.Tensor(x.Name); !ok || (y.Type == gguf.F32) != (x.Type == gguf.F32) || len(x.Shape) != len(y.Shape) {
					t.Errorf("%s of %s %v, and llama.cpp has %s %v", x.Name, x.Type, x.Shape, y.Type, y.Shape)
				}
			}
			if s != (Summary{pre, by}) {
				t.Errorf("summary %+v", s)
			}
			if name, _ := f.String("tokenizer.ggml.pre"); name != pre {
				t.Errorf("pre-tokeniser %q", name)
			}
			if n, _ := f.Uint(pre + ".feed_forward_length"); int(n) != map[string]int{"lfm2": 48, "qwen35": width}[pre] {
				t.Errorf("feed-forward length %d", n)
			}
			sameTokens(t, f, m.tokenizer)
		})
	}
}

// A model whole with its vision tower and further layers gives the same file as its
// text alone, and a text model may declare such layers that it lacks.
func TestQwenWhole(t *testing.T) {
	want, err := os.ReadFile(fileOf(t, qwen35Model(t)))
	if err != nil {
		t.Fatal(err)
	}
	declared := qwen35Model(t)
	declared.config["mtp_num_hidden_layers"], declared.config["num_nextn_predict_layers"] = 1, 1
	whole := qwen35Model(t)
	text := whole.config
	delete(text, "architectures")
	text["mtp_num_hidden_layers"] = 1
	delete(text, "tie_word_embeddings")
	whole.config = object{"architectures": []string{"Qwen3_5ForConditionalGeneration"}, "model_type": "qwen3_5", "text_config": text, "vision_config": object{"depth": 2},
		"image_token_id": 5, "tie_word_embeddings": true}
	plain := slices.Collect(maps.Keys(whole.shapes))
	for name, shape := range map[string][]int{"model.visual.blocks.0.attn.qkv.weight": {8, 8}, "model.visual.patch_embed.proj.weight": {8, 3, 2, 2, 2},
		"mtp.fc.weight": {8, 8}, "mtp.layers.0.input_layernorm.weight": {8}, "lm_head.weight": {rows, width}} {
		whole.shapes[name] = shape
	}
	if got, err := os.ReadFile(fileOf(t, declared)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("with layers declared: another file, %v", err)
	}
	renamed := fileOf(t, whole.renaming(t, plain))
	if got, err := os.ReadFile(renamed); err != nil || len(got) != len(want) || !bytes.Equal(got, want) {
		t.Errorf("of the whole model: another file, %d bytes and %d, %v", len(got), len(want), err)
	}
}

// renaming writes text tensors under the names that they have in the whole model.
func (m model) renaming(t *testing.T, names []string) model {
	files := m.files(t)
	data := files["model.safetensors"]
	n := binary.LittleEndian.Uint64(data)
	header := string(data[8 : 8+n])
	for _, name := range names {
		rest := strings.TrimPrefix(name, "model.")
		header = strings.Replace(header, `"`+name+`"`, `"model.language_model.`+rest+`"`, 1)
	}
	body := data[8+n:]
	data = append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	m.more = map[string][]byte{"model.safetensors": append(data, body...)}
	return m
}

func fileOf(t *testing.T, m model) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = GGUF(t.Context(), folderOf(t, m.files(t)), f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// Shards, by their index or all, give the file of the one they were cut from.
func TestShards(t *testing.T) {
	for name, m := range map[string]model{"llama": llama(t, "LlamaForCausalLM"), "lfm2": lfm2Model(t)} {
		want, err := os.ReadFile(fileOf(t, m))
		if err != nil {
			t.Fatal(err)
		}
		names := slices.Sorted(maps.Keys(m.shapes))
		files := m.files(t)
		delete(files, "model.safetensors")
		places := map[string]string{}
		for i, part := range [][]string{names[:4], names[4:]} {
			file := fmt.Sprintf("model-%05d-of-00002.safetensors", i+1)
			files[file] = m.weights(t, part)
			for _, x := range part {
				places[x] = file
			}
		}
		for _, index := range [][]byte{marshal(t, object{"weight_map": places}), nil} {
			files["model.safetensors.index.json"] = index
			if index != nil {
				files["adapter_other.safetensors"], files["stray.safetensors"] = []byte("x"), []byte("x")
			} else {
				files["stray.safetensors"] = nil
			}
			var b bytes.Buffer
			if _, err := GGUF(t.Context(), folderOf(t, files), &b); err != nil || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s: another file of shards, %v", name, err)
			}
		}
	}
}

// Special tokens and the template are carried over.
func TestSpecialTokens(t *testing.T) {
	const around = `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|begin|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}}`
	m := llama(t, "LlamaForCausalLM")
	m.more["tokenizer_config.json"] = []byte(`{"bos_token":"<|begin|>","eos_token":{"content":"<|end|>"},"pad_token":null,"chat_template":"old"}`)
	m.more["chat_template.jinja"] = []byte("new")
	for added, edit := range map[bool]func(string) string{
		false: func(s string) string { return s },
		true:  func(s string) string { return strings.Replace(s, `"post_processor":null`, around, 1) },
	} {
		m.tokenizer = []byte(edit(string(trained(t, "smollm"))))
		f, _ := convertFiles(t, m.files(t))
		tokens, _ := f.Strings("tokenizer.ggml.tokens")
		for key, want := range map[string]string{"bos": "<|begin|>", "eos": "<|end|>"} {
			if id, ok := f.Uint("tokenizer.ggml." + key + "_token_id"); !ok || tokens[id] != want {
				t.Errorf("%s is token %d, want %q", key, id, want)
			}
		}
		if template, _ := f.String("tokenizer.chat_template"); template != "new" {
			t.Errorf("template %q", template)
		}
		if got, ok := f.Bool("tokenizer.ggml.add_bos_token"); !ok || got != added {
			t.Errorf("add_bos_token %v, want %v", got, added)
		}
	}
	m.more = map[string][]byte{}
	f, _ := convertFiles(t, m.files(t))
	if bos, _ := f.Uint("tokenizer.ggml.bos_token_id"); bos != 1 {
		t.Errorf("bos of config.json is %d", bos)
	}
	if eos, _ := f.Uint("tokenizer.ggml.eos_token_id"); eos != 2 {
		t.Errorf("eos of config.json is %d, the first of its list is 2", eos)
	}
}

func TestRefuses(t *testing.T) {
	set := func(key string, v any) func(*model) { return func(m *model) { m.config[key] = v } }
	drop := func(name string) func(*model) { return func(m *model) { delete(m.shapes, name) } }
	file := func(name string, data []byte) func(*model) { return func(m *model) { m.more[name] = data } }
	for want, c := range map[string]struct {
		of   func(testing.TB) model
		edit func(*model)
	}{
		"num_hidden_layers is 4000000000":      {lfm2Model, set("num_hidden_layers", 4000000000)},
		"2000 layers are more":                 {lfm2Model, set("num_hidden_layers", 2000)},
		"num_attention_heads is 0":             {lfm2Model, set("num_attention_heads", 0)},
		"linear_num_key_heads is -1":           {qwen35Model, set("linear_num_key_heads", -1)},
		"vocab_size is 5":                      {qwen35Model, set("vocab_size", 5)},
		"cannot unmarshal string":              {qwen35Model, set("num_hidden_layers", "4")},
		"layer_types names 1 layers of 4":      {qwen35Model, set("layer_types", []string{"full_attention"})},
		`layer 0 is of type "x"`:               {lfm2Model, set("layer_types", []string{"x", "conv"})},
		"names layer 7 of 2":                   {lfm2Model, set("full_attn_idxs", []int{7})},
		`rotary scaling "yarn"`:                {lfm2Model, set("rope_scaling", object{"type": "yarn"})},
		"quantised weights":                    {lfm2Model, set("quantization_config", object{"quant_method": "awq"})},
		`activation "gelu"`:                    {qwen35Model, set("hidden_act", "gelu")},
		"partial_rotary_factor must be":        {qwen35Model, set("rope_parameters", object{"rope_theta": 1e4})},
		`"output.weight" is missing`:           {lfm2Model, set("tie_embedding", false)},
		`"blk.0.shortconv.in_proj.weight" is`:  {lfm2Model, drop("model.layers.0.conv.in_proj.weight")},
		`"blk.1.conv.bias" is not one of lfm2`: {lfm2Model, func(m *model) { m.shapes["model.layers.1.conv.bias"] = []int{4} }},
		"is no weight":                         {lfm2Model, func(m *model) { m.shapes["model.layers.0.conv.conv.weight"] = []int{1, 1, 1, 1, 1} }},
		"the embedding is no matrix":           {lfm2Model, func(m *model) { m.shapes["model.embed_tokens.weight"] = []int{width} }},
		"Phi3ForCausalLM":                      {lfm2Model, set("architectures", []string{"Phi3ForCausalLM"})},
		"convert_hf_to_gguf.py":                {lfm2Model, set("architectures", []string{"Qwen3NextForCausalLM"})},
		"which is no file beside it":           {lfm2Model, file("model.safetensors.index.json", []byte(`{"weight_map":{"a":"../model.safetensors"}}`))},
		"model.safetensors: safetensors: not":  {lfm2Model, file("model.safetensors", []byte("\xff\xff\xff\xff\xff\xff\xff\x7f{}"))},
		"tokenizer.json: invalid character":    {lfm2Model, file("tokenizer.json", []byte("x"))},
		"tokenizer_config.json: chat_template": {lfm2Model, file("tokenizer_config.json", []byte(`{"chat_template":3}`))},
		"head_dim is 0":                        {qwen35Model, set("head_dim", 0)},
		"config.json: ":                        {lfm2Model, file("config.json", []byte("{"))},
		"must include both":                    {qwen35Model, set("full_attention_interval", 1)},
	} {
		m := c.of(t)
		c.edit(&m)
		if _, err := GGUF(t.Context(), folderOf(t, m.files(t)), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
	pickle := lfm2Model(t).files(t)
	pickle["pytorch_model.bin"], pickle["model.safetensors"] = pickle["model.safetensors"], nil
	if _, err := GGUF(t.Context(), folderOf(t, pickle), io.Discard); err == nil || !strings.Contains(err.Error(), "no .safetensors files") {
		t.Errorf("a pickle: %v", err)
	}
	if _, err := GGUF(t.Context(), t.TempDir(), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}

// Numbers in another spelling reach the other converter no more than those named
// twice: it would allocate by them.
func TestOtherSpellings(t *testing.T) {
	m := lfm2Model(t)
	m.config["VOCAB_SIZE"], m.config["Text_Config"], m.config["NUM_EXPERTS"] = rows, object{"vocab_size": 4000000000}, 4000000000
	f, _ := convertFiles(t, m.files(t))
	if n, _ := f.Uint("lfm2.vocab_size"); n != rows {
		t.Errorf("vocabulary of %d", n)
	}
}

func TestStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, m := range []model{llama(t, "LlamaForCausalLM"), lfm2Model(t)} {
		if _, err := GGUF(ctx, folderOf(t, m.files(t)), io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
}

func TestGuard(t *testing.T) {
	err := guard(func() error { var list []int; _ = list[len(os.Args)+7]; return nil })
	if err == nil || !strings.Contains(err.Error(), "the converter gave up") {
		t.Errorf("error %v", err)
	}
}

// FuzzConfig feeds configurations to the other converter, beside weights that are fit
// for LFM2 and Qwen 3.5.
func FuzzConfig(f *testing.F) {
	var shards [][]*safetensors.File
	for _, m := range []model{lfm2Model(f), qwen35Model(f)} {
		f.Add(marshal(f, m.config))
		s, err := safetensors.Parse(m.weights(f, slices.Sorted(maps.Keys(m.shapes))))
		if err != nil {
			f.Fatal(err)
		}
		shards = append(shards, []*safetensors.File{s})
	}
	f.Add([]byte(`{"text_config":{"num_hidden_layers":1}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		for i, fam := range []family{lfm2, qwen35} {
			h, err := readConfig(config, fam)
			if err != nil {
				continue
			}
			var m converted
			if err := guard(func() error { m, err = h.convert(shards[i]); return err }); err != nil {
				continue
			}
			if err := gguf.Write(io.Discard, m.meta(fam), m.tensors); err != nil {
				t.Logf("%v", err)
			}
		}
	})
}
