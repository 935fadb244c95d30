package hub

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Choice is what of a commit makes a model.
type Choice struct {
	Weights []File // a GGUF, safetensors, or an adapter
	Beside  []File // small: configuration, tokenizer, prompt, labels, licences
	Passed  []File // GGUFs that were not chosen
	Adapter bool   // the weights are those of an adapter alone
}

// Size is that of all chosen files, in bytes.
func (c Choice) Size() (n int64) {
	for _, f := range c.All() {
		n += f.Size
	}
	return n
}

// All lists the chosen files, the small ones first.
func (c Choice) All() []File { return slices.Concat(c.Beside, c.Weights) }

// Has reports whether a file of that base name is among the chosen.
func (c Choice) Has(base string) bool {
	return slices.ContainsFunc(c.All(), func(f File) bool { return path.Base(f.Path) == base })
}

// wanted are the small files that make a model, or come with it, and the most bytes
// that they may have: what a tokenizer needs, what the prompt and the labels are
// read from, the terms, and what the model was tested on.
var wanted = []struct {
	name  *regexp.Regexp
	limit int64
}{
	{regexp.MustCompile(`^(config|generation_config|special_tokens_map|tokenizer_config|adapter_config|job_description)\.json$`), 16 << 20},
	{regexp.MustCompile(`^tokenizer\.json$`), 256 << 20},
	{regexp.MustCompile(`^(model_client\.py|chat_template\.jinja|config\.yaml|Modelfile)$`), 4 << 20},
	{regexp.MustCompile(`^(README\.md|NOTICE(\.txt|\.md)?|([A-Z]+_)?LICENSE(\.txt|\.md)?)$`), 4 << 20},
	{regexp.MustCompile(`^model\.safetensors\.index\.json$`), 16 << 20},
	{regexp.MustCompile(`^(test\.(jsonl|csv)|predictions\.jsonl|metrics\.json)$`), 64 << 20},
}

func isWanted(f File) bool {
	for _, w := range wanted {
		if w.name.MatchString(path.Base(f.Path)) {
			return f.Size <= w.limit
		}
	}
	return false
}

// Choose chooses the files of a model: the named GGUF; else the safetensors, which
// are exact where a GGUF beside them may be rounded; else the only GGUF; else the
// adapter. Files that can run code when they are read are never chosen.
func Choose(r Ref, files []File) (c Choice, err error) {
	ggufs := filter(files, func(f File) bool {
		return path.Ext(f.Path) == ".gguf" && !strings.HasPrefix(path.Base(f.Path), "mmproj")
	})
	if r.File != "" {
		return chooseNamed(r, files, ggufs)
	}
	tensors := filter(files, func(f File) bool { return path.Ext(f.Path) == ".safetensors" && !ofAdapter(f.Path) })
	adapters := filter(files, func(f File) bool { return path.Base(f.Path) == "adapter_model.safetensors" })
	switch {
	case len(tensors) > 0:
		c.Weights, err = safetensors(r, tensors)
		c.Passed = ggufs
	case len(ggufs) > 0 && len(filter(ggufs, isWhole)) == 0:
		err = unsplit(r, ggufs[0])
	case len(filter(ggufs, isWhole)) == 1:
		c.Weights = filter(ggufs, isWhole)
	case len(ggufs) > 1:
		err = several(r, filter(ggufs, isWhole))
	case len(adapters) == 1:
		c.Weights, c.Adapter = adapters, true
	case len(adapters) > 1:
		err = fmt.Errorf("%s holds several adapters: %s; download one with hf download, then run fetch import on its folder", r, paths(adapters))
	default:
		err = nothing(r, files)
	}
	if err != nil {
		return Choice{}, err
	}
	c.Beside = beside(files, path.Dir(c.Weights[0].Path))
	for _, name := range needs(c) {
		if !slices.ContainsFunc(c.Beside, func(f File) bool { return f.Path == path.Join(path.Dir(c.Weights[0].Path), name) }) {
			return Choice{}, fmt.Errorf("%s has no %s beside %s: it cannot be imported; look for another repo of the model, or for a GGUF", r, name, c.Weights[0].Path)
		}
	}
	return c, nil
}

// needs lists what must lie beside the weights.
func needs(c Choice) []string {
	switch {
	case c.Adapter:
		return []string{"adapter_config.json"}
	case path.Ext(c.Weights[0].Path) == ".safetensors":
		return []string{"config.json", "tokenizer.json"}
	}
	return nil
}

func chooseNamed(r Ref, files, ggufs []File) (Choice, error) {
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == r.File })
	switch {
	case path.Ext(r.File) != ".gguf":
		whole := r
		whole.File = ""
		return Choice{}, fmt.Errorf("%s: of single files only GGUFs can be pulled; for safetensors leave the file out: fetch pull %s", r, whole)
	case i < 0 && len(ggufs) == 0:
		return Choice{}, fmt.Errorf("%s: the repo has no such file, and no GGUF at all", r)
	case i < 0:
		whole := r
		whole.File = ""
		return Choice{}, fmt.Errorf("the repo has no file %s; %w", r.File, several(whole, ggufs))
	}
	if err := unsplit(r, files[i]); err != nil {
		return Choice{}, err
	}
	passed := slices.DeleteFunc(ggufs, func(f File) bool { return f.Path == r.File })
	return Choice{Weights: files[i : i+1], Beside: beside(files, path.Dir(r.File)), Passed: passed}, nil
}

// several lists GGUFs, each with the command that pulls it.
func several(r Ref, ggufs []File) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s holds several GGUFs; pull one of them:", r)
	for _, f := range ggufs {
		one := r
		one.File = f.Path
		fmt.Fprintf(&b, "\n  fetch pull %s    # %s", one, humanize.IBytes(uint64(f.Size)))
	}
	return fmt.Errorf("%s", b.String())
}

var shardName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.[a-z]+$`)

func isWhole(f File) bool { return !shardName.MatchString(path.Base(f.Path)) }

func unsplit(r Ref, f File) error {
	if !isWhole(f) {
		return fmt.Errorf("%s: %s is one part of a GGUF in several files, which cannot be imported; join them with llama-gguf-split --merge, then run fetch import", r, f.Path)
	}
	return nil
}

// safetensors returns the weights of the shallowest folder that has some: one file,
// or a set of shards.
func safetensors(r Ref, tensors []File) ([]File, error) {
	depth := func(f File) int { return strings.Count(f.Path, "/") }
	least := depth(slices.MinFunc(tensors, func(a, b File) int { return depth(a) - depth(b) }))
	tensors = filter(tensors, func(f File) bool { return depth(f) == least })
	dir := path.Dir(tensors[0].Path)
	for _, f := range tensors {
		if path.Dir(f.Path) != dir {
			return nil, fmt.Errorf("%s holds safetensors in several folders: %s and %s; download one with hf download, then run fetch import on it", r, tensors[0].Path, f.Path)
		}
	}
	for _, f := range tensors {
		if path.Base(f.Path) == "model.safetensors" {
			return []File{f}, nil
		}
	}
	if len(tensors) == 1 && !shardName.MatchString(path.Base(tensors[0].Path)) {
		return tensors, nil
	}
	return shards(r, tensors)
}

// shards returns the set called model-…, of several the one of the fewest files, else
// the only one, if it is whole.
func shards(r Ref, tensors []File) ([]File, error) {
	sets := map[string][]File{}
	for _, f := range tensors {
		if m := shardName.FindStringSubmatch(path.Base(f.Path)); m != nil {
			key := m[1] + "-of-" + m[3]
			sets[key] = append(sets[key], f)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		set := sets[key]
		if strings.HasPrefix(key, "model-of-") || len(sets) == 1 {
			want, _ := strconv.Atoi(key[len(key)-5:])
			if len(set) != want {
				return nil, fmt.Errorf("%s has %d of the %d files that its weights should have: %s", r, len(set), want, paths(set))
			}
			return set, nil
		}
	}
	return nil, fmt.Errorf("%s holds several safetensors files, and which of them make the model is not to be told: %s; download them with hf download, then run fetch import on the folder", r, paths(tensors))
}

// nothing says why there is no model in the files.
func nothing(r Ref, files []File) error {
	pickled := filter(files, func(f File) bool {
		return slices.Contains([]string{".bin", ".pt", ".pth", ".pkl", ".ckpt"}, path.Ext(f.Path))
	})
	if len(pickled) > 0 {
		return fmt.Errorf("%s holds weights only in a form that can run code when it is read: %s; look for a repo with safetensors or a GGUF, or save them with safe_serialization=True", r, paths(pickled))
	}
	return fmt.Errorf("%s holds no model that can be imported: neither safetensors nor a GGUF", r)
}

// beside lists the wanted small files of the folder of the weights and of those
// above it, the nearest of each name.
func beside(files []File, dir string) []File {
	var all []File
	for {
		for _, f := range files {
			same := func(g File) bool { return path.Base(g.Path) == path.Base(f.Path) }
			if path.Dir(f.Path) == dir && isWanted(f) && !slices.ContainsFunc(all, same) {
				all = append(all, f)
			}
		}
		if dir == "." {
			return all
		}
		dir = path.Dir(dir)
	}
}

// ofAdapter reports whether a file belongs to an adapter beside the weights.
func ofAdapter(name string) bool {
	for _, dir := range strings.Split(path.Dir(name), "/") {
		if dir == "model-adapter" || dir == "model-adapters" {
			return true
		}
	}
	return strings.HasPrefix(path.Base(name), "adapter_")
}

func filter(files []File, keep func(File) bool) []File {
	return slices.DeleteFunc(slices.Clone(files), func(f File) bool { return !keep(f) })
}

// paths lists files for a message, not too many of them.
func paths(files []File) string {
	const most = 8
	var names []string
	for _, f := range files[:min(len(files), most)] {
		names = append(names, f.Path)
	}
	if len(files) > most {
		names = append(names, fmt.Sprintf("and %d more", len(files)-most))
	}
	return strings.Join(names, ", ")
}
