package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"cubby/models"
	"cubby/models/safetensors"
)

const (
	clientName          = "model_client.py"
	configName          = "config.json"
	tokenizerName       = "tokenizer.json"
	tokenizerConfigName = "tokenizer_config.json"
	templateName        = "chat_template.jinja"
)

// form is which of a package's files make the model.
type form struct {
	kind    models.Kind
	weights string   // path in the package; the first of several shards
	keep    []string // paths in the package, weights included
	config  hfConfig // of safetensors weights
	merging *merging // of an adapter without its base, once that is found

	conversion *conversion // of safetensors that become GGUF
}

// inAdapter reports whether a file belongs to a LoRA adapter.
func inAdapter(name string) bool {
	for _, dir := range strings.Split(path.Dir(name), "/") {
		if dir == "model-adapter" || dir == "model-adapters" {
			return true
		}
	}
	return strings.HasPrefix(path.Base(name), "adapter_")
}

// form is detect, or the adapter that is to be kept.
func (p *pack) form(o Options) (form, error) {
	if o.KeepAdapter {
		return p.keptForm()
	}
	return p.detect()
}

// detect decides what kind of package p is. A GGUF is preferred to the
// safetensors it was made from: it is smaller and whole in one file.
func (p *pack) detect() (form, error) {
	ggufs := p.find(func(n string) bool { return path.Ext(n) == ".gguf" && !inAdapter(n) })
	if len(ggufs) > 1 {
		return form{}, fmt.Errorf("several GGUF files: %s; leave one of them in the package", strings.Join(ggufs, ", "))
	}
	if len(ggufs) == 1 {
		return form{kind: models.GGUF, weights: ggufs[0], keep: ggufs}, nil
	}
	shards := p.find(func(n string) bool { return path.Ext(n) == ".safetensors" && !inAdapter(n) })
	if len(shards) > 0 {
		return p.safetensors(shards)
	}
	if len(p.find(inAdapter)) > 0 {
		return p.adapter()
	}
	if pickles := p.find(safetensors.Pickled); len(pickles) > 0 {
		return form{}, fmt.Errorf("it holds no model that is read: %s", safetensors.PickledWhy(pickles[0]))
	}
	return form{}, errors.New("it holds no model: neither a .gguf nor a .safetensors file")
}

// safetensors takes the weights of one folder with their configuration.
func (p *pack) safetensors(shards []string) (form, error) {
	dir := path.Dir(shards[0])
	for _, s := range shards {
		if path.Dir(s) != dir {
			return form{}, fmt.Errorf("safetensors files in several folders: %s and %s", shards[0], s)
		}
	}
	for _, name := range []string{configName, tokenizerName} {
		if !p.has(path.Join(dir, name)) {
			return form{}, fmt.Errorf("%s lies without a %s beside it", shards[0], name)
		}
	}
	f := form{kind: models.Merged, weights: shards[0]}
	f.keep = append(f.keep, shards...)
	for _, name := range []string{configName, tokenizerName, tokenizerConfigName, templateName} {
		if full := path.Join(dir, name); p.has(full) {
			f.keep = append(f.keep, full)
		}
	}
	data, err := p.read(path.Join(dir, configName), maxJSON)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(data, &f.config); err != nil {
		return f, fmt.Errorf("%s: %w", configName, err)
	}
	if f.config.isClassifier() {
		f.kind = models.SequenceClassifier
	}
	return f, nil
}

// documents are kept beside the weights where a package has them: the terms it
// comes under, and the client that the prompt was lifted from.
var documents = []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "TEACHER_LICENSE", "STUDENT_LICENSE", "NOTICE", "README.md", clientName}

// maxDocument is the largest document that is kept, in bytes.
const maxDocument = 4 << 20

// extras lists the documents of the package. Those of an adapter count only where
// it is all there is.
func (p *pack) extras(ofAdapter bool) []string {
	var names []string
	for _, base := range documents {
		for _, f := range p.files {
			if path.Base(f.Path) == base && f.Size <= maxDocument && (ofAdapter || !inAdapter(f.Path)) {
				names = append(names, f.Path)
				break
			}
		}
	}
	return names
}
