package lora

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cubby/models/safetensors"
)

// Base is the model to merge into.
type Base struct {
	Files []File // its weights: one file, or all shards
	// Tied says that by its configuration the embedding is the output matrix too.
	Tied bool
	// Classifier says that the model has a classification head and no output matrix.
	Classifier bool
}

// File is a safetensors file. R must give Size bytes.
type File struct {
	Name string
	R    io.ReaderAt
	Size int64
}

// Merge is a merge that is ready to be written.
type Merge struct {
	// Untied says that the output matrix has become another than the embedding: the
	// configuration must have tie_word_embeddings false.
	Untied bool

	adapter *Adapter
	files   []*stream
	outputs []*output
}

// output is one tensor of the merged model.
type output struct {
	name  string
	dtype string
	shape []int

	base   *located // whose place it takes; nil for one that the base lacks
	start  *located // its weights in the base
	whole  *whole   // its weights in the adapter, which go before; or nil
	pair   *pair    // the update; or nil
	across bool     // the update is transposed
	scale  float64
}

// located is a tensor of the base.
type located struct {
	file int
	safetensors.Header
}

// Plan checks an adapter against a base, and decides all tensors of the merged
// model.
func (a *Adapter) Plan(b Base) (*Merge, error) {
	m := &Merge{adapter: a}
	base, err := m.locate(b.Files)
	if err != nil {
		return nil, err
	}
	p := planner{Merge: m, base: base, of: map[*located]*output{}}
	for _, t := range base.list {
		o := &output{name: t.Name, dtype: t.DType, shape: t.Shape, base: t, start: t}
		p.of[t] = o
		m.outputs = append(m.outputs, o)
	}
	p.untie(b)
	if b.Classifier {
		p.addScore()
	}
	if err := p.assign(); err != nil {
		return nil, err
	}
	return m, p.untouched()
}

// index finds a base's tensors by the names that an adapter gives them.
type index struct {
	list  []*located
	exact map[string]*located
	loose map[string]*located // by canonical name; nil where two have it
}

func (x *index) find(name string) *located {
	if t := x.exact[name]; t != nil {
		return t
	}
	return x.loose[canonical(name)]
}

func (m *Merge) locate(files []File) (*index, error) {
	x := &index{exact: map[string]*located{}, loose: map[string]*located{}}
	for i, f := range files {
		list, err := safetensors.Scan(f.R, f.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		m.files = append(m.files, newStream(f))
		for _, h := range list {
			t := &located{file: i, Header: h}
			if x.exact[h.Name] != nil {
				return nil, fmt.Errorf("tensor %q stands in two of the base's files", h.Name)
			}
			x.list, x.exact[h.Name] = append(x.list, t), t
			key := canonical(h.Name)
			if _, seen := x.loose[key]; seen {
				t = nil
			}
			x.loose[key] = t
		}
	}
	if x.find(embeddingName) == nil {
		return nil, fmt.Errorf("the base has no tensor %q: it is not a language model, or not all of it", embeddingName)
	}
	return x, nil
}

// planner gives everything in an adapter its place.
type planner struct {
	*Merge
	base  *index
	of    map[*located]*output
	added map[string]*output // that the base lacks, by canonical name
}

func (p *planner) add(o *output) {
	if p.added == nil {
		p.added = map[string]*output{}
	}
	p.added[canonical(o.name)] = o
	if o.base == nil {
		p.outputs = append(p.outputs, o)
		return
	}
	p.outputs[slices.Index(p.outputs, p.of[o.base])] = o
}

// place is the output that an adapter's name of a tensor means, nil for none.
func (p *planner) place(name string) *output {
	if o := p.added[canonical(name)]; o != nil {
		return o
	}
	return p.of[p.base.find(name)]
}

// untie gives the model an output matrix of its own where it shares the embedding
// and the adapter changes one of the two: the other stays what it was in training.
func (p *planner) untie(b Base) {
	embedding, own := p.base.find(embeddingName), p.base.find(headName)
	if b.Classifier || own != nil && !b.Tied {
		return
	}
	head, whole := p.adapter.changes(isHead)
	input, trained := p.adapter.changes(isEmbedding)
	if !head && (!input || trained != nil && p.adapter.Config.keepTied) {
		return
	}
	p.Untied = true
	o := &output{name: headName, dtype: embedding.DType, shape: embedding.Shape, base: own, start: embedding}
	if own != nil {
		o.name = own.Name
	}
	if whole == nil {
		o.whole = p.adapter.original(isEmbedding)
	}
	p.add(o)
}

// addScore makes room for a classification head that the base lacks.
func (p *planner) addScore() {
	w, embedding := p.adapter.wholes[scoreName], p.base.find(embeddingName)
	if w == nil || p.base.find(scoreName) != nil {
		return
	}
	shape := slices.Clone(embedding.Shape)
	if len(w.header.Shape) > 0 && len(shape) > 0 {
		shape[0] = w.header.Shape[0]
	}
	p.add(&output{name: scoreName, dtype: embedding.DType, shape: shape})
}

// changes reports whether the adapter changes such a tensor, and what takes its
// place. The original weights that are saved beside an update change nothing.
func (a *Adapter) changes(is func(string) bool) (bool, *whole) {
	for name, w := range a.wholes {
		if is(name) && !w.original {
			return true, w
		}
	}
	return slices.ContainsFunc(sortedKeys(a.pairs), func(module string) bool { return is(module + ".weight") }), nil
}

func (a *Adapter) original(is func(string) bool) *whole {
	for name, w := range a.wholes {
		if is(name) && w.original {
			return w
		}
	}
	return nil
}

// assign puts all that the adapter holds into the outputs.
func (p *planner) assign() error {
	var left []string
	for _, name := range sortedKeys(p.adapter.wholes) {
		w := p.adapter.wholes[name]
		o := p.place(name)
		if o == nil {
			left = append(left, w.header.Name)
		} else if err := o.replace(w); err != nil {
			return err
		}
	}
	for _, module := range sortedKeys(p.adapter.pairs) {
		pr := p.adapter.pairs[module]
		o := p.place(module + ".weight")
		if o == nil {
			left = append(left, pr.a.Name, pr.b.Name)
		} else if err := o.update(pr, &p.adapter.Config); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	err := fmt.Errorf("%d adapter tensors have no place in the base, which is another model than the adapter's: %s", len(left), some(left))
	if slices.Contains(left, prefix+scoreName) {
		err = fmt.Errorf("%w; %s is a classification head, and config.json names an architecture without", err, scoreName)
	}
	return err
}

func (o *output) replace(w *whole) error {
	if !slices.Equal(w.header.Shape, o.shape) {
		return fmt.Errorf("adapter tensor %q has shape %v, and the base calls for %v: it is another model, or its vocabulary was resized", w.header.Name, w.header.Shape, o.shape)
	}
	if o.whole != nil && !o.whole.original {
		return fmt.Errorf("adapter tensors %q and %q are for the same weights", o.whole.header.Name, w.header.Name)
	}
	o.whole = w
	return nil
}

func (o *output) update(pr *pair, c *Config) error {
	if o.whole != nil && !o.whole.original {
		return fmt.Errorf("module %q: the adapter has its weights whole, and an update of them", pr.module)
	}
	if o.pair != nil {
		return fmt.Errorf("modules %q and %q are the same in the base", o.pair.module, pr.module)
	}
	o.pair, o.scale, o.across = pr, c.scale(pr.module), pr.embedding || c.fanInOut
	rows, cols := pr.b.Shape[0], pr.a.Shape[1]
	if o.across {
		rows, cols = cols, rows
	}
	if !slices.Equal(o.shape, []int{rows, cols}) {
		return fmt.Errorf("module %q: lora_A of shape %v and lora_B of shape %v make an update of %d × %d, and the base's weight has shape %v: it is another model",
			pr.module, pr.a.Shape, pr.b.Shape, rows, cols, o.shape)
	}
	return nil
}

// shown is how many names an error lists.
const shown = 3

func some(names []string) string {
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

var layer = regexp.MustCompile(`^model\.layers\.\d+\..*`)

// untouched names the modules that should have an update and have none. Only
// names can tell, and only of the layers of the language model: the adapter of a
// multimodal model may have left the others out.
func (p *planner) untouched() error {
	return p.adapter.Config.untouched(func(yield func(string) bool) {
		for _, o := range p.outputs {
			if len(o.shape) == 2 && o.pair == nil && o.whole == nil && !yield(canonical(o.name)) {
				return
			}
		}
	})
}

// untouched looks at the matrices without an update, by their canonical names.
func (c *Config) untouched(matrices iter.Seq[string]) error {
	if c.selective {
		return nil
	}
	var names []string
	for name := range matrices {
		module, ok := strings.CutSuffix(name, ".weight")
		if ok && layer.MatchString(module) && c.targets.includes(module) {
			names = append(names, module)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("the adapter's file has no tensors for %d modules that adapter_config.json targets: it is incomplete, or of another model: %s", len(names), some(names))
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
