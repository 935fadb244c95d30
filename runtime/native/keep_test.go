package native

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
	"cubby/runtime/native/kernel"
	"cubby/runtime/native/sections"
)

// memoryFiles keeps files in memory and counts what is mapped.
type memoryFiles struct {
	mu     sync.Mutex
	files  map[string][]byte
	mapped map[string]int
	opened int   // files that were there when they were asked for
	full   error // of every Create
}

func newFiles() *memoryFiles {
	return &memoryFiles{files: map[string][]byte{}, mapped: map[string]int{}}
}

func (f *memoryFiles) Open(name string) ([]byte, func() error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[name]
	if !ok {
		return nil, nil, fs.ErrNotExist
	}
	f.opened++
	f.mapped[name]++
	return data, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mapped[name]--
		return nil
	}, nil
}

func (f *memoryFiles) Create(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if f.full != nil {
		return f.full
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = b.Bytes()
	return nil
}

// numbers returns what an engine computes, and what it logged.
func numbers(t *testing.T, m enginetest.Model, opt Options) ([]float32, string) {
	t.Helper()
	var log bytes.Buffer
	opt.Log, opt.Artifact = slog.New(slog.NewTextHandler(&log, nil)), "sha256:an artefact"
	e := open(t, m, opt)
	pre, err := e.Prefix(t.Context(), []labels.Token{1, 2, 3, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	list, err := logits(t.Context(), e, pre, []labels.Token{9, 8, 7, 6, 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return list, log.String()
}

// eachKept runs a test for every family and level, with what such an engine
// computes where nothing is kept.
func eachKept(t *testing.T, test func(t *testing.T, m enginetest.Model, opt Options, want []float32)) {
	for _, family := range enginetest.Families {
		for _, level := range kernel.Levels() {
			t.Run(family+", "+string(level), func(t *testing.T) {
				m, opt := enginetest.NewModel(family, 7), Options{CPU: string(level), Threads: 2}
				want, _ := numbers(t, m, opt)
				test(t, m, opt, want)
			})
		}
	}
}

// What is kept gives the same bits as what is computed, when it is written and
// whenever it is read; the weights' file is let go of with the engine.
func TestKeptFilesChangeNoBit(t *testing.T) {
	eachKept(t, func(t *testing.T, m enginetest.Model, opt Options, want []float32) {
		files := newFiles()
		opt.Files = files
		for start := range 3 {
			released := 0
			opt.Release = func() { released++ }
			got, log := numbers(t, m, opt)
			if !slices.Equal(got, want) || log != "" {
				t.Errorf("start %d: %v, want %v\n%s", start, got, want, log)
			}
			if packed := released > 1; packed != (start == 0) { // the output matrix alone is packed each time
				t.Errorf("start %d packed: %v", start, packed)
			}
		}
		if names := slices.Sorted(maps.Keys(files.files)); len(names) != 2 || files.opened != 1+2*2 {
			t.Errorf("%d openings of %q", files.opened, names)
		}
		for name, n := range files.mapped {
			if strings.HasPrefix(name, "weights") && n != 0 {
				t.Errorf("%s is still mapped %d times", name, n)
			}
		}
	})
}

// A file that is damaged, cut off, or of something else is replaced, and the
// answers stay.
func TestUnusableFilesAreReplaced(t *testing.T) {
	m, opt := enginetest.NewModel("llama", 8), Options{Threads: 2}
	want, _ := numbers(t, m, opt)
	files := newFiles()
	opt.Files = files
	numbers(t, m, opt)
	good := maps.Clone(files.files)
	for _, c := range []struct {
		name   string
		damage func(data []byte) []byte
		log    string
	}{
		{"a bit of the middle", func(d []byte) []byte { d[len(d)/2] ^= 4; return d }, "has the checksum"},
		{"a bit of the index", func(d []byte) []byte { d[len(d)-60] ^= 4; return d }, "its index has the checksum"},
		{"cut off", func(d []byte) []byte { return d[:len(d)-100] }, "cut off"},
		{"cut in half", func(d []byte) []byte { return d[:len(d)/2] }, "cut off"},
		{"empty", func([]byte) []byte { return nil }, "cut off"},
		{"zeros", func(d []byte) []byte { return make([]byte, len(d)) }, "cut off"},
		{"another artefact", func(d []byte) []byte { return rewrite(t, d, "an artefact", "another one") }, "computed from something else"},
		{"another level", func(d []byte) []byte { return rewrite(t, d, `"level":"`, `"level":"x`) }, "computed from something else"},
		{"another layout", func(d []byte) []byte { return rewrite(t, d, `"layout":1`, `"layout":9`) }, "computed from something else"},
		{"another toolchain", func(d []byte) []byte { return rewrite(t, d, `"go":"go`, `"go":"went`) }, "computed from something else"},
		{"no sections", func(d []byte) []byte { return resized(t, d, 0, 1) }, "it has 0 sections"},
		{"short sections", func(d []byte) []byte { return resized(t, d, 1, 2) }, "section 0"},
		{"long sections", func(d []byte) []byte { return resized(t, d, 2, 1) }, "section 0"},
	} {
		for name := range good {
			t.Run(c.name+", "+name, func(t *testing.T) {
				files.files = maps.Clone(good)
				files.files[name] = c.damage(bytes.Clone(good[name]))
				got, log := numbers(t, m, opt)
				if !slices.Equal(got, want) || !strings.Contains(log, c.log) {
					t.Errorf("%v, want %v; log %q, want %q", got, want, log, c.log)
				}
				if !bytes.Equal(files.files[name], good[name]) {
					t.Error("the file was not replaced")
				}
			})
		}
	}
	if n := files.mapped["weights-"+string(kernel.Levels()[0])+"-int8"]; n != 0 {
		t.Errorf("unusable files are still mapped %d times", n)
	}
}

// keyOf returns the key in a file.
func keyOf(t *testing.T, data []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(data), `,"key":`)
	key, _, found := strings.Cut(rest, `,"sections":`)
	if !ok || !found {
		t.Fatal("the file has no key")
	}
	return key
}

type rawKey string

func (k rawKey) MarshalJSON() ([]byte, error) { return []byte(k), nil }

// remade writes a whole file again under another key, its sections changed.
func remade(t *testing.T, data []byte, key string, change func([]byte) []byte) []byte {
	t.Helper()
	f, err := sections.Parse(data, rawKey(keyOf(t, data)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := sections.NewWriter(&b, rawKey(key))
	for i := range f.Len() {
		if s := change(f.Section(i)); s != nil {
			_ = w.Section(s)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func rewrite(t *testing.T, data []byte, old, replacement string) []byte {
	key := keyOf(t, data)
	if !strings.Contains(key, old) {
		t.Fatalf("no %s in the key %s", old, key)
	}
	return remade(t, data, strings.Replace(key, old, replacement, 1), func(s []byte) []byte { return s })
}

// resized writes a file whose sections have n/d of their bytes; none for n = 0.
func resized(t *testing.T, data []byte, n, d int) []byte {
	return remade(t, data, keyOf(t, data), func(s []byte) []byte {
		if n == 0 {
			return nil
		}
		return slices.Concat(s, s)[:len(s)*n/d]
	})
}

// Where nothing can be written, everything is computed as ever.
func TestNothingCanBeKept(t *testing.T) {
	eachKept(t, func(t *testing.T, m enginetest.Model, opt Options, want []float32) {
		files := newFiles()
		files.full = errors.New("no space left on device")
		opt.Files = files
		got, log := numbers(t, m, opt)
		if !slices.Equal(got, want) || strings.Count(log, "no space left on device") != 2 {
			t.Errorf("%v, want %v; log %q", got, want, log)
		}
	})
}

// The reference is not kept, nor what belongs to no artefact.
func TestNotKept(t *testing.T) {
	m, files := enginetest.NewModel("llama", 8), newFiles()
	numbers(t, m, Options{Files: files, Precision: Float32})
	e := open(t, m, Options{Files: files})
	if _, err := e.Prefix(t.Context(), []labels.Token{1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil || len(files.files) > 0 {
		t.Errorf("%v; kept %q", err, slices.Collect(maps.Keys(files.files)))
	}
}

// Precisions and prefixes have files of their own, or replace each other's.
func TestKeptFilesAreTold(t *testing.T) {
	m, files := enginetest.NewModel("qwen3", 9), newFiles()
	for range 2 {
		for _, p := range []Precision{Int8, Int16} {
			want, _ := numbers(t, m, Options{Precision: p})
			if got, _ := numbers(t, m, Options{Precision: p, Files: files}); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", p, got, want)
			}
		}
	}
	e := open(t, m, Options{Files: files, Artifact: "sha256:an artefact"})
	defer e.Close()
	for _, tokens := range [][]labels.Token{{3, 2, 1}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}} {
		pre, err := e.Prefix(t.Context(), tokens)
		if err != nil {
			t.Fatal(err)
		}
		computed, err := e.computePrefix(t.Context(), tokens)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(packedBytes(pre), packedBytes(computed)) {
			t.Errorf("prefix %v is another one's", tokens)
		}
	}
	want := 4
	if !e.k.Coarse() {
		want = 2 // both precisions are one there
	}
	if len(files.files) != want {
		t.Errorf("kept %q", slices.Collect(maps.Keys(files.files)))
	}
}

// packedBytes joins the bytes of a prefix's matrices.
func packedBytes(p engine.Prefix) []byte {
	var b []byte
	for _, h := range p.(*prefix).heads {
		for _, m := range []*kernel.Matrix{h.keys, h.values} {
			b = append(b, slices.Concat(m.Data()...)...)
		}
	}
	return b
}

// What each level computes for prefixes of every family under arithmetic. Where
// it has to change, raise arithmetic with it, so that kept prefixes of the old
// one are not used; a new level adds its line.
var prefixHashes = map[kernel.Level]string{
	kernel.Portable:   "a22bf160f4bac9da",
	kernel.AVX2:       "843493158fcd07bc",
	kernel.AVXVNNI:    "843493158fcd07bc",
	kernel.AMXInt8:    "c87517a7ec67a976",
	kernel.AVX512VNNI: "0291114ce3f72ae3",
}

// Known hole: elsewhere the compiler fuses products and sums, and nobody compares.
func TestPrefixBitsOfThisArithmetic(t *testing.T) {
	if target() != "amd64/v1" {
		t.Skipf("the hashes are those of amd64/v1, not of %s", target())
	}
	tokens := make([]labels.Token, 70) // more than two panels, and than the window
	for i := range tokens {
		tokens[i] = labels.Token(i * 37 % 200)
	}
	for _, level := range kernel.Levels() {
		hash := sha256.New()
		for _, family := range enginetest.Families {
			e := open(t, enginetest.NewModel(family, 3), Options{CPU: string(level)})
			pre, err := e.Prefix(t.Context(), tokens)
			if err != nil {
				t.Fatal(err)
			}
			hash.Write(packedBytes(pre))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := hex.EncodeToString(hash.Sum(nil)[:8]); got != prefixHashes[level] {
			t.Errorf("arithmetic %d, %s: prefixes hash to %s, not %q", arithmetic, level, got, prefixHashes[level])
		}
	}
}
