package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/lora"
)

// The files of a model whose adapter is kept beside its base.
const (
	keptBase    = "base.gguf"
	keptAdapter = "adapter.gguf"
)

// keptForm is the form of a package whose adapter is to be kept, whatever else it
// holds.
func (p *pack) keptForm() (form, error) {
	if len(p.find(inAdapter)) == 0 {
		return form{}, errors.New("it holds no LoRA adapter that could be kept: leave -keep-adapter out")
	}
	f, err := p.adapter()
	if err != nil {
		return f, err
	}
	f.kind, f.weights, f.merging.beside = models.Adapted, keptBase, true
	return f, nil
}

// planBeside finds out what of the base and of the package makes the model.
func (p *pack) planBeside(g *merging) error {
	if task := g.adapter.Config.Task; task == classifierTask {
		return fmt.Errorf("the adapter is for a classification head, which llama.cpp takes no adapter for; %w", lora.ErrMergeInstead)
	} else if err := checkTask(task, false); err != nil {
		return err
	}
	info, err := os.Stat(g.base)
	if err != nil {
		return err
	}
	if !info.IsDir() && (!info.Mode().IsRegular() || !isGGUF(g.base)) {
		return errors.New("it is neither a folder of the Hugging Face hub nor a .gguf file")
	}
	return p.chooseTokenizer(g, "")
}

func isGGUF(name string) bool { return strings.EqualFold(filepath.Ext(name), ".gguf") }

// keepBeside puts base and adapter into the stage.
func (g *merging) keepBeside(ctx context.Context, stage *models.Stage) (err error) {
	for _, name := range slices.Sorted(maps.Keys(g.files)) {
		if err := writeFrom(ctx, stage, name, g.files[name]); err != nil {
			return err
		}
	}
	if err := g.writeBase(ctx, stage); err != nil {
		return fmt.Errorf("the base %s: %w", g.base, err)
	}
	files := stage.Files()
	g.baseDigest = files[len(files)-1].SHA256
	data, release, err := stage.Map(keptBase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	base, err := gguf.Parse(data)
	if err != nil {
		return fmt.Errorf("the base %s: %w", g.base, err)
	}
	c, err := g.adapter.Convert(base)
	if err != nil {
		return fmt.Errorf("the base %s: %w%s", g.base, err, g.wanted())
	}
	return piped(c.Write, func(r io.Reader) error { return stage.Write(ctx, keptAdapter, r) })
}

// writeBase puts the base into the stage, one of the hub as GGUF. The bytes depend on
// the base alone, so that all its adapters share them.
func (g *merging) writeBase(ctx context.Context, stage *models.Stage) error {
	if isGGUF(g.base) {
		return writeFrom(ctx, stage, keptBase, g.base)
	}
	if g.convert == nil {
		return errors.New("nothing here converts it to GGUF")
	}
	write := func(w io.Writer) error {
		_, err := g.convert(ctx, g.base, w)
		return err
	}
	err := piped(write, func(r io.Reader) error { return stage.Write(ctx, keptBase, r) })
	if unknown, _ := errors.AsType[*checkpoint.UnsupportedError](err); unknown != nil {
		return fmt.Errorf("%w; a GGUF file of it can be named: -base FILE.gguf", err)
	}
	return err
}
