package install

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"cubby/models"
	"cubby/models/importer"
)

// Limits of an archive. They are always on: the largest packages hold some dozens
// of files and 2 GiB.
const (
	maxEntries = 4096
	maxTotal   = 8 << 30  // bytes of all files together
	maxLicence = 1 << 20  // bytes of a licence text
	maxTarget  = 4 << 10  // bytes of a link
	maxRatio   = 100      // uncompressed bytes for each compressed one of a zip's entry
	ratioSlack = 16 << 20 // uncompressed bytes that no ratio is asked of
)

// unpacker writes the wanted regular files of one archive under a folder.
type unpacker struct {
	ctx     context.Context
	root    *os.Root
	tree    *tree
	seen    map[string]bool // folded paths
	entries int
	total   int64
}

// unpack unpacks a tar, plain or gzip, or a zip.
func unpack(ctx context.Context, name, dir string) (*tree, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{ctx: ctx, root: root, tree: &tree{dir: dir, links: map[string]string{}}, seen: map[string]bool{}}
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		err = u.zip(f)
	case bytes.HasPrefix(bytes.TrimSpace(head), []byte("<")):
		err = importer.Refuse("", "it is a web page")
	default:
		err = u.tar(f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return u.tree, nil
}

func (u *unpacker) tar(f *os.File) error {
	plain, err := importer.Decompress(models.ContextReader{Ctx: u.ctx, R: f})
	if err != nil {
		return err
	}
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return importer.ReadFailure("", err)
		}
		if err := u.tarEntry(h, tr); err != nil {
			return err
		}
	}
	// A gzip checksum stands behind the tar's end.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return importer.ReadFailure("", err)
	}
	return nil
}

func (u *unpacker) tarEntry(h *tar.Header, r io.Reader) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return importer.Refuse(h.Name, "it is a sparse file")
		}
	}
	name, err := u.claim(h.Name, h.Size, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.write(name, h.Size, r)
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink:
		return u.link(name, h.Linkname)
	case tar.TypeLink:
		target, err := importer.EntryName(h.Linkname)
		if err != nil {
			return err
		}
		u.alias(name, target)
		return nil
	case tar.TypeGNUSparse:
		return importer.Refuse(h.Name, "it is a sparse file")
	}
	return importer.Refuse(h.Name, "it is neither a file nor a folder (type %q)", h.Typeflag)
}

func (u *unpacker) zip(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return importer.ReadFailure("", err)
	}
	for _, e := range z.File {
		if err := u.zipEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) zipEntry(e *zip.File) error {
	if e.UncompressedSize64 > maxTotal {
		return importer.Refuse(e.Name, "the files are larger than %d GiB together", maxTotal>>30)
	}
	size := int64(e.UncompressedSize64)
	mode := e.Mode()
	name, err := u.claim(e.Name, size, mode.IsDir())
	if err != nil {
		return err
	}
	if e.UncompressedSize64 > ratioSlack && e.UncompressedSize64/maxRatio > e.CompressedSize64 {
		return importer.Refuse(e.Name, "it unpacks to more than %d times its size", maxRatio)
	}
	if mode.IsDir() || !wanted(path.Base(name)) {
		return nil
	}
	if !mode.IsRegular() && mode.Type() != fs.ModeSymlink {
		return importer.Refuse(e.Name, "it is neither a file nor a folder (mode %v)", mode.Type())
	}
	r, err := e.Open()
	if err != nil {
		return importer.ReadFailure(e.Name, err)
	}
	defer r.Close()
	if mode.IsRegular() {
		return u.write(name, size, models.ContextReader{Ctx: u.ctx, R: r})
	}
	target, err := io.ReadAll(io.LimitReader(r, maxTarget+1))
	if err != nil {
		return importer.ReadFailure(e.Name, err)
	}
	return u.link(name, string(target))
}

// claim checks an entry's name and adds it to what was seen.
func (u *unpacker) claim(raw string, size int64, isDir bool) (string, error) {
	if u.entries++; u.entries > maxEntries {
		return "", importer.Refuse("", "more than %d entries", maxEntries)
	}
	name, err := importer.EntryName(raw)
	if err != nil {
		return "", err
	}
	if size < 0 || size > maxTotal-u.total {
		return "", importer.Refuse(raw, "the files are larger than %d GiB together", maxTotal>>30)
	}
	u.total += size
	if isDir || !wanted(path.Base(name)) {
		return name, nil
	}
	folded := strings.ToLower(name)
	if u.seen[folded] {
		return "", importer.Refuse(raw, "its name repeats an earlier one, or differs from it only by case")
	}
	u.seen[folded] = true
	return name, nil
}

// link notes a symbolic link, which is never made.
func (u *unpacker) link(name, target string) error {
	if !wanted(path.Base(name)) {
		return nil
	}
	inside, ok := linkTarget(name, target)
	if !ok || len(target) > maxTarget {
		return importer.Refuse(name, "it is a link that leads out of the archive, to %.80q", target)
	}
	u.alias(name, inside)
	return nil
}

func (u *unpacker) alias(name, target string) {
	if wanted(path.Base(name)) {
		u.tree.links[name] = target
	}
}

// write streams one wanted file out, and never over another.
func (u *unpacker) write(name string, size int64, r io.Reader) error {
	if !wanted(path.Base(name)) {
		return nil
	}
	if isLicence(path.Base(name)) && size > maxLicence {
		return importer.Refuse(name, "it has %d bytes: too long for a licence", size)
	}
	local := filepath.FromSlash(name)
	if err := u.root.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return err
	}
	f, err := u.root.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, size+1))
	closeErr := f.Close()
	switch {
	case err != nil:
		return importer.ReadFailure(name, err)
	case closeErr != nil:
		return closeErr
	case n != size:
		return importer.Refuse(name, "it has %d bytes, not the %d of its header", n, size)
	}
	u.tree.files = append(u.tree.files, name)
	return nil
}
