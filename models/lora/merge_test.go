package lora_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"cubby/models/lora"
	"cubby/models/safetensors"
)

// checkMerged demands the merged model of an adapter without whole tensors: scale
// is of each module, and the rest of the base as it was.
func checkMerged(t *testing.T, f *safetensors.File, b file, p pack, scale func(module string) float64) {
	t.Helper()
	if n := len(f.Tensors()); n != len(b) {
		t.Errorf("%d tensors, the base has %d", n, len(b))
	}
	for name, w := range b {
		values := w.values
		module := name[:len(name)-len(".weight")]
		if _, ok := adapted[module]; ok {
			values = sum(values, scale(module), p.product(module))
		}
		want(t, f, name, w.dtype, w.shape, values)
	}
}

func TestMerge(t *testing.T) {
	for _, dtype := range []string{"F32", "F16", "BF16"} {
		for _, from := range []string{"F32", "F16", "BF16"} {
			t.Run(from+" into "+dtype, func(t *testing.T) {
				b, p := base(dtype), adapter(from)
				f, m := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
				checkMerged(t, f, b, p, func(string) float64 { return 2 })
				if m.Untied {
					t.Error("the head was untied for nothing")
				}
			})
		}
	}
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		name   string
		change object
		scale  func(module string) float64
	}{
		{"rank-stabilised", object{"use_rslora": true}, func(string) float64 { return 6 / math.Sqrt(3) }},
		{"fractional alpha", object{"lora_alpha": 1.5}, func(string) float64 { return 0.5 }},
		{"alpha by name", object{"alpha_pattern": object{"up_proj": 9}}, func(m string) float64 {
			return map[string]float64{"up_proj": 3}[m[len(m)-7:]] + map[string]float64{".q_proj": 2}[m[len(m)-7:]]
		}},
		{"alpha by a whole name", object{"alpha_pattern": object{"model.layers.0.mlp.up_proj": 12}}, func(m string) float64 {
			if m == "model.layers.0.mlp.up_proj" {
				return 4
			}
			return 2
		}},
		{"alpha by a pattern", object{"alpha_pattern": object{`layers\.[1-9]\..*`: 3}}, func(m string) float64 {
			if m[:len("model.layers.1")] == "model.layers.1" {
				return 1
			}
			return 2
		}},
		{"a name is not a part of a word", object{"alpha_pattern": object{"proj": 12}}, func(string) float64 { return 2 }},
		{"targets by a pattern", object{"target_modules": `.*\.(q|up)_proj`}, func(string) float64 { return 2 }},
		{"targets by a pattern of Python's", object{"target_modules": `(?!vision).*proj`}, func(string) float64 { return 2 }},
		{"all linear layers", object{"target_modules": "all-linear"}, func(string) float64 { return 2 }},
		{"no targets", object{"target_modules": nil}, func(string) float64 { return 2 }},
		{"some layers", object{"target_modules": []string{"q_proj", "up_proj", "down_proj"}, "exclude_modules": []string{"down_proj"}}, func(string) float64 { return 2 }},
		{"keys to come", object{"new_size": 16, "new_switch": false, "new_config": object{}, "new_list": nil}, func(string) float64 { return 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, p := base("F32"), adapter("F32")
			for key, value := range c.change {
				p.config[key] = value
			}
			f, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
			checkMerged(t, f, b, p, c.scale)
		})
	}
}

func TestRankPattern(t *testing.T) {
	const module = "model.layers.1.mlp.up_proj"
	for _, rooted := range []bool{false, true} {
		b, p := base("F16"), adapter("F16")
		p.config["rank_pattern"], p.config["use_rslora"] = object{module: 5}, rooted
		p.pair(rand.New(rand.NewPCG(5, 6)), "F16", module, 5, adapted[module])
		f, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
		checkMerged(t, f, b, p, func(m string) float64 {
			r := 3.0
			if m == module {
				r = 5
			}
			if rooted {
				r = math.Sqrt(r)
			}
			return 6 / r
		})
	}
}

// Of several patterns that match, the first in the file counts, as in PEFT.
func TestFirstPatternCounts(t *testing.T) {
	head := `{"peft_type": "LORA", "r": 3, "lora_alpha": 6, "alpha_pattern": `
	for order, scale := range map[string]float64{`{"up_proj": 3, "mlp.up_proj": 9}}`: 1, `{"mlp.up_proj": 9, "up_proj": 3}}`: 3} {
		b, p := base("F32"), adapter("F32")
		data := p.file.bytes(t)
		a, err := lora.Open([]byte(head+order), bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.Plan(lora.Base{Files: files(t, b), Tied: true})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Parse(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		const name = "model.layers.0.mlp.up_proj"
		want(t, f, name+".weight", "F32", b[name+".weight"].shape, sum(b[name+".weight"].values, scale, p.product(name)))
	}
}

func TestFanInFanOut(t *testing.T) {
	b, p := base("F32"), adapter("F32")
	p.config["fan_in_fan_out"] = true
	for module, shape := range adapted {
		w := b[module+".weight"]
		w.shape = []int{shape[1], shape[0]} // inputs × outputs
		b[module+".weight"] = w
	}
	f, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
	for module, shape := range adapted {
		w, delta := b[module+".weight"], p.product(module)
		turned := make([]float64, len(delta))
		for i := range shape[0] {
			for j := range shape[1] {
				turned[j*shape[0]+i] = delta[i*shape[1]+j]
			}
		}
		want(t, f, module+".weight", "F32", w.shape, sum(w.values, 2, turned))
	}
}

func TestShards(t *testing.T) {
	b, p := base("BF16"), adapter("F16")
	first, second := file{}, file{}
	for name, x := range b {
		if name[:len("model.layers.1")] == "model.layers.1" {
			second[name] = x
		} else {
			first[name] = x
		}
	}
	list := files(t, first, second)
	f, m := merge(t, p, lora.Base{Files: list, Tied: true})
	checkMerged(t, f, b, p, func(string) float64 { return 2 })
	sum := sha256.New()
	for i, shard := range []file{first, second} {
		d := sha256.Sum256(shard.bytes(t))
		if m.Digests()[i] != d {
			t.Errorf("digest of file %d is %x, want %x", i, m.Digests()[i], d)
		}
		fmt.Fprintf(sum, "%s  %s\n", hex.EncodeToString(d[:]), list[i].Name)
	}
	if got := m.Fingerprint(); !bytes.Equal(got[:], sum.Sum(nil)) {
		t.Errorf("fingerprint %x", got)
	}
	if one := m.Digests()[0]; one == m.Fingerprint() {
		t.Error("the fingerprint is that of the first file")
	}
}

// A tensor larger than what is computed at a time comes out whole.
func TestLargeMatrix(t *testing.T) {
	const rows, cols = 1200, 2000 // more than 4 MiB
	rnd := rand.New(rand.NewPCG(7, 8))
	b := base("F16")
	b["model.layers.0.self_attn.q_proj.weight"] = random(rnd, "F16", rows, cols)
	p := adapter("F16")
	p.pair(rnd, "F16", "model.layers.0.self_attn.q_proj", rank, [2]int{rows, cols})
	f, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
	w := b["model.layers.0.self_attn.q_proj.weight"]
	want(t, f, "model.layers.0.self_attn.q_proj.weight", "F16", w.shape, sum(w.values, 2, p.product("model.layers.0.self_attn.q_proj")))
}

const embedding, head = "model.embed_tokens.weight", "lm_head.weight"

// TestTiedHead: what was trained of the embedding or of the output matrix alone
// leaves the other as it was, and so unties them.
func TestTiedHead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	trained := random(rnd, "F32", vocab, width)
	b := base("F16")
	original := b[embedding].values
	down, up := random(rnd, "F32", rank, width), random(rnd, "F32", vocab, rank)     // of the head
	intoA, intoB := random(rnd, "F32", rank, vocab), random(rnd, "F32", width, rank) // of the embedding
	headSum := sum(original, 2, multiply(down, up))
	embedded := slices.Clone(original)
	for v := range vocab {
		for d := range width {
			for k := range rank {
				embedded[v*width+d] += 2 * intoB.values[d*rank+k] * intoA.values[k*vocab+v]
			}
		}
	}
	for _, c := range []struct {
		name       string
		saved      []string
		tensors    file
		keep       bool // ensure_weight_tying
		embedding  []float64
		head       []float64 // nil: tied still
		classifier bool
	}{
		{name: "neither", embedding: original},
		{name: "head whole", saved: []string{"lm_head"}, tensors: file{"lm_head.weight": trained}, embedding: original, head: trained.values},
		{name: "embedding whole", saved: []string{"embed_tokens"}, tensors: file{"model.embed_tokens.weight": trained}, embedding: trained.values, head: original},
		{name: "embedding whole, kept tied", saved: []string{"embed_tokens"}, tensors: file{"model.embed_tokens.weight": trained}, keep: true, embedding: trained.values},
		{name: "embedding whole in a classifier", saved: []string{"embed_tokens"}, tensors: file{"model.embed_tokens.weight": trained}, embedding: trained.values, classifier: true},
		{name: "both whole", saved: []string{"lm_head", "embed_tokens"}, tensors: file{"lm_head.weight": trained, "model.embed_tokens.weight": trained},
			embedding: trained.values, head: trained.values},
		{name: "resized vocabulary's saving", tensors: file{"lm_head.weight": trained, "model.embed_tokens.weight": trained}, embedding: trained.values, head: trained.values},
		{name: "update of the head", tensors: file{"lm_head.lora_A.weight": down, "lm_head.lora_B.weight": up}, embedding: original, head: headSum},
		{name: "update of the head, original beside", tensors: file{"lm_head.lora_A.weight": down, "lm_head.lora_B.weight": up, "lm_head.base_layer.weight": b[embedding]},
			embedding: original, head: headSum},
		{name: "update of the embedding", tensors: file{"model.embed_tokens.lora_embedding_A": intoA, "model.embed_tokens.lora_embedding_B": intoB},
			embedding: embedded, head: original},
		{name: "update of the embedding, original beside", tensors: file{"model.embed_tokens.lora_embedding_A": intoA,
			"model.embed_tokens.lora_embedding_B": intoB, "model.embed_tokens.base_layer.weight": b[embedding]}, embedding: embedded, head: original},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := adapter("F16")
			p.config["modules_to_save"], p.config["target_modules"], p.config["ensure_weight_tying"] = c.saved, nil, c.keep
			for name, x := range c.tensors {
				p.file["base_model.model."+name] = x
			}
			f, m := merge(t, p, lora.Base{Files: files(t, b), Tied: true, Classifier: c.classifier})
			want(t, f, embedding, "F16", []int{vocab, width}, c.embedding)
			if m.Untied != (c.head != nil) {
				t.Errorf("untied: %v", m.Untied)
			}
			if c.head != nil {
				want(t, f, head, "F16", []int{vocab, width}, c.head)
			} else if _, ok := f.Tensor(head); ok {
				t.Error("there is a head")
			}
			want(t, f, "model.layers.0.mlp.up_proj.weight", "F16", []int{forward, width},
				sum(b["model.layers.0.mlp.up_proj.weight"].values, 2, p.product("model.layers.0.mlp.up_proj")))
		})
	}
}

// A file may hold a copy of the embedding as its head, which a tied model does not
// use.
func TestTiedHeadWithACopyInTheFile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	trained := random(rnd, "F32", vocab, width)
	b := base("F16")
	b[head] = random(rnd, "F16", vocab, width) // never used
	p := adapter("F16")
	p.config["modules_to_save"] = []string{"embed_tokens"}
	p.file["base_model.model.model.embed_tokens.weight"] = trained
	f, m := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
	want(t, f, embedding, "F16", []int{vocab, width}, trained.values)
	want(t, f, head, "F16", []int{vocab, width}, b[embedding].values)
	if !m.Untied || len(f.Tensors()) != len(b) {
		t.Errorf("untied %v, %d tensors", m.Untied, len(f.Tensors()))
	}
	// With a head of its own the model stays as it is.
	f, m = merge(t, p, lora.Base{Files: files(t, b)})
	want(t, f, head, "F16", []int{vocab, width}, b[head].values)
	if m.Untied {
		t.Error("a head of its own was untied")
	}
}

func TestClassificationHead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 14))
	b, p := base("BF16"), adapter("F16")
	score := random(rnd, "F32", 4, width)
	p.config["modules_to_save"], p.config["task_type"] = []string{"score", "classifier", "score"}, "SEQ_CLS"
	p.file["base_model.model.score.weight"] = score
	f, m := merge(t, p, lora.Base{Files: files(t, b), Tied: true, Classifier: true})
	want(t, f, "score.weight", "BF16", []int{4, width}, score.values)
	if m.Untied || len(f.Tensors()) != len(b)+1 {
		t.Errorf("untied %v, %d tensors", m.Untied, len(f.Tensors()))
	}
	b["score.weight"] = random(rnd, "BF16", 4, width)
	f, _ = merge(t, p, lora.Base{Files: files(t, b), Tied: true, Classifier: true})
	want(t, f, "score.weight", "BF16", []int{4, width}, score.values)
}

// Norms and other vectors may be trained whole too.
func TestWholeVector(t *testing.T) {
	b, p := base("F16"), adapter("F16")
	norm := random(rand.New(rand.NewPCG(15, 16)), "F32", width)
	p.config["modules_to_save"] = []string{"input_layernorm"}
	p.file["base_model.model.model.layers.1.input_layernorm.weight"] = norm
	f, _ := merge(t, p, lora.Base{Files: files(t, b), Tied: true})
	want(t, f, "model.layers.1.input_layernorm.weight", "F16", []int{width}, norm.values)
	want(t, f, "model.layers.0.input_layernorm.weight", "F16", []int{width}, b["model.layers.0.input_layernorm.weight"].values)
}

// The language model of a multimodal one has a name in files, and others in
// running models.
func TestMultimodalNames(t *testing.T) {
	plain := base("F16")
	for _, c := range []struct{ base, adapter string }{
		{"language_model.model.", "model.language_model."}, {"model.language_model.", "model.language_model."},
		{"language_model.model.", "model."}, {"model.language_model.", "language_model.model."},
	} {
		b, p := file{"vision_tower.q_proj.weight": plain["model.layers.0.self_attn.q_proj.weight"]}, adapter("F16")
		for name, x := range plain {
			b[c.base+name[len("model."):]] = x
		}
		moved := file{}
		for name, x := range p.file {
			moved["base_model.model."+c.adapter+name[len("base_model.model.model."):]] = x
		}
		f, _ := merge(t, pack{p.config, moved}, lora.Base{Files: files(t, b), Tied: true})
		for module := range adapted {
			want(t, f, c.base+module[len("model."):]+".weight", "F16", plain[module+".weight"].shape,
				sum(plain[module+".weight"].values, 2, p.product(module)))
		}
		want(t, f, "vision_tower.q_proj.weight", "F16", []int{width, width}, b["vision_tower.q_proj.weight"].values)
	}
}

// The same inputs give the same bytes.
func TestMergeRepeats(t *testing.T) {
	var first []byte
	for range 3 {
		a, err := adapter("F16").open(t)
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.Plan(lora.Base{Files: files(t, base("F16")), Tied: true})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = out.Bytes()
		}
		if !bytes.Equal(first, out.Bytes()) {
			t.Error("two merges of the same differ")
		}
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	for left := 0; left < 3000; left += 500 {
		a, err := adapter("F16").open(t)
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.Plan(lora.Base{Files: files(t, base("F16")), Tied: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Write(&failing{left}); err == nil || err.Error() != "disk full" {
			t.Errorf("after %d bytes: %v", left, err)
		}
	}
}
