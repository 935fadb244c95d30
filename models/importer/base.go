package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Bases finds the base models of packages that hold only an adapter.
type Bases interface {
	// Base returns the folder of a model that the Hugging Face hub knows by that
	// name: "Qwen/Qwen3-0.6B". fs.ErrNotExist is in the error where it has none.
	Base(ctx context.Context, name string) (folder string, err error)
}

// HubCache finds the models that Hugging Face's own programs have downloaded, in
// the folder they share.
type HubCache struct {
	Dir string // empty for the user's
}

var hubName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// Base implements Bases.
func (c HubCache) Base(_ context.Context, name string) (string, error) {
	if !hubName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of the hub: %w", name, fs.ErrNotExist)
	}
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = hubDir(); err != nil {
			return "", err
		}
	}
	dir = filepath.Join(dir, "models--"+strings.ReplaceAll(name, "/", "--"))
	data, err := readSmall(filepath.Join(dir, "refs", "main"), "refs/main", 1<<10)
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(data))
	if commit == "" || strings.Trim(commit, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%s does not name a commit; download the model again", filepath.Join(dir, "refs", "main"))
	}
	dir = filepath.Join(dir, "snapshots", commit)
	_, err = os.Stat(filepath.Join(dir, configName))
	return dir, err
}

// hubDir is where Hugging Face's programs keep downloads.
func hubDir() (string, error) {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return os.ExpandEnv(dir), nil
	}
	dir, err := HubHome()
	return filepath.Join(dir, "hub"), err
}

// HubHome is the folder of Hugging Face's own programs: HF_HOME, or huggingface in the
// user's cache.
func HubHome() (string, error) {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return os.ExpandEnv(dir), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "huggingface"), err
}

// publishers are who publishes the students that a training platform names
// without; a name begins with the family's.
var publishers = []struct{ family, publisher string }{
	{"Llama-", "meta-llama"}, {"Qwen", "Qwen"}, {"LFM", "LiquidAI"}, {"gemma-", "google"}, {"functiongemma-", "google"}, {"SmolLM", "HuggingFaceTB"},
}

// student is the base that the package's config.yaml names, which may be JSON too.
var student = regexp.MustCompile(`(?m)\bstudent_model_name["']?[ \t]*:[ \t]*["']?([^\s"',}]+)`)

// baseNames are the names that a package has for its base, the hub's first.
func (p *pack) baseNames(adapter string) []string {
	var names []string
	file := filepath.Join(p.beside, platformConfigName)
	if name, ok := p.named(platformConfigName); ok {
		file = p.path(name)
	}
	if data, err := readSmall(file, platformConfigName, maxJSON); err == nil {
		if m := student.FindSubmatch(data); m != nil {
			names = append(names, published(string(m[1])))
		}
	}
	if hubName.MatchString(adapter) {
		return append([]string{adapter}, names...)
	}
	return append(names, nonEmpty(adapter)...)
}

// published adds the publisher to a student's name.
func published(name string) string {
	for _, p := range publishers {
		if strings.HasPrefix(name, p.family) {
			return p.publisher + "/" + name
		}
	}
	return name
}

// locateBase returns the folder of the base.
func (p *pack) locateBase(ctx context.Context, o Options, names []string) (string, error) {
	if o.Base != "" {
		return o.Base, nil
	}
	if len(names) == 0 {
		return "", errors.New("it holds only a LoRA adapter, which does not say of which base model: name the folder of that with -base")
	}
	missing := fmt.Errorf("it holds only a LoRA adapter: the weights of its base model %s are not inside; download them with hf download %[1]s, where import then finds them, or name a folder that holds them: -base FOLDER", names[0])
	for i, bases := range []Bases{o.Bases, o.Remote} {
		if bases == nil {
			continue
		}
		for _, name := range names {
			dir, err := bases.Base(ctx, name)
			if err == nil || !errors.Is(err, fs.ErrNotExist) {
				return dir, err
			}
			if i == 1 {
				missing = fmt.Errorf("%w (%w)", missing, err)
			}
		}
	}
	return "", missing
}

// modelName is what a base's folder is called: by the hub, or its own name.
func modelName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	for _, part := range strings.Split(filepath.ToSlash(abs), "/") {
		if name, ok := strings.CutPrefix(part, "models--"); ok {
			return strings.Replace(name, "--", "/", 1)
		}
	}
	return filepath.Base(abs)
}

// sameModel compares names without their publishers or folders.
func sameModel(a, b string) bool { return strings.EqualFold(lastPart(a), lastPart(b)) }

// lastPart is a model's name without its publisher or folders.
func lastPart(name string) string {
	name = strings.TrimRight(strings.ReplaceAll(name, `\`, "/"), "/")
	return name[strings.LastIndexByte(name, '/')+1:]
}
