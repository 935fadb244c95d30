package importer

import (
	"context"
	"io"
	"os"
	"path"
	"path/filepath"

	"cubby/models"
	"cubby/models/checkpoint"
)

// Converter writes the model in a Hugging Face folder as GGUF, with its tokenizer,
// and says what knew its family.
type Converter func(ctx context.Context, dir string, w io.Writer) (by string, err error)

// ggufName is what converted weights are called.
const ggufName = "model.gguf"

// conversion is what becomes of weights that no engine reads as safetensors.
type conversion struct {
	convert Converter
	by      string // what did it, once it is done
}

func (c *conversion) note() string {
	if c == nil {
		return ""
	}
	return "converted at import from safetensors to GGUF by " + c.by
}

// foreign decides whether a form's weights are converted: safetensors that the
// native engine does not know, or that are quantized.
func (p *pack) foreign(f *form, o Options) error {
	if f.kind != models.Merged || o.Convert == nil {
		return nil
	}
	dir := path.Dir(f.weights)
	config, err := []byte(nil), error(nil)
	if f.merging != nil {
		config = f.merging.config
	} else {
		config, err = p.read(path.Join(dir, configName), maxJSON)
	}
	if err != nil || o.Quantize.Scheme == "" && !checkpoint.HFForeign(config) {
		return err
	}
	f.conversion = &conversion{convert: o.Convert}
	f.weights = path.Join(dir, ggufName)
	if f.merging == nil {
		f.keep = nil // all that matters of it is in the GGUF file
	}
	return nil
}

// convert writes the form's weights into the model. Those of a merge are computed
// into a folder first: a conversion reads them in another order.
func (p *pack) convert(ctx context.Context, f form) error {
	dir := p.path(path.Dir(f.weights))
	if f.merging != nil {
		dir = filepath.Join(p.stage.Scratch(), "merged-to-convert")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := f.merging.keep(func(name string, r io.Reader) error { return writeInto(ctx, dir, name, r) }); err != nil {
			return err
		}
	}
	write := func(w io.Writer) (err error) {
		f.conversion.by, err = f.conversion.convert(ctx, dir, w)
		return err
	}
	err := piped(write, func(r io.Reader) error { return p.stage.Write(ctx, ggufName, r) })
	if f.merging != nil && err == nil {
		err = os.RemoveAll(dir)
	}
	return err
}

func writeInto(ctx context.Context, dir, name string, r io.Reader) error {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, models.ContextReader{Ctx: ctx, R: r})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
