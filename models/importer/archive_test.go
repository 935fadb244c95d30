package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cubby/models"
)

// item is one entry of a tar under test.
type item struct {
	name string
	kind byte // 0 for a regular file
	link string
	body string
	pax  map[string]string
}

func file(name, body string) item { return item{name: name, body: body} }

// makeTar writes the items, whatever they are.
func makeTar(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		h := &tar.Header{Name: it.name, Typeflag: it.kind, Linkname: it.link, Size: int64(len(it.body)), Mode: 0o644, PAXRecords: it.pax}
		if it.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if it.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: it.kind, PAXRecords: it.pax}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%.80q: %v", it.name, err)
		}
		if _, err := io.WriteString(w, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// retype changes the type of the entry whose header starts the tar.
func retype(data []byte, kind byte) []byte {
	data = slices.Clone(data)
	data[156] = kind
	if kind == tar.TypeGNUSparse { // one piece of 7 bytes, in the dialect that has such files
		copy(data[257:265], "ustar  \x00")
		copy(data[386:], "00000000000\x0000000000007\x00")
		copy(data[483:], "00000000007\x00")
	}
	copy(data[148:156], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return data
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// extract unpacks data into a folder inside a guarded one, and fails the test
// if anything but that folder changed.
func extract(t testing.TB, data []byte) (dir string, files []models.File, err error) {
	t.Helper()
	guard := t.TempDir()
	dir = filepath.Join(guard, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err = extractTar(context.Background(), bytes.NewReader(data), dir)
	checkInside(t, guard, dir)
	return dir, files, err
}

func checkInside(t testing.TB, guard, dir string) {
	t.Helper()
	err := filepath.WalkDir(guard, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != guard && p != dir && !strings.HasPrefix(p, dir+string(filepath.Separator)) {
			t.Errorf("it wrote outside its folder: %s", p)
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			t.Errorf("it made something that is no file: %s, %v", p, e.Type())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExtract(t *testing.T) {
	items := []item{
		{name: "pax_global_header", kind: tar.TypeXGlobalHeader, pax: map[string]string{"comment": "a commit"}},
		{name: "./", kind: tar.TypeDir},
		{name: "./model/", kind: tar.TypeDir},
		file("./model/model.gguf", "weights"),
		{name: "model/", kind: tar.TypeDir},
		file("README.md", ""),
		file(strings.Repeat("long/", 40)+"name", "deep"),
	}
	data := makeTar(t, items...)
	for name, packed := range map[string][]byte{"plain": data, "gzip": zip(t, data), "without end marker": data[:len(data)-1024]} {
		t.Run(name, func(t *testing.T) {
			dir, files, err := extract(t, packed)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != 3 {
				t.Fatalf("files %v", files)
			}
			for _, f := range files {
				got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
				if err != nil || int64(len(got)) != f.Size || models.DigestOf(got) != f.SHA256 {
					t.Errorf("%s holds %q, %v", f.Path, got, err)
				}
			}
		})
	}
}

func TestHostileArchives(t *testing.T) {
	ok := file("model/model.gguf", "weights")
	plain := makeTar(t, ok)
	zeros := strings.Repeat("\x00", 8<<20)
	many := make([]item, maxEntries+1)
	for i := range many {
		many[i] = file(fmt.Sprint("f", i), "")
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"symbolic link", makeTar(t, item{name: "model", kind: tar.TypeSymlink, link: "/etc"}, file("model/passwd", "x")), "it is a link"},
		{"link inside", makeTar(t, ok, item{name: "x", kind: tar.TypeSymlink, link: "model"}), "it is a link"},
		{"chain of links", makeTar(t, item{name: "a", kind: tar.TypeSymlink, link: "."}, item{name: "a/b", kind: tar.TypeSymlink, link: ".."}, file("a/b/x", "x")), "it is a link"},
		{"hard link", makeTar(t, ok, item{name: "x", kind: tar.TypeLink, link: "/etc/passwd"}), "it is a link"},
		{"character device", makeTar(t, item{name: "null", kind: tar.TypeChar}), "neither a file nor a folder"},
		{"block device", makeTar(t, item{name: "sda", kind: tar.TypeBlock}), "neither a file nor a folder"},
		{"pipe", makeTar(t, item{name: "pipe", kind: tar.TypeFifo}), "neither a file nor a folder"},
		{"contiguous file", retype(plain, tar.TypeCont), "neither a file nor a folder"},
		{"unknown type", retype(plain, 'Z'), "neither a file nor a folder"},
		{"GNU sparse file", retype(plain, tar.TypeGNUSparse), "sparse"},
		{"PAX sparse file", paxSparse(t), "sparse"},
		{"absolute path", makeTar(t, file("/tmp/x", "x")), "not a clean path"},
		{"path outside", makeTar(t, file("../x", "x")), "not a clean path"},
		{"path outside and in", makeTar(t, file("../in/x", "x")), "not a clean path"},
		{"dots within", makeTar(t, file("model/../../x", "x")), "not a clean path"},
		{"folder outside", makeTar(t, item{name: "../x/", kind: tar.TypeDir}, ok), "not a clean path"},
		{"backslashes", makeTar(t, file(`..\x`, "x")), "not a clean path"},
		{"drive", makeTar(t, file("c:x", "x")), "not a clean path"},
		{"stream", makeTar(t, file("model.gguf:x", "x")), "not a clean path"},
		{"no name", makeTar(t, file("", "x")), "not a clean path"},
		{"file named as the folder", makeTar(t, file(".", "")), "no files in it"},
		{"long name", makeTar(t, file(strings.Repeat("n/", maxName)+"x", "x")), "longer than 4096"},
		{"same file again", makeTar(t, ok, file("model/model.gguf", "other")), "repeats an earlier"},
		{"same file, spelt otherwise", makeTar(t, ok, file("./model/model.gguf", "other")), "repeats an earlier"},
		{"case clash", makeTar(t, ok, file("model/MODEL.gguf", "other")), "differs from it only by case"},
		{"case clash of folders", makeTar(t, file("a", "x"), file("A/b", "x")), "name of its folder"},
		{"Kelvin sign", makeTar(t, file("k", "x"), file("\u212a", "x")), "only by case"},
		{"file as a folder", makeTar(t, file("a", "x"), file("a/b", "x")), "name of its folder"},
		{"folder as a file", makeTar(t, file("a/b", "x"), file("a", "x")), "repeats an earlier"},
		{"too many entries", makeTar(t, many...), "more than 257 entries"},
		{"gzip bomb", zip(t, makeTar(t, file("model.gguf", zeros))), "more than 100 times"},
		{"bomb behind the end", zip(t, append(makeTar(t, ok), zeros...)), "more than 100 times"},
		{"header larger than the limit", hugeSize(t), "larger than 64 GiB"},
		{"cut in a file", makeTar(t, file("x", strings.Repeat("x", 4096)))[:2048], "ends early"},
		{"cut in gzip", zip(t, plain)[:60], "ends early"},
		{"wrong gzip checksum", spoil(zip(t, plain), -8), "damaged"},
		{"wrong header checksum", spoil(plain, 0), "damaged"},
		{"empty", nil, "no files in it"},
		{"only folders", makeTar(t, item{name: "model/", kind: tar.TypeDir}), "no files in it"},
		{"zip", []byte("PK\x03\x04" + zeros[:1024]), "it is a zip file"},
		{"xz", []byte("\xfd7zXZ\x00" + zeros[:1024]), "it is a xz file"},
		{"GGUF", []byte("GGUF" + zeros[:1024]), "it is a GGUF file"},
		{"text", []byte(strings.Repeat("<html>not found</html>\n", 100)), "damaged, or not a tar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := extract(t, c.data)
			var refused *ArchiveError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want a refusal that holds %q", err, c.want)
			}
		})
	}
}

// paxSparse is a sparse file in the newer form, which needs a header that
// archive/tar's writer refuses to make.
func paxSparse(t *testing.T) []byte {
	const placeholder = "CUB.sparse.major"
	data := makeTar(t, item{name: "s", body: "1\n0\n1\n" + strings.Repeat("\x00", 512), pax: map[string]string{
		placeholder: "1", "CUB.sparse.minor": "0", "CUB.sparse.name": "s", "CUB.sparse.realsize": "4096",
	}})
	return bytes.ReplaceAll(data, []byte("CUB.sparse"), []byte("GNU.sparse"))
}

// hugeSize is a header that promises a file beyond all limits.
func hugeSize(t *testing.T) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: maxTotal + 1}); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), make([]byte, 1024)...)
}

// spoil flips a bit; a negative place counts from the end.
func spoil(data []byte, i int) []byte {
	data = slices.Clone(data)
	data[(i+len(data))%len(data)] ^= 1
	return data
}

// A large member streams: memory does not grow with it.
func TestExtractMemoryIsBounded(t *testing.T) {
	data := makeTar(t, file("model.gguf", strings.Repeat("0123456789abcdef", 4<<20)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := extract(t, data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("extracting 64 MiB allocated %d bytes", grown)
	}
}

func TestExtractStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := extractTar(ctx, bytes.NewReader(makeTar(t, file("x", "x"))), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestExtractReportsDiskErrorsAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := extractTar(context.Background(), bytes.NewReader(makeTar(t, file("x", "x"))), dir)
	var refused *ArchiveError
	if !errors.Is(err, fs.ErrExist) || errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}

func FuzzTar(f *testing.F) {
	ok := file("model/model.gguf", "weights")
	f.Add(makeTar(f, ok))
	f.Add(zip(f, makeTar(f, ok, file("a/b", "x"))))
	f.Add(makeTar(f, item{name: "model", kind: tar.TypeSymlink, link: "/etc"}, file("model/passwd", "x")))
	f.Add(retype(makeTar(f, ok), tar.TypeGNUSparse))
	f.Add(makeTar(f, file(strings.Repeat("n", 300), "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, files, err := extract(t, data)
		if err != nil {
			return
		}
		for _, x := range files {
			got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(x.Path)))
			if err != nil || models.DigestOf(got) != x.SHA256 {
				t.Fatalf("%q: %v", x.Path, err)
			}
		}
	})
}
