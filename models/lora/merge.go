package lora

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	goruntime "runtime"
	"slices"
	"sync"

	"cubby/models/gguf"
	"cubby/models/safetensors"
)

// chunkBytes is how much of a matrix is read, computed and written at a time; at
// least one row.
const chunkBytes = 4 << 20

// Write writes the merged weights as one safetensors file, reading each of the
// base's files once from beginning to end. It can be called once.
func (m *Merge) Write(w io.Writer) error {
	list := make([]safetensors.Content, len(m.outputs))
	for i, o := range m.outputs {
		list[i] = safetensors.Content{Name: o.name, DType: o.dtype, Shape: o.shape, Write: func(w io.Writer) error { return m.write(w, o) }}
	}
	if err := safetensors.Write(w, list); err != nil {
		return err
	}
	for _, f := range m.files {
		if err := f.skipTo(f.Size); err != nil {
			return err
		}
	}
	return nil
}

// Digests returns the SHA-256 of each of the base's files, as they were read by
// Write.
func (m *Merge) Digests() [][sha256.Size]byte {
	list := make([][sha256.Size]byte, len(m.files))
	for i, f := range m.files {
		copy(list[i][:], f.hash.Sum(nil))
	}
	return list
}

// stream is one of the base's files on its way through the hash.
type stream struct {
	File
	r    *bufio.Reader
	hash hash.Hash
	pos  int64
}

func newStream(f File) *stream {
	s := &stream{File: f, hash: sha256.New()}
	s.r = bufio.NewReaderSize(io.TeeReader(io.NewSectionReader(f.R, 0, f.Size), s.hash), 1<<20)
	return s
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.pos += int64(n)
	return n, err
}

func (s *stream) skipTo(offset int64) error {
	if _, err := io.CopyN(io.Discard, s, offset-s.pos); err != nil {
		return fmt.Errorf("%s: %w", s.Name, short(err))
	}
	return nil
}

// short says what an end before the size means.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (m *Merge) write(w io.Writer, o *output) error {
	src, dtype, err := m.source(o)
	if err != nil {
		return err
	}
	if o.pair == nil && o.whole == nil {
		if _, err := io.CopyN(w, src, sizeOf(o.shape, dtype)); err != nil {
			return short(err)
		}
		return nil
	}
	u, err := m.adapter.factors(o)
	if err != nil {
		return err
	}
	x := mixer{from: types[dtype], to: types[o.dtype], update: u, whole: o.whole, cols: columns(o.shape)}
	return x.copy(w, src, sizeOf(o.shape, dtype))
}

// source is where the weights come from that an update is added to.
func (m *Merge) source(o *output) (io.Reader, string, error) {
	if o.base != nil {
		f := m.files[o.base.file]
		if err := f.skipTo(o.base.Offset); err != nil {
			return nil, "", err
		}
		if o.whole == nil && o.start == o.base {
			return f, o.base.DType, nil
		}
	}
	if w := o.whole; w != nil {
		return io.NewSectionReader(m.adapter.file, w.header.Offset, w.header.Size), w.header.DType, nil
	}
	return io.NewSectionReader(m.files[o.start.file].R, o.start.Offset, o.start.Size), o.start.DType, nil
}

func sizeOf(shape []int, dtype string) int64 {
	n := int64(types[dtype].RowSize(1))
	for _, d := range shape {
		n *= int64(d)
	}
	return n
}

// update is a product of two factors, for rows of the base's matrix as they are
// stored.
type update struct {
	rank  int
	left  []float32 // rows × rank
	right []float64 // rank × columns
	scale float64
}

// factors reads the two factors of an output's update; nil where it has none.
func (a *Adapter) factors(o *output) (*update, error) {
	if o.pair == nil {
		return nil, nil
	}
	down, err := a.read(o.pair.a)
	if err != nil {
		return nil, err
	}
	up, err := a.read(o.pair.b)
	if err != nil {
		return nil, err
	}
	u := &update{rank: o.pair.a.Shape[0], left: up, scale: o.scale}
	if o.across { // (B·A)ᵀ = Aᵀ·Bᵀ
		u.left, down = transposed(down, u.rank), transposed(up, o.pair.b.Shape[0])
	}
	u.right = make([]float64, len(down))
	for i, v := range down {
		u.right[i] = float64(v)
	}
	return u, nil
}

func (a *Adapter) read(h *safetensors.Header) ([]float32, error) {
	data := make([]byte, h.Size)
	if _, err := io.ReadFull(io.NewSectionReader(a.file, h.Offset, h.Size), data); err != nil {
		return nil, fmt.Errorf("adapter tensor %q: %w", h.Name, short(err))
	}
	values := make([]float32, len(data)/types[h.DType].RowSize(1))
	gguf.Dequantize(values, data, types[h.DType])
	if !finite(values) {
		return nil, notFinite(h.Name)
	}
	return values, nil
}

func notFinite(name string) error {
	return fmt.Errorf("adapter tensor %q has values that are not finite numbers: the training failed, or the file is damaged", name)
}

// transposed turns a matrix of so many rows.
func transposed(m []float32, rows int) []float32 {
	out := make([]float32, len(m))
	for i := range rows {
		for j := range len(m) / rows {
			out[j*rows+i] = m[i*len(m)/rows+j]
		}
	}
	return out
}

// mixer converts a tensor row by row and adds its update.
type mixer struct {
	from, to gguf.Type
	update   *update
	whole    *whole
	cols     int
}

// columns is the length of the rows that a tensor is handled in.
func columns(shape []int) int {
	if len(shape) == 0 {
		return 1
	}
	return shape[len(shape)-1]
}

func (x *mixer) copy(w io.Writer, src io.Reader, size int64) error {
	if size == 0 {
		return nil
	}
	rowSize, outSize := x.from.RowSize(x.cols), x.to.RowSize(x.cols)
	rows, step := int(size/int64(rowSize)), max(1, chunkBytes/rowSize)
	in, out := make([]byte, min(rows, step)*rowSize), make([]byte, min(rows, step)*outSize)
	for first := 0; first < rows; first += step {
		n := min(step, rows-first)
		if _, err := io.ReadFull(src, in[:n*rowSize]); err != nil {
			return short(err)
		}
		if err := x.rows(out, in[:n*rowSize], first); err != nil {
			return err
		}
		if _, err := w.Write(out[:n*outSize]); err != nil {
			return err
		}
	}
	return nil
}

// rows computes rows from the first on, shared among all processors.
func (x *mixer) rows(out, in []byte, first int) error {
	fromSize, toSize := x.from.RowSize(x.cols), x.to.RowSize(x.cols)
	n := len(in) / fromSize
	workers := min(n, goruntime.GOMAXPROCS(0))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			values, sum := make([]float32, x.cols), make([]float64, x.cols)
			for row := i * n / workers; row < (i+1)*n/workers && errs[i] == nil; row++ {
				gguf.Dequantize(values, in[row*fromSize:(row+1)*fromSize], x.from)
				errs[i] = x.row(out[row*toSize:(row+1)*toSize], values, sum, first+row)
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

func (x *mixer) row(out []byte, values []float32, sum []float64, row int) error {
	if x.whole != nil && !finite(values) {
		return notFinite(x.whole.header.Name)
	}
	clear(sum)
	scale := 0.0
	if u := x.update; u != nil {
		u.add(sum, row)
		scale = u.scale
	}
	for j, v := range values {
		sum[j] = float64(v) + float64(scale*sum[j])
	}
	if !encode(out, sum, x.to) {
		return fmt.Errorf("row %d is too large for %s, or not a number, once it is merged; use a base in another type", row, x.to)
	}
	return nil
}

// add adds a row of the product, not scaled. Products are rounded before they are added, so
// that all machines give the same bits.
func (u *update) add(sum []float64, row int) {
	cols := len(sum)
	left := u.left[row*u.rank : (row+1)*u.rank]
	for ; len(left) >= 4; left = left[4:] {
		k := u.rank - len(left)
		b0, b1, b2, b3 := float64(left[0]), float64(left[1]), float64(left[2]), float64(left[3])
		a0, a1 := u.right[k*cols:][:cols], u.right[(k+1)*cols:][:cols]
		a2, a3 := u.right[(k+2)*cols:][:cols], u.right[(k+3)*cols:][:cols]
		for j := range sum {
			sum[j] += float64(b0*a0[j]) + float64(b1*a1[j]) + float64(b2*a2[j]) + float64(b3*a3[j])
		}
	}
	for i, v := range left {
		k := u.rank - len(left) + i
		b, a := float64(v), u.right[k*cols:][:cols]
		for j := range sum {
			sum[j] += float64(b * a[j])
		}
	}
}

// Fingerprint is what a merge's note calls the base's weights: the digest of a
// single file, or, of several, that of the list that sha256sum prints of them.
func (m *Merge) Fingerprint() [sha256.Size]byte {
	digests := m.Digests()
	if len(digests) == 1 {
		return digests[0]
	}
	h := sha256.New()
	for i, d := range digests {
		fmt.Fprintf(h, "%s  %s\n", hex.EncodeToString(d[:]), m.files[i].Name)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
