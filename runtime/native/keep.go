package native

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	goruntime "runtime"
	"runtime/debug"
	"strings"

	"cubby/labels"
	"cubby/runtime/native/kernel"
	"cubby/runtime/native/sections"
)

// Files keeps what engines have computed from one artefact, from one process to
// the next.
type Files interface {
	// Open returns a file's bytes, which nobody changes. They are valid until
	// release, and longer than any prefix of the engines that use them. Without
	// such a file the error is fs.ErrNotExist.
	Open(name string) (data []byte, release func() error, err error)
	// Create replaces a file as a whole by what write gives, or not at all.
	Create(name string, write func(io.Writer) error) error
}

// arithmetic names the bits that this engine computes for a prefix. It is to be
// raised with any change that moves them: TestPrefixBitsOfThisArithmetic fails
// until it is.
const arithmetic = 1

// key says what a kept file was computed from, and by what.
type key struct {
	Kind       string       `json:"kind"` // also what the file's name begins with
	Artifact   string       `json:"artifact"`
	Level      kernel.Level `json:"level"`
	Precision  Precision    `json:"precision"`
	Target     string       `json:"target"` // byte order, and what the compiler fuses: "amd64/v1"
	Go         string       `json:"go"`
	Layout     int          `json:"layout"`
	Arithmetic int          `json:"arithmetic,omitempty"`
	Chunk      int          `json:"chunk,omitempty"`  // tokens a pass of the prefix
	Tokens     string       `json:"tokens,omitempty"` // SHA-256 of the prefix's
}

func (k key) file() string { return fmt.Sprintf("%s-%s-%s", k.Kind, k.Level, k.Precision) }

// keeper recalls and keeps; without files it does neither.
type keeper struct {
	files   Files
	log     *slog.Logger
	owner   owner
	release func() error // of the mapped weights
}

func newKeeper(opt Options, o owner) keeper {
	k := keeper{files: opt.Files, log: opt.Log, owner: o}
	if opt.Artifact == "" || opt.Precision == Float32 {
		k.files = nil
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

func (k *keeper) weightsKey() key {
	return key{
		Kind: "weights", Artifact: k.owner.artifact, Level: k.owner.level, Precision: k.owner.precision,
		Target: target(), Go: goruntime.Version(), Layout: kernel.LayoutVersion,
	}
}

// target is what the program was compiled for: GOARCH and its variant, such as
// GOAMD64.
func target() string {
	name := goruntime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GO"+strings.ToUpper(goruntime.GOARCH) {
				name += "/" + s.Value
			}
		}
	}
	return name
}

func (k *keeper) prefixKey(tokens []labels.Token) key {
	hash := sha256.New()
	for _, t := range tokens {
		_ = binary.Write(hash, binary.LittleEndian, int64(t))
	}
	c := k.weightsKey()
	c.Kind, c.Arithmetic, c.Chunk, c.Tokens = "prefix", arithmetic, k.owner.chunk, hex.EncodeToString(hash.Sum(nil))
	return c
}

// unmap lets go of the weights' file.
func (k *keeper) unmap() error {
	if k.release == nil {
		return nil
	}
	release := k.release
	k.release = nil
	return release()
}

// fill packs the products, or maps those that were packed before. Packed ones
// are written as they are made and then mapped, so that first and later starts
// run alike and take the same memory; they stay in memory only where that fails.
func (e *Engine) fill() {
	if e.files == nil {
		e.packAll()
		return
	}
	err := e.recallWeights()
	if err == nil {
		return
	}
	e.missed("weights", err)
	if err = e.keepWeights(); err == nil {
		err = e.recallWeights()
	}
	if err != nil {
		e.log.Warn("the packed weights are not kept: every start packs them anew", "error", err)
		e.packAll()
	}
}

// missed says why something is computed that could have been there.
func (e *Engine) missed(what string, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, sections.ErrStale):
		e.log.Info("kept "+what+" are replaced", "reason", err)
	default:
		e.log.Warn("kept "+what+" are damaged and replaced", "reason", err)
	}
}

func (e *Engine) packAll() {
	for _, p := range e.w.products {
		*p.to = e.packOne(p)
		e.drop()
	}
}

// packOne has a turn of the pool for itself: passes of other engines go between.
func (e *Engine) packOne(p product) *kernel.Matrix {
	e.pool.begin()
	defer e.pool.end()
	return e.w.pack(e.k, e.pool, p.parts...)
}

func (e *Engine) keepWeights() error {
	key := e.weightsKey()
	return e.files.Create(key.file(), func(w io.Writer) error {
		f := sections.NewWriter(w, key)
		for _, p := range e.w.products {
			if err := f.Section(e.packOne(p).Data()...); err != nil {
				return err
			}
			e.drop()
		}
		return f.Close()
	})
}

// slot is where a matrix of that kind and size belongs.
type slot struct {
	to      **kernel.Matrix
	kind    kernel.Weights
	n, cols int
}

// recallWeights takes every product from the kept file, or none.
func (e *Engine) recallWeights() error {
	slots := make([]slot, len(e.w.products))
	for i, p := range e.w.products {
		kind, n, cols := e.w.shape(p.parts)
		slots[i] = slot{p.to, kind, n, cols}
	}
	var err error
	e.release, err = e.recall(e.weightsKey(), slots)
	return err
}

// recall fills all slots with the matrices of a kept file, which stays mapped
// until unmap, or none of them. It checks every section: that reads every page,
// which the first pass would do anyway.
func (e *Engine) recall(key key, slots []slot) (unmap func() error, err error) {
	data, unmap, err := e.files.Open(key.file())
	if err != nil {
		return nil, err
	}
	matrices, err := e.matrices(data, key, slots)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", key.file(), err), unmap())
	}
	for i, s := range slots {
		*s.to = matrices[i]
	}
	return unmap, nil
}

func (e *Engine) matrices(data []byte, key key, slots []slot) ([]*kernel.Matrix, error) {
	f, err := sections.Parse(data, key)
	if err != nil {
		return nil, err
	}
	if f.Len() != len(slots) {
		return nil, fmt.Errorf("it has %d sections, not %d", f.Len(), len(slots))
	}
	list, errs := make([]*kernel.Matrix, len(slots)), make([]error, len(slots))
	read := task(func(_, i int) {
		if errs[i] = f.Check(i); errs[i] == nil {
			list[i], errs[i] = e.k.Stored(slots[i].kind, slots[i].n, slots[i].cols, f.Section(i))
		}
	})
	e.pool.begin()
	defer e.pool.end()
	e.pool.run(len(slots), &read)
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
	}
	return list, nil
}

// recallPrefix returns the kept prefix of those tokens, nil where there is none
// that can be used. It stays mapped as long as the files' owner lets it: engines
// that are closed leave their prefixes to others.
func (e *Engine) recallPrefix(tokens []labels.Token) *prefix {
	if e.files == nil || len(tokens) == 0 {
		return nil
	}
	pre, slots := emptyPrefix(e.w, len(tokens))
	if _, err := e.recall(e.prefixKey(tokens), slots); err != nil {
		e.missed("prefixes", err)
		return nil
	}
	pre.owner, pre.n = e.owner, len(tokens)
	return pre
}

func (e *Engine) keepPrefix(pre *prefix, tokens []labels.Token) {
	if e.files == nil || len(tokens) == 0 {
		return
	}
	key := e.prefixKey(tokens)
	err := e.files.Create(key.file(), func(w io.Writer) error {
		f := sections.NewWriter(w, key)
		for _, h := range pre.heads {
			for _, m := range []*kernel.Matrix{h.keys, h.values} {
				if err := f.Section(m.Data()...); err != nil {
					return err
				}
			}
		}
		return f.Close()
	})
	if err != nil {
		e.log.Warn("the prefix is not kept: every start computes it anew", "error", err)
	}
}
