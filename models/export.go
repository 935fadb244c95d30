package models

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Exported is an artefact that was written as a tar.
type Exported struct {
	Manifest Manifest
	Digest   Digest
	Size     int64 // bytes of the tar
}

// Export writes a stored model as a tar: one folder, named by the digest as in the
// store, with cubby.json first and the files by their paths. The same artefact gives
// the same bytes. Each file is hashed while it is read; the tar of a damaged model
// stops there, and no import takes it.
func (s *Store) Export(ctx context.Context, ref string, w io.Writer) (x Exported, err error) {
	if x.Digest, err = s.lookup(ref); err != nil {
		return x, err
	}
	m, err := s.manifest(x.Digest)
	if err != nil {
		return x, named(err, ref)
	}
	x.Manifest = *m
	data, err := m.Encode()
	if err != nil {
		return x, err
	}
	if DigestOf(data) != x.Digest {
		return x, fmt.Errorf("model %s was written by another version of this program: import it again, then export that", x.Digest)
	}
	root, err := os.OpenRoot(s.modelDir(x.Digest))
	if err != nil {
		return x, err
	}
	defer root.Close()
	counted := &countingWriter{w: w}
	t := tar.NewWriter(counted)
	files := slices.Clone(m.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	files = append([]File{{ManifestName, int64(len(data)), x.Digest}}, files...)
	for _, f := range files {
		if err := exportFile(ctx, t, root, x.Digest.Hex(), f); err != nil {
			return x, named(err, ref)
		}
	}
	err = t.Close()
	x.Size = counted.n
	return x, err
}

// exportFile writes one file with a header that tells nothing of this machine.
func exportFile(ctx context.Context, t *tar.Writer, root *os.Root, dir string, want File) error {
	problem := func(text string, args ...any) error {
		return &IntegrityError{File: filepath.Join(root.Name(), filepath.FromSlash(want.Path)), Problem: fmt.Sprintf(text, args...)}
	}
	f, err := root.Open(filepath.FromSlash(want.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return problem("it is missing")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != want.Size {
		return problem("it is no regular file of %d bytes", want.Size)
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(dir, want.Path), Size: want.Size, Mode: 0o644}); err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, hash), ContextReader{Ctx: ctx, R: io.LimitReader(f, want.Size)})
	if err != nil {
		return err
	}
	if got := Digest(hash.Sum(nil)); n != want.Size || got != want.SHA256 {
		return problem("its SHA-256 is %s, not %s", got.Hex(), want.SHA256.Hex())
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ExportFile writes the tar into a file, which is seen under its name only when it is
// whole and durable. A file that is there stays, with fs.ErrExist, unless force is set.
// A killed export leaves a file named FILE.part-N beside it.
func (s *Store) ExportFile(ctx context.Context, ref, file string, force bool) (x Exported, err error) {
	if err := checkFree(file, force); err != nil {
		return x, err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*")
	if err != nil {
		return x, err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	x, err = s.Export(ctx, ref, f)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return x, err
	}
	if err := place(f.Name(), file, force); err != nil {
		return x, err
	}
	return x, SyncDir(filepath.Dir(file))
}

// place gives a finished file its name. A link, unlike a rename, fails where another
// process has been faster.
func place(temporary, file string, force bool) error {
	if !force {
		err := os.Link(temporary, file)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := checkFree(file, force); err != nil { // a file system without links
			return err
		}
	}
	return os.Rename(temporary, file)
}

func checkFree(file string, force bool) error {
	info, err := os.Lstat(file)
	if err != nil || force && info.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: "export", Path: file, Err: fs.ErrExist}
}
