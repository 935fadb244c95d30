package lora_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"cubby/models/lora"
)

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		key         string
		value       any
		want        string
		unsupported bool
	}{
		{"peft_type", "IA3", `peft_type is "IA3"`, true},
		{"peft_type", "ADALORA", `peft_type is "ADALORA"`, true},
		{"peft_type", 7, "peft_type: 7 is not a string", false},
		{"use_dora", true, "use_dora is set: DoRA is not merged here", true},
		{"use_qalora", true, "QALoRA", true},
		{"lora_bias", true, "a bias of lora_B", true},
		{"bias", "all", `bias is "all": trained biases`, true},
		{"bias", "lora_only", `bias is "lora_only"`, true},
		{"init_lora_weights", "pissa", `init_lora_weights is "pissa", which changes the base`, true},
		{"init_lora_weights", "pissa_niter_4", "pissa_niter_4", true},
		{"init_lora_weights", "olora", "olora", true},
		{"init_lora_weights", "corda", "corda", true},
		{"init_lora_weights", "loftq", "loftq", true},
		{"init_lora_weights", "lora_ga", "lora_ga", true},
		{"init_lora_weights", 3, "init_lora_weights: 3 is not a string", false},
		{"layer_replication", []any{[]int{0, 4}}, "repeated layers", true},
		{"target_parameters", []string{"experts.down"}, "LoRA on bare parameters", true},
		{"trainable_token_indices", []int{1}, "trainable tokens", true},
		{"alora_invocation_tokens", []int{1}, "activated LoRA", true},
		{"arrow_config", object{"k": 1}, "Arrow routing", true},
		{"megatron_config", object{"k": 1}, "Megatron", true},
		{"use_bdlora", object{"n": 2}, "block-diagonal", true},
		{"use_newlora", true, `"use_newlora" is set to true, which is unknown here`, true},
		{"newlora_config", object{"a": 1}, `"newlora_config" is set to`, true},
		{"variant", "new", `"variant" is set to "new"`, true},
		{"r", 0, "r: 0 is not a rank between 1 and 4096", false},
		{"r", -8, "r: -8 is not a rank", false},
		{"r", 1 << 40, "r: 1099511627776 is not a rank", false},
		{"r", 8.5, "r: 8.5 is not a rank", false},
		{"r", "8", `r: "8" is not a rank`, false},
		{"r", nil, "r: null is not a rank", false},
		{"lora_alpha", 0, "lora_alpha: 0 is not a positive number", false},
		{"lora_alpha", -1, "lora_alpha: -1", false},
		{"lora_alpha", json.Number("1e999"), "lora_alpha: 1e999", false},
		{"lora_alpha", nil, "lora_alpha: null", false},
		{"use_rslora", "yes", `use_rslora: "yes" is neither true nor false`, false},
		{"fan_in_fan_out", 1, "fan_in_fan_out: 1 is neither", false},
		{"target_modules", 7, "target_modules: 7 is neither a list of names nor a pattern", false},
		{"target_modules", []string{""}, "target_modules: ", false},
		{"modules_to_save", "score", `modules_to_save: "score" is not a list`, false},
		{"modules_to_save", []string{""}, "modules_to_save: it has an empty name", false},
		{"rank_pattern", []int{1}, "rank_pattern: it is not a JSON object", false},
		{"rank_pattern", object{"q_proj": 1 << 30}, `rank_pattern: "q_proj": 1073741824 is not a rank`, false},
		{"rank_pattern", object{"(": 4}, `rank_pattern: "(" is a pattern that is not understood here`, true},
		{"rank_pattern", object{"(?<=x)q": 4}, "not understood here", true},
		{"alpha_pattern", object{"q_proj": -1}, `alpha_pattern: "q_proj": -1 is not a positive number`, false},
		{"base_model_name_or_path", object{}, "base_model_name_or_path: {} is not a string", false},
		{"task_type", 1, "task_type: 1 is not a string", false},
	} {
		p := adapter("F16")
		p.config[c.key] = c.value
		data, err := json.Marshal(p.config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = lora.ParseConfig(data)
		fails(t, err, c.want)
		if err != nil && !strings.HasPrefix(err.Error(), "adapter_config.json: ") {
			t.Errorf("the error does not name the file: %v", err)
		}
		if errors.Is(err, lora.ErrUnsupported) != c.unsupported {
			t.Errorf("%v: unsupported %v, want %v", err, !c.unsupported, c.unsupported)
		}
		if c.unsupported && !strings.Contains(err.Error(), "merge_and_unload") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
}

func TestConfigRefusesRubbish(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "not a JSON object",
		"[]":                                     "not a JSON object",
		"null":                                   "not a JSON object",
		"{}":                                     `it has no "peft_type"`,
		`{"r":1`:                                 "",
		`{"peft_type": "LORA", "lora_alpha": 1}`: `it has no "r"`,
		`{"peft_type": "LORA", "r": 1}`:          `it has no "lora_alpha"`,
		`{"peft_type": "LORA", "r": 1, "r": 2, "lora_alpha": 1}`: `key "r" is repeated`,
		`{"peft_type": "LORA", "r": 1, "lora_alpha": 1} {}`:      "something follows",
		`{"peft_type": "LORA", "r": 1, "lora_alpha": NaN}`:       "",
		"{\"\xff\": 1}":                                                  "not valid UTF-8",
		`{"x": ` + strings.Repeat("[", 20000):                            "",
		`{"x": "` + strings.Repeat("x", lora.MaxConfig) + `"}`:           "larger than 1 MiB",
		`{"alpha_pattern": {"a": 1, "a": 2}}`:                            `alpha_pattern: key "a" is repeated`,
		`{"rank_pattern": {` + strings.Repeat(`"`, 1) + `a": [[]]}}`:     "is not a rank",
		`{"rank_pattern": {"` + strings.Repeat("(a{1000})", 50) + `":1}`: "",
	} {
		_, err := lora.ParseConfig([]byte(text))
		fails(t, err, want)
	}
}

func TestAdapterRefuses(t *testing.T) {
	const q = "base_model.model.model.layers.0.self_attn.q_proj"
	rnd := rand.New(rand.NewPCG(17, 18))
	for _, c := range []struct {
		name   string
		change func(p pack)
		want   string
	}{
		{"nothing in it", func(p pack) { clear(p.file) }, "the adapter has no tensors"},
		{"not PEFT's", func(p pack) { p.file["model.layers.0.q.lora_A.weight"] = random(rnd, "F16", 1, 1) }, `"model.layers.0.q.lora_A.weight" does not begin with`},
		{"A alone", func(p pack) { delete(p.file, q+".lora_B.weight") }, "lora_A is there without lora_B"},
		{"B alone", func(p pack) { delete(p.file, q+".lora_A.weight") }, "lora_B is there without lora_A"},
		{"other rank than said", func(p pack) { p.config["r"] = 16 }, "its factors have rank 3, and adapter_config.json says 16"},
		{"no common rank", func(p pack) { p.file[q+".lora_A.weight"] = random(rnd, "F16", 2, width) }, "have no common rank"},
		{"a convolution", func(p pack) { p.file[q+".lora_A.weight"] = random(rnd, "F16", rank, width, 1, 1) }, "are not of a linear layer"},
		{"DoRA's tensors", func(p pack) { p.file[q+".lora_magnitude_vector"] = random(rnd, "F16", width) }, "DoRA is not merged here"},
		{"a bias of B", func(p pack) { p.file[q+".lora_B.bias"] = random(rnd, "F16", width) }, "a bias of lora_B"},
		{"a new kind", func(p pack) { p.file[q+".lora_C.weight"] = random(rnd, "F16", width) }, "of a kind of LoRA that is not merged here"},
		{"a bias", func(p pack) { p.file[q+".bias"] = random(rnd, "F16", width) }, "modules_to_save does not name its module"},
		{"trained tokens", func(p pack) {
			p.file["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"] = random(rnd, "F16", width)
		}, "belongs to no update"},
		{"not a target", func(p pack) { p.config["target_modules"] = []string{"up_proj", "proj"} }, `module "model.layers.0.self_attn.q_proj": it has factors`},
		{"not a target by pattern", func(p pack) { p.config["target_modules"] = `.*up_proj` }, "it has factors"},
		{"a target that was saved whole", func(p pack) { p.config["modules_to_save"] = []string{"self_attn"} }, "it has factors"},
		{"both kinds of factors", func(p pack) { p.file[q+".lora_embedding_A"] = random(rnd, "F16", rank, width) }, "the factors of an embedding and of a linear layer"},
		{"original twice", func(p pack) {
			p.file["base_model.model.lm_head.weight"] = random(rnd, "F16", vocab, width)
			p.file["base_model.model.lm_head.base_layer.weight"] = random(rnd, "F16", vocab, width)
		}, "are the same weights"},
		{"factors of an embedding, kept tied", func(p pack) {
			p.config["target_modules"], p.config["ensure_weight_tying"] = nil, true
			p.file["base_model.model.model.embed_tokens.lora_embedding_A"] = random(rnd, "F16", rank, vocab)
			p.file["base_model.model.model.embed_tokens.lora_embedding_B"] = random(rnd, "F16", width, rank)
		}, "ensure_weight_tying"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := adapter("F16")
			c.change(p)
			_, err := p.open(t)
			fails(t, err, c.want)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	const q, norm = "base_model.model.model.layers.0.self_attn.q_proj", "base_model.model.model.norm.weight"
	rnd := rand.New(rand.NewPCG(19, 20))
	for _, c := range []struct {
		name   string
		change func(p pack, b file)
		want   string
	}{
		{"fewer layers", func(_ pack, b file) {
			for name := range b {
				if strings.HasPrefix(name, "model.layers.1.") {
					delete(b, name)
				}
			}
		}, "4 adapter tensors have no place in the base, which is another model than the adapter's: base_model.model.model.layers.1.mlp.up_proj.lora_A.weight, "},
		{"another width", func(_ pack, b file) {
			b["model.layers.0.self_attn.q_proj.weight"] = random(rnd, "F16", width, 2*width)
		}, `module "model.layers.0.self_attn.q_proj": lora_A of shape [3 12] and lora_B of shape [12 3] make an update of 12 × 12, and the base's weight has shape [12 24]`},
		{"transposed", func(p pack, _ file) { p.config["fan_in_fan_out"] = true }, "make an update of 12 × 20, and the base's weight has shape [20 12]"},
		{"more layers", func(p pack, b file) {
			b["model.layers.2.self_attn.q_proj.weight"] = b["model.layers.1.self_attn.q_proj.weight"]
		},
			"no tensors for 1 modules that adapter_config.json targets: it is incomplete, or of another model: model.layers.2.self_attn.q_proj"},
		{"a layer left out", func(p pack, b file) {
			delete(p.file, "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight")
			delete(p.file, "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight")
		}, "no tensors for 1 modules"},
		{"a resized vocabulary", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"embed_tokens"}
			p.file["base_model.model.model.embed_tokens.weight"] = random(rnd, "F16", vocab+2, width)
		}, "has shape [9 12], and the base calls for [7 12]: it is another model, or its vocabulary was resized"},
		{"a whole tensor of another shape", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"norm"}
			p.file[norm] = random(rnd, "F16", width, 1)
		}, "has shape [12 1], and the base calls for [12]"},
		{"a whole tensor without a place", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"dense"}
			p.file["base_model.model.dense.weight"] = random(rnd, "F16", width)
		}, "1 adapter tensors have no place in the base"},
		{"a head that nobody expects", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"score"}
			p.file["base_model.model.score.weight"] = random(rnd, "F16", 4, width)
		}, "score.weight is a classification head, and config.json names an architecture without"},
		{"no embedding", func(_ pack, b file) { delete(b, embedding) }, `the base has no tensor "model.embed_tokens.weight"`},
		{"two names of one module", func(p pack, _ file) {
			p.file["base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"] = random(rnd, "F16", rank, width)
			p.file["base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight"] = random(rnd, "F16", width, rank)
		}, "are the same in the base"},
		{"two names of one tensor", func(p pack, _ file) {
			p.config["modules_to_save"] = []string{"norm"}
			p.file[norm] = random(rnd, "F16", width)
			p.file["base_model.model.model.language_model.norm.weight"] = random(rnd, "F16", width)
		}, "are for the same weights"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, b := adapter("F16"), base("F16")
			c.change(p, b)
			a, err := p.open(t)
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Plan(lora.Base{Files: files(t, b), Tied: true})
			fails(t, err, c.want)
		})
	}
	t.Run("a tensor in two shards", func(t *testing.T) {
		a, err := adapter("F16").open(t)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Plan(lora.Base{Files: files(t, base("F16"), base("F16")), Tied: true})
		fails(t, err, "stands in two of the base's files")
	})
	t.Run("no safetensors", func(t *testing.T) {
		a, err := adapter("F16").open(t)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Plan(lora.Base{Files: []lora.File{{Name: "x.safetensors", R: strings.NewReader("GGUF"), Size: 4}}})
		fails(t, err, "x.safetensors: safetensors: the file is truncated")
	})
	t.Run("a classification head of another width", func(t *testing.T) {
		p := adapter("F16")
		p.config["modules_to_save"] = []string{"score"}
		p.file["base_model.model.score.weight"] = random(rnd, "F16", 4, width+1)
		a, err := p.open(t)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Plan(lora.Base{Files: files(t, base("F16")), Classifier: true})
		fails(t, err, "has shape [4 13], and the base calls for [4 12]")
	})
}

// What only the values show is found while they are merged.
func TestWriteRefuses(t *testing.T) {
	const b = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"
	for _, c := range []struct {
		name   string
		dtype  string
		change func(p pack, base file)
		want   string
	}{
		{"not a number", "F16", func(p pack, _ file) { p.file[b].values[5] = math.NaN() }, `adapter tensor "` + b + `" has values that are not finite`},
		{"infinite", "BF16", func(p pack, _ file) { p.file[b].values[5] = math.Inf(1) }, `adapter tensor "` + b + `" has values that are not finite`},
		{"whole and not a number", "F16", func(p pack, _ file) {
			norm := random(rand.New(rand.NewPCG(1, 1)), "F32", width)
			norm.values[3] = math.NaN()
			p.config["modules_to_save"] = []string{"norm"}
			p.file["base_model.model.model.norm.weight"] = norm
		}, `adapter tensor "base_model.model.model.norm.weight" has values that are not finite`},
		{"too large", "F16", func(p pack, _ file) { p.config["lora_alpha"] = 1e6 }, "is too large for F16"},
		{"a base that is not a number", "F32", func(_ pack, b file) { b["model.layers.0.mlp.up_proj.weight"].values[7] = math.NaN() }, `tensor "model.layers.0.mlp.up_proj.weight": row 0 is too large`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, base := adapter("F32"), base(c.dtype)
			c.change(p, base)
			a, err := p.open(t)
			if err != nil {
				t.Fatal(err)
			}
			m, err := a.Plan(lora.Base{Files: files(t, base), Tied: true})
			if err != nil {
				t.Fatal(err)
			}
			fails(t, m.Write(io.Discard), c.want)
		})
	}
}

// shrinking is a file that ends early once its header was read.
type shrinking struct {
	*bytes.Reader
	end int64
}

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.end {
		return 0, io.EOF
	}
	return s.Reader.ReadAt(p, off)
}

func TestFilesThatShrink(t *testing.T) {
	a, err := adapter("F16").open(t)
	if err != nil {
		t.Fatal(err)
	}
	data := base("F16").bytes(t)
	s := &shrinking{bytes.NewReader(data), int64(len(data))}
	m, err := a.Plan(lora.Base{Files: []lora.File{{Name: "m.safetensors", R: s, Size: s.end}}, Tied: true})
	if err != nil {
		t.Fatal(err)
	}
	s.end -= 100
	if err := m.Write(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a base that shrank: %v", err)
	}
}

// A configuration cannot make the reader compute for long or take much memory.
func TestConfigAllocatesLittle(t *testing.T) {
	for _, text := range []string{
		`{"rank_pattern": {` + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("(", 300)+`":1,`, 3000), ",") + `}}`,
		`{"alpha_pattern": {"` + strings.Repeat("a{900}", 1000) + `": 1}}`,
		`{"modules_to_save": ` + strings.Repeat("[", 500000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := lora.ParseConfig([]byte(text))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Error("read")
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
			t.Errorf("%.40s…: %d bytes allocated", text, got)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	data, err := json.Marshal(adapter("F16").config)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":".*(q|v)_proj$","rank_pattern":{"layers.1.q":4},"alpha_pattern":{"^v":1.5}}`))
	f.Add([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":16,"use_rslora":true,"modules_to_save":["score"],"init_lora_weights":"gaussian"}`))
	f.Add([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":16,"use_dora":true}`))
	weights := adapter("F16").file.bytes(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := lora.ParseConfig(data); err != nil {
			return
		}
		a, err := lora.Open(data, bytes.NewReader(weights), int64(len(weights)))
		if err != nil {
			return
		}
		m, err := a.Plan(lora.Base{Files: files(t, base("F32")), Tied: true})
		if err != nil {
			return
		}
		_ = m.Write(io.Discard) // a huge alpha overflows
	})
}
