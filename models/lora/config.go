package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// MaxConfig is the largest adapter_config.json that is read, in bytes.
	MaxConfig = 1 << 20
	// maxRank is well above the ranks that are trained, 8 to 512.
	maxRank = 4096
	// maxPatterns is the most entries of rank_pattern and of alpha_pattern.
	maxPatterns = 4096
)

// Config is what an adapter_config.json says of a merge.
type Config struct {
	Base string // name or path of the base model, as the trainer knew it
	Task string // "CAUSAL_LM", "SEQ_CLS", …; empty where it is not said

	rank      int
	alpha     float64
	rooted    bool // scaled by alpha/√rank (rsLoRA), not alpha/rank
	fanInOut  bool // the base stores matrices as inputs × outputs
	keepTied  bool // a trained embedding is the output matrix as well
	targets   targets
	saved     []string // modules that were trained whole
	ranks     []pattern
	alphas    []pattern
	selective bool // the targets count in some layers only
}

// pattern is a value that the modules have whose names match.
type pattern struct {
	match *regexp.Regexp
	value float64
}

// ErrUnsupported is in the chain of errors about adapters that are read and
// cannot be merged.
var ErrUnsupported = errors.New("merge it with PEFT (merge_and_unload, then save_pretrained) and import the merged model")

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s; %w", fmt.Sprintf(format, args...), ErrUnsupported)
}

// ParseConfig reads an adapter_config.json. It refuses what would change the
// merge in a way that it does not know.
func ParseConfig(data []byte) (Config, error) {
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("adapter_config.json: %w", err)
	}
	return c, nil
}

func parseConfig(data []byte) (c Config, err error) {
	if len(data) > MaxConfig {
		return c, fmt.Errorf("it is larger than %d MiB", MaxConfig>>20)
	}
	if !utf8.Valid(data) {
		return c, errors.New("it is not valid UTF-8")
	}
	list, err := members(data)
	if err != nil {
		return c, err
	}
	given := map[string]bool{}
	for _, m := range list {
		given[m.key] = true
		if err := c.set(m.key, m.value); err != nil {
			return c, err
		}
	}
	for _, key := range []string{"peft_type", "r", "lora_alpha"} {
		if !given[key] {
			return c, fmt.Errorf("it has no %q: it is not the configuration of a LoRA adapter", key)
		}
	}
	return c, nil
}

// member is one pair of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// members returns the pairs of an object in their order, which counts among
// patterns, and refuses a key that repeats.
func members(data []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var list []member
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: t.(string)} // the decoder lets nothing else stand here
		if seen[m.key] {
			return nil, fmt.Errorf("key %.80q is repeated", m.key)
		}
		seen[m.key] = true
		if err := d.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("%.80q: %w", m.key, err)
		}
		list = append(list, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return list, nil
}

// inert are keys that have no say in a merge, whatever their value: how the
// adapter was trained or is to be run, and which modules were chosen, which the
// tensors tell.
var inert = []string{
	"auto_mapping", "corda_config", "eva_config", "inference_mode", "lora_dropout", "lora_ga_config", "loftq_config", "megatron_core",
	"peft_version", "qalora_group_size", "revision", "runtime_config",
}

// variants are keys of other arithmetics, and what those are called.
var variants = map[string]string{
	"alora_invocation_tokens": "activated LoRA", "arrow_config": "Arrow routing", "layer_replication": "repeated layers",
	"lora_bias": "a bias of lora_B", "megatron_config": "Megatron's layers", "target_parameters": "LoRA on bare parameters",
	"trainable_token_indices": "trainable tokens", "use_bdlora": "block-diagonal LoRA", "use_dora": "DoRA", "use_qalora": "QALoRA",
}

// set takes one pair.
func (c *Config) set(key string, value json.RawMessage) (err error) {
	switch key {
	case "peft_type":
		var s string
		if s, err = text(value); err == nil && s != "LORA" {
			return unsupported("peft_type is %.40q, and only LORA is merged here", s)
		}
	case "base_model_name_or_path":
		c.Base, err = text(value)
	case "task_type":
		c.Task, err = text(value)
	case "r":
		c.rank, err = rank(value)
	case "lora_alpha":
		c.alpha, err = alpha(value)
	case "use_rslora":
		c.rooted, err = flag(value)
	case "fan_in_fan_out":
		c.fanInOut, err = flag(value)
	case "ensure_weight_tying":
		c.keepTied, err = flag(value)
	case "target_modules":
		c.targets, err = parseTargets(value)
	case "layers_to_transform", "layers_pattern", "exclude_modules":
		c.selective = c.selective || !neutral(value)
	case "modules_to_save":
		c.saved, err = names(value)
	case "rank_pattern":
		c.ranks, err = patterns(value, func(v json.RawMessage) (float64, error) { n, err := rank(v); return float64(n), err })
	case "alpha_pattern":
		c.alphas, err = patterns(value, alpha)
	case "bias":
		var s string
		if s, err = text(value); err == nil && s != "none" && s != "" {
			return unsupported("bias is %.40q: trained biases are not merged here", s)
		}
	case "init_lora_weights":
		return checkStart(value)
	default:
		return checkOther(key, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// checkStart looks at how the factors were initialised. Some ways take what they
// put into the factors out of the base, which is then another than the published
// one.
func checkStart(value json.RawMessage) error {
	if neutral(value) || string(value) == "true" {
		return nil
	}
	s, err := text(value)
	if err != nil {
		return fmt.Errorf("init_lora_weights: %w", err)
	}
	if slices.Contains([]string{"gaussian", "eva", "orthogonal"}, s) {
		return nil
	}
	return unsupported("init_lora_weights is %.40q, which changes the base model's weights as well (or is unknown): the published base is not this adapter's", s)
}

// checkOther refuses a key that could stand for another arithmetic. What PEFT
// adds is off unless a flag, an object, a list or a name turns it on; a number
// alone is a size of something that is off.
func checkOther(key string, value json.RawMessage) error {
	if slices.Contains(inert, key) || neutral(value) {
		return nil
	}
	if what, ok := variants[key]; ok {
		return unsupported("%s is set: %s is not merged here", key, what)
	}
	if json.Unmarshal(value, new(float64)) == nil {
		return nil
	}
	return unsupported("%.80q is set to %.80s, which is unknown here and may change the weights", key, value)
}

// neutral reports whether a value turns nothing on.
func neutral(value json.RawMessage) bool {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return false
	}
	return slices.Contains([]string{"null", "false", `""`, "[]", "{}"}, b.String())
}

func isNull(value json.RawMessage) bool { return string(value) == "null" }

// text is a string, empty for null.
func text(value json.RawMessage) (s string, err error) {
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%.80s is not a string", value)
	}
	return s, nil
}

func flag(value json.RawMessage) (b bool, err error) {
	if err := json.Unmarshal(value, &b); err != nil {
		return false, fmt.Errorf("%.80s is neither true nor false", value)
	}
	return b, nil
}

func rank(value json.RawMessage) (n int, err error) {
	if json.Unmarshal(value, &n) != nil || n < 1 || n > maxRank {
		return 0, fmt.Errorf("%.80s is not a rank between 1 and %d", value, maxRank)
	}
	return n, nil
}

func alpha(value json.RawMessage) (x float64, err error) {
	if json.Unmarshal(value, &x) != nil || !(x > 0) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%.80s is not a positive number", value)
	}
	return x, nil
}

// names is a list of strings, none for null.
func names(value json.RawMessage) (list []string, err error) {
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, fmt.Errorf("%.80s is not a list of strings", value)
	}
	if slices.Contains(list, "") {
		return nil, errors.New("it has an empty name")
	}
	return list, nil
}

func patterns(value json.RawMessage, read func(json.RawMessage) (float64, error)) ([]pattern, error) {
	if isNull(value) {
		return nil, nil
	}
	list, err := members(value)
	if err != nil {
		return nil, err
	}
	if len(list) > maxPatterns {
		return nil, fmt.Errorf("more than %d entries", maxPatterns)
	}
	out := make([]pattern, len(list))
	for i, m := range list {
		if out[i].value, err = read(m.value); err != nil {
			return nil, fmt.Errorf("%.80q: %w", m.key, err)
		}
		// A key matches a module's whole name, or its end behind a dot.
		if out[i].match, err = compile(`^(?s:.*\.)?(?:`, m.key, `)$`); err != nil {
			return nil, unsupported("%.80q is a pattern that is not understood here: %v", m.key, err)
		}
	}
	return out, nil
}

// compile reads a pattern of Python's between two others. It has no counts: each
// can make a program a thousand times as long as its text.
func compile(before, pattern, after string) (*regexp.Regexp, error) {
	pattern = strings.NewReplacer("{1,}", "+", "{0,}", "*").Replace(pattern)
	if strings.Contains(pattern, "{") {
		return nil, errors.New("it counts repetitions")
	}
	return regexp.Compile(before + pattern + after)
}

// of is the value of the first pattern that a module's name matches.
func of(list []pattern, module string, otherwise float64) float64 {
	for _, p := range list {
		if p.match.MatchString(module) {
			return p.value
		}
	}
	return otherwise
}

func (c *Config) rankOf(module string) int { return int(of(c.ranks, module, float64(c.rank))) }

// scale is the factor of a module's product.
func (c *Config) scale(module string) float64 {
	a, r := of(c.alphas, module, c.alpha), of(c.ranks, module, float64(c.rank))
	if c.rooted {
		return a / math.Sqrt(r)
	}
	return a / r
}

// saves reports whether a module, or one around it, was trained whole.
func (c *Config) saves(module string) bool {
	return slices.ContainsFunc(c.saved, func(name string) bool {
		return strings.Contains("."+module+".", "."+name+".")
	})
}

// allLinear is PEFT's word for every linear layer but the output.
const allLinear = "all-linear"

// targets says which modules have an adapter: names, or a pattern.
type targets struct {
	names   []string
	pattern *regexp.Regexp // nil where there is none, or one that is not understood here
}

func parseTargets(value json.RawMessage) (t targets, err error) {
	if t.names, err = names(value); err == nil {
		return t, nil
	}
	s, notText := text(value)
	switch {
	case notText != nil:
		return t, fmt.Errorf("%.80s is neither a list of names nor a pattern", value)
	case s == allLinear:
		return targets{}, nil
	}
	// It decides nothing by itself: the tensors are there, or not.
	t.pattern, _ = compile(`^(?:`, s, `)$`)
	return t, nil
}

// excludes reports whether a module cannot have an adapter.
func (t targets) excludes(module string) bool {
	if t.pattern != nil {
		return !t.pattern.MatchString(module)
	}
	return t.names != nil && !t.includes(module)
}

// includes reports whether a module is named.
func (t targets) includes(module string) bool {
	return slices.ContainsFunc(t.names, func(name string) bool { return module == name || strings.HasSuffix(module, "."+name) })
}
