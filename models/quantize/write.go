package quantize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"cubby/models/gguf"
)

const (
	fileTypeKey  = "general.file_type"
	versionKey   = "general.quantization_version"
	alignmentKey = "general.alignment"
)

// quantizationVersion is that of ggml's formats.
const quantizationVersion = 2

// chunkValues is about how many values one core rounds at a time: they take some
// megabytes of memory.
const chunkValues = 1 << 18

// Write writes the file. Its memory is some megabytes a core, whatever the size of
// the model. Release, unless it is nil, is called when a tensor's bytes were read
// and are not needed any more.
func (p *Plan) Write(ctx context.Context, w io.Writer, release func()) error {
	tensors := p.file.Tensors()
	contents := make([]gguf.Content, len(tensors))
	for i, t := range tensors {
		to := p.types[t.Name]
		size := int64(rowsOf(t)) * int64(to.RowSize(int(t.Shape[0])))
		contents[i] = gguf.Content{Name: t.Name, Type: to, Shape: t.Shape, Size: size, Write: func(w io.Writer) error {
			if err := write(ctx, w, t, to); err != nil {
				return err
			}
			if release != nil {
				release()
			}
			return nil
		}}
	}
	return gguf.Write(w, p.metadata(), contents)
}

// metadata is the file's, with what is different now. The alignment is that of the
// writer.
func (p *Plan) metadata() []gguf.Meta {
	changed := func(m gguf.Meta) bool { return slices.Contains([]string{fileTypeKey, versionKey, alignmentKey}, m.Key) }
	return append(slices.DeleteFunc(p.file.Meta(), changed),
		gguf.Meta{Key: versionKey, Value: uint32(quantizationVersion)},
		gguf.Meta{Key: fileTypeKey, Value: schemes[p.scheme].fileType})
}

// write rounds a tensor, or copies one that stays, a few rows a core at a time.
func write(ctx context.Context, w io.Writer, t gguf.Tensor, to gguf.Type) error {
	cols := int(t.Shape[0])
	in, out := t.Type.RowSize(cols), to.RowSize(cols)
	rows, chunk := int(rowsOf(t)), max(1, chunkValues/cols)
	workers := make([]rounder, runtime.GOMAXPROCS(0))
	errs := make([]error, len(workers))
	buffer := make([]byte, min(rows, chunk*len(workers))*out)
	for first := 0; first < rows; {
		var g sync.WaitGroup
		begin := first
		for i := 0; i < len(workers) && first < rows; i++ {
			n := min(chunk, rows-first)
			src, dst, at := t.Data[first*in:(first+n)*in], buffer[(first-begin)*out:(first-begin+n)*out], first
			g.Go(func() {
				if row, err := workers[i].rows(dst, src, cols, t.Type, to); err != nil {
					errs[i] = fmt.Errorf("tensor %q, row %d: %w", t.Name, at+row, err)
				}
			})
			first += n
		}
		g.Wait()
		if err := errors.Join(append(errs, ctx.Err())...); err != nil {
			return err
		}
		if _, err := w.Write(buffer[:(first-begin)*out]); err != nil {
			return err
		}
	}
	return nil
}

// rounder rounds rows on one core.
type rounder struct{ values []float32 }

// rows returns the row that an error is of.
func (r *rounder) rows(dst, src []byte, cols int, from, to gguf.Type) (row int, err error) {
	if from == to {
		copy(dst, src)
		return 0, nil
	}
	if r.values == nil {
		r.values = make([]float32, cols)
	}
	in, out := from.RowSize(cols), to.RowSize(cols)
	for ; len(src) > 0; row++ {
		gguf.Dequantize(r.values, src[:in], from)
		if err := Encode(dst[:out], r.values, to); err != nil {
			return row, err
		}
		src, dst = src[in:], dst[out:]
	}
	return row, nil
}
