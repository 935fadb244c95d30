package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/models/lora"
	"cubby/models/safetensors"
)

const (
	adapterConfigName  = "adapter_config.json"
	adapterWeightsName = "adapter_model.safetensors"
	weightsName        = "model.safetensors"
	platformConfigName = "config.yaml"
	generativeTask     = "CAUSAL_LM"
	classifierTask     = "SEQ_CLS"
)

// merging is an adapter on its way into its base.
type merging struct {
	dir     string // of the adapter in the package
	beside  bool   // it is kept beside its base, and not merged
	adapter *lora.Adapter
	base    string // folder; a GGUF file where the adapter is kept beside it
	names   []string
	plan    *lora.Merge
	config  []byte            // config.json of the merged model
	files   map[string]string // of the tokenizer: where they are
	digest  models.Digest     // of the adapter's weights

	convert    Converter     // of a base that an adapter is kept beside
	baseDigest models.Digest // of its GGUF file
	open       []io.Closer
}

// adapter is the form of a package that holds nothing else.
func (p *pack) adapter() (form, error) {
	configs := p.find(func(n string) bool { return path.Base(n) == adapterConfigName })
	if len(configs) > 1 {
		return form{}, fmt.Errorf("several adapters: %s; leave one of them in the package", strings.Join(configs, ", "))
	}
	if len(configs) == 0 {
		return form{}, fmt.Errorf("it holds a LoRA adapter without its %s", adapterConfigName)
	}
	dir := path.Dir(configs[0])
	if !p.has(path.Join(dir, adapterWeightsName)) {
		why := ""
		if pickles := p.find(func(n string) bool { return path.Dir(n) == dir && safetensors.Pickled(n) }); len(pickles) > 0 {
			why = ": " + safetensors.PickledWhy(pickles[0])
		}
		return form{}, fmt.Errorf("%s lies without an %s beside it%s", configs[0], adapterWeightsName, why)
	}
	return form{kind: models.Merged, weights: weightsName, keep: configs, merging: &merging{dir: dir}}, nil
}

// findBase opens the adapter and its base and decides how they are merged.
func (p *pack) findBase(ctx context.Context, f *form, o Options) error {
	g := f.merging
	if err := p.openAdapter(ctx, g); err != nil {
		return err
	}
	g.convert = o.Convert
	g.names = p.baseNames(g.adapter.Config.Base)
	alive := p.stage.KeepAlive() // a base may take hours to come
	var err error
	g.base, err = p.locateBase(ctx, o, g.names)
	alive()
	if err != nil {
		return err
	}
	if g.beside {
		err = p.planBeside(g)
	} else {
		err = p.plan(f)
	}
	if err != nil {
		return fmt.Errorf("the base %s: %w%s", g.base, err, g.wanted())
	}
	if p.otherBase = g.otherName(); p.otherBase != "" {
		p.warn("the adapter is of the base model %s, and the weights are from %s", p.otherBase, modelName(g.base))
	}
	return nil
}

// wanted ends an error with the base that the package names.
func (g *merging) wanted() string {
	if len(g.names) == 0 {
		return ""
	}
	return "; the adapter's base model is " + g.names[0]
}

// otherName is the base that the package names, where it is not called as the
// base that is used.
func (g *merging) otherName() string {
	same := func(n string) bool { return sameModel(n, modelName(g.base)) }
	if isGGUF(g.base) { // whose names have a quantisation behind the model's
		same = func(n string) bool {
			return strings.Contains(strings.ToLower(modelName(g.base)), strings.ToLower(lastPart(n)))
		}
	}
	if len(g.names) == 0 || slices.ContainsFunc(g.names, same) {
		return ""
	}
	return g.names[0]
}

func (p *pack) openAdapter(ctx context.Context, g *merging) error {
	config, err := p.read(path.Join(g.dir, adapterConfigName), lora.MaxConfig)
	if err != nil {
		return err
	}
	name := path.Join(g.dir, adapterWeightsName)
	f, size, err := g.openFile(p.path(name))
	if err != nil {
		return err
	}
	if g.adapter, err = lora.Open(config, f, size); err != nil {
		return fmt.Errorf("%s: %w", path.Clean(g.dir), err)
	}
	g.digest, err = p.digest(ctx, name, f)
	return err
}

// digest is that of a file, computed where unpacking has not done so.
func (p *pack) digest(ctx context.Context, name string, r io.ReaderAt) (models.Digest, error) {
	i := slices.IndexFunc(p.files, func(f models.File) bool { return f.Path == name })
	if p.isTar {
		return p.files[i].SHA256, nil
	}
	hash := sha256.New()
	_, err := io.Copy(hash, models.ContextReader{Ctx: ctx, R: io.NewSectionReader(r, 0, p.files[i].Size)})
	return models.Digest(hash.Sum(nil)), err
}

func (g *merging) openFile(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	g.open = append(g.open, f)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (g *merging) close() error {
	var err error
	for _, c := range g.open {
		err = errors.Join(err, c.Close())
	}
	return err
}

// plan reads the base's folder.
func (p *pack) plan(f *form) error {
	g := f.merging
	if err := checkFolder(g.base); err != nil {
		return err
	}
	if err := p.choose(g); err != nil {
		return err
	}
	if err := json.Unmarshal(g.config, &f.config); err != nil {
		return fmt.Errorf("%s: %w", configName, err)
	}
	if err := checkTask(g.adapter.Config.Task, f.config.isClassifier()); err != nil {
		return err
	}
	if f.config.isClassifier() {
		f.kind = models.SequenceClassifier
	}
	b := lora.Base{Tied: checkpoint.HFTied(g.config), Classifier: f.config.isClassifier()}
	names, err := safetensors.Files(g.base)
	if err != nil {
		return err
	}
	for _, name := range names {
		file, size, err := g.openFile(filepath.Join(g.base, name))
		if err != nil {
			return err
		}
		b.Files = append(b.Files, lora.File{Name: name, R: file, Size: size})
	}
	if g.plan, err = g.adapter.Plan(b); err != nil {
		return err
	}
	if g.plan.Untied {
		g.config, err = untied(g.config)
	}
	return err
}

func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a folder: a base is a folder of the Hugging Face hub, with config.json, tokenizer.json and safetensors; beside a GGUF file, an adapter can be kept: -keep-adapter")
	}
	return err
}

func checkTask(task string, classifier bool) error {
	switch {
	case task == classifierTask && !classifier:
		return fmt.Errorf("the adapter is for a classification head, of which neither it nor the base's %s names the classes: put a %[1]s with …ForSequenceClassification and id2label beside %s", configName, adapterConfigName)
	case task == generativeTask && classifier:
		return fmt.Errorf("the adapter is for a model that writes, and %s is of a classifier", configName)
	case task != "" && task != generativeTask && task != classifierTask:
		return fmt.Errorf("the adapter is for the task %.40q, not for classification", task)
	}
	return nil
}

// choose takes config.json and the tokenizer's files: what lies beside the adapter
// goes before what lies in the base, the tokenizer as a whole.
func (p *pack) choose(g *merging) error {
	file := filepath.Join(g.base, configName)
	if own := path.Join(g.dir, configName); p.has(own) {
		file = p.path(own)
	}
	var err error
	if g.config, err = readSmall(file, configName, maxJSON); err != nil {
		return err
	}
	return p.chooseTokenizer(g, g.base)
}

// chooseTokenizer takes the tokenizer's files, from a base's folder where the base
// has one.
func (p *pack) chooseTokenizer(g *merging, base string) error {
	beside := func(name string) string { return path.Join(g.dir, name) }
	g.files = map[string]string{}
	own := p.has(beside(tokenizerName)) && p.has(beside(tokenizerConfigName))
	for _, name := range []string{tokenizerName, tokenizerConfigName, templateName} {
		file := filepath.Join(base, name)
		if own || name == templateName && p.has(beside(name)) {
			file = p.path(beside(name))
		} else if base == "" {
			continue
		}
		switch _, err := os.Stat(file); {
		case err == nil:
			g.files[name] = file
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if base != "" && g.files[tokenizerName] == "" {
		return fmt.Errorf("it has no %s", tokenizerName)
	}
	return nil
}

// untied says in a config.json that the output matrix is not the embedding.
func untied(config []byte) ([]byte, error) {
	const key, oldKey, text = "tie_word_embeddings", "tie_embedding", "text_config"
	var top map[string]json.RawMessage
	if err := json.Unmarshal(config, &top); err != nil {
		return nil, fmt.Errorf("%s: %w", configName, err)
	}
	top[key] = json.RawMessage("false")
	if _, ok := top[oldKey]; ok {
		top[oldKey] = top[key]
	}
	if inner, ok := top[text]; ok {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(inner, &fields); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", configName, text, err)
		}
		fields[key] = top[key]
		inner, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		top[text] = inner
	}
	return json.MarshalIndent(top, "", "  ")
}

// keep gives the files of the merged model to write, its weights as they are computed.
func (g *merging) keep(write func(name string, r io.Reader) error) error {
	if err := write(configName, bytes.NewReader(g.config)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(g.files)) {
		f, err := os.Open(g.files[name])
		if err != nil {
			return err
		}
		if err := errors.Join(write(name, f), f.Close()); err != nil {
			return err
		}
	}
	return piped(g.plan.Write, func(r io.Reader) error { return write(weightsName, r) })
}

// piped gives what one function writes to another to read.
func piped(from func(io.Writer) error, to func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(from(w))
	}()
	err := to(r)
	r.Close()
	<-done
	return err
}

// note says what the model was made from.
func (g *merging) note() string {
	if g == nil {
		return ""
	}
	s := ""
	if g.beside {
		s = fmt.Sprintf("an adapter (%s) kept beside the base %s (%s)", g.digest, modelName(g.base), g.baseDigest)
	} else {
		s = fmt.Sprintf("merged at import from the base %s (%s) and an adapter (%s)", modelName(g.base), models.Digest(g.plan.Fingerprint()), g.digest)
	}
	if other := g.otherName(); other != "" {
		s += ", which names its base " + other
	}
	return s
}
