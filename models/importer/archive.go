package importer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"cubby/models"

	"golang.org/x/text/unicode/norm"
)

// Limits of an archive. They are always on: a package is a handful of files.
const (
	maxEntries   = 257      // files and folders: a model folder's 256, and its manifest
	maxName      = 4 << 10  // bytes of an entry's name
	maxDepth     = 64       // folders inside each other
	maxHeaders   = 32 << 10 // bytes of an entry's headers, extensions included
	maxTotal     = 64 << 30 // bytes of all files together
	maxRatio     = 100      // uncompressed bytes for each compressed one
	ratioSlack   = 1 << 20  // uncompressed bytes that no ratio is asked of
	sniffedBytes = 512
)

// ArchiveError says why an archive is refused.
type ArchiveError struct {
	Entry  string // empty where the archive as a whole is at fault
	Reason string
	Err    error // cause, or nil
}

func (e *ArchiveError) Error() string {
	s := "archive refused: "
	if e.Entry != "" {
		s += fmt.Sprintf("entry %.200q: ", e.Entry)
	}
	s += e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ArchiveError) Unwrap() error { return e.Err }

// Refuse returns an ArchiveError.
func Refuse(entry, format string, args ...any) error {
	return &ArchiveError{Entry: entry, Reason: fmt.Sprintf(format, args...)}
}

// extractor writes the regular files of one tar under a folder.
type extractor struct {
	root  *os.Root
	seen  map[string]bool // folded path → is a folder
	total int64
	files []models.File
	room  []byte    // what is copied through
	hash  hash.Hash // of the file being written
}

// extractTar unpacks a tar, plain or gzip, into dir and returns its files with
// their digests, computed while writing. It refuses whatever could write
// outside dir, stand for more than its bytes, or mean different things on
// different systems.
func extractTar(ctx context.Context, r io.Reader, dir string) ([]models.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	plain, err := Decompress(models.ContextReader{Ctx: ctx, R: r})
	if err != nil {
		return nil, err
	}
	x := &extractor{root: root, seen: map[string]bool{}, room: make([]byte, 64<<10), hash: sha256.New()}
	headers := &headerReader{r: plain}
	tr := tar.NewReader(headers)
	for n := 0; ; n++ {
		headers.begin()
		h, err := tr.Next()
		headers.end()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, ReadFailure("", err)
		}
		if n == maxEntries {
			return nil, Refuse("", "more than %d entries", maxEntries)
		}
		if err := x.entry(h, tr); err != nil {
			return nil, err
		}
	}
	if len(x.files) == 0 {
		return nil, Refuse("", "no files in it")
	}
	// A gzip checksum stands behind the tar's end.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, ReadFailure("", err)
	}
	return x.files, nil
}

// ReadFailure turns what the readers say about bad bytes into a refusal, and
// leaves other errors, those of the file system and the context, as they are.
func ReadFailure(entry string, err error) error {
	var refused *ArchiveError
	var pathError *fs.PathError
	if errors.As(err, &refused) || errors.As(err, &pathError) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &ArchiveError{Entry: entry, Reason: "it ends early"}
	}
	return &ArchiveError{Entry: entry, Reason: "damaged, or not a tar", Err: err}
}

// otherFormats are the first bytes of archives that are not read.
var otherFormats = []struct{ magic, name string }{
	{"PK\x03\x04", "zip"}, {"BZh", "bzip2"}, {"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"},
	{"7z\xbc\xaf", "7z"}, {"GGUF", "GGUF"},
}

// Decompress looks at the first bytes of a tar, plain or gzip, and returns the
// plain tar. It stops where that yields too much for what went in.
func Decompress(r io.Reader) (io.Reader, error) {
	counted := &countingReader{r: r}
	buffered := bufio.NewReaderSize(counted, 1<<16)
	head, err := buffered.Peek(sniffedBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, f := range otherFormats {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return nil, Refuse("", "it is a %s file; packages are tar files, plain or gzip, or folders", f.name)
		}
	}
	if !bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		return buffered, nil
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, ReadFailure("", err)
	}
	return &ratioReader{plain: z, packed: counted}, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ratioReader stops a decompression that yields too much for what went in.
type ratioReader struct {
	plain  io.Reader
	packed *countingReader
	n      int64
}

func (r *ratioReader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	r.n += int64(n)
	if r.n > ratioSlack+maxRatio*r.packed.n {
		return 0, Refuse("", "it unpacks to more than %d times its size", maxRatio)
	}
	return n, err
}

// headerReader stops a tar whose headers are long: they are held in memory, and
// extensions may have any length and number.
type headerReader struct {
	r      io.Reader
	inside bool // headers are read
	left   int
}

func (h *headerReader) begin() { h.inside, h.left = true, maxHeaders }
func (h *headerReader) end()   { h.inside = false }

func (h *headerReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.inside {
		if h.left -= n; h.left < 0 {
			return 0, Refuse("", "its headers take more than %d KiB for one entry", maxHeaders>>10)
		}
	}
	return n, err
}

// entry checks one header and writes what it stands for.
func (x *extractor) entry(h *tar.Header, r io.Reader) error {
	name, err := EntryName(h.Name)
	if err != nil {
		return err
	}
	if err := checkKind(h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader || name == "." {
		return nil
	}
	if err := x.claim(name, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return x.root.MkdirAll(filepath.FromSlash(name), 0o755)
	}
	if h.Size < 0 || h.Size > maxTotal-x.total {
		return Refuse(h.Name, "the files are larger than %d GiB together", maxTotal>>30)
	}
	x.total += h.Size
	return x.write(name, h.Size, r)
}

// EntryName returns the clean path of an entry.
func EntryName(name string) (string, error) {
	if len(name) > maxName {
		return "", Refuse(name, "its name is longer than %d bytes", maxName)
	}
	clean := strings.TrimSuffix(name, "/")
	for strings.HasPrefix(clean, "./") {
		clean = strings.TrimPrefix(clean, "./")
	}
	if clean == "." {
		return clean, nil
	}
	if err := models.CheckPath(clean); err != nil {
		return "", Refuse(name, "its name %v", err)
	}
	if strings.Count(clean, "/") > maxDepth {
		return "", Refuse(name, "it lies in more than %d folders", maxDepth)
	}
	return clean, nil
}

// checkKind allows regular files and folders.
func checkKind(h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return Refuse(h.Name, "it is a sparse file")
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink, tar.TypeLink:
		return Refuse(h.Name, "it is a link")
	case tar.TypeGNUSparse:
		return Refuse(h.Name, "it is a sparse file")
	}
	return Refuse(h.Name, "it is neither a file nor a folder (type %q)", h.Typeflag)
}

// claim refuses a path that some system would take for an earlier one. Only a
// folder may come again.
func (x *extractor) claim(name string, isDir bool) error {
	folded := fold(name)
	for dir := path.Dir(folded); dir != "."; dir = path.Dir(dir) {
		if folder, ok := x.seen[dir]; ok && !folder {
			return Refuse(name, "an earlier file has the name of its folder")
		}
		x.seen[dir] = true
	}
	folder, ok := x.seen[folded]
	if ok && !(folder && isDir) {
		return Refuse(name, "its name repeats an earlier one, or differs from it only by case")
	}
	x.seen[folded] = isDir
	return nil
}

// fold is the same for names that some file system takes for one.
func fold(name string) string { return norm.NFC.String(strings.ToLower(strings.ToUpper(name))) }

// write streams one file out, hashing it, and never over another.
func (x *extractor) write(name string, size int64, r io.Reader) error {
	local := filepath.FromSlash(name)
	if dir := filepath.Dir(local); dir != "." {
		if err := x.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := x.root.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	x.hash.Reset()
	n, err := io.CopyBuffer(io.MultiWriter(f, x.hash), r, x.room)
	closeErr := f.Close()
	switch {
	case err != nil:
		return ReadFailure(name, err)
	case closeErr != nil:
		return closeErr
	case n != size:
		return Refuse(name, "it has %d bytes, not the %d of its header", n, size)
	}
	x.files = append(x.files, models.File{Path: name, Size: n, SHA256: models.Digest(x.hash.Sum(nil))})
	return nil
}
