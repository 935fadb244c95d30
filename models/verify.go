package models

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// IntegrityError says that a model's bytes are not those that were installed.
type IntegrityError struct {
	Model   string
	File    string // path of the damaged file
	Problem string
	Repair  string // command that repairs it
}

func (e *IntegrityError) Error() string {
	return fmt.Sprintf("model %q is damaged: %s: %s; repair it with: %s", e.Model, e.File, e.Problem, e.Repair)
}

func importCommand(name string) string { return "fetch import PACKAGE -name " + name }

// stamp is what a file looked like when it was last hashed.
type stamp struct {
	Size  int64 `json:"size"`
	MTime int64 `json:"mtime"` // nanoseconds since 1970
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{Size: info.Size(), MTime: info.ModTime().UnixNano()}
}

// Verify hashes every file of a stored model, whatever is recorded. What was
// computed from the model has no digest in the manifest to be held against, so
// it is removed: the next start makes it anew from the files just verified.
func (s *Store) Verify(ref string) error {
	d, err := s.lookup(ref)
	if err != nil {
		return err
	}
	if err := s.verify(d, true); err != nil {
		return named(err, ref)
	}
	return s.dropDerived(d)
}

// verify checks a stored model against its manifest. Unless full is set, a
// file whose size and time are those recorded when it was last hashed is taken
// to be unchanged, so that a restart does not read gigabytes.
func (s *Store) verify(d Digest, full bool) error {
	m, err := s.manifest(d)
	if err != nil {
		return err
	}
	var known map[string]stamp
	if !full {
		known = s.recorded(d)
	}
	stamps, err := verifyFiles(s.modelDir(d), *m, known)
	if err != nil {
		return err
	}
	if !maps.Equal(stamps, known) {
		s.record(d, stamps)
	}
	return nil
}

// verifyFiles compares the size and SHA-256 of every file of a model folder,
// those with a known stamp by the stamp, and returns the stamps.
func verifyFiles(dir string, m Manifest, known map[string]stamp) (map[string]stamp, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	stamps := make(map[string]stamp, len(m.Files))
	for _, want := range m.Files {
		seen, problem, err := verifyFile(context.Background(), root, want, known)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			return nil, &IntegrityError{Model: m.Name, File: filepath.Join(dir, filepath.FromSlash(want.Path)), Problem: problem, Repair: importCommand(m.Name)}
		}
		stamps[want.Path] = seen
	}
	return stamps, nil
}

func verifyFile(ctx context.Context, root *os.Root, want File, known map[string]stamp) (seen stamp, problem string, err error) {
	f, err := root.Open(filepath.FromSlash(want.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return seen, "it is missing", nil
	}
	if err != nil {
		return seen, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return seen, "", err
	}
	seen = stampOf(info)
	switch old, ok := known[want.Path]; {
	case !info.Mode().IsRegular():
		return seen, "it is not a regular file", nil
	case info.Size() != want.Size:
		return seen, fmt.Sprintf("it has %d bytes, not %d", info.Size(), want.Size), nil
	case ok && old == seen:
		return seen, "", nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, ContextReader{Ctx: ctx, R: f}); err != nil {
		return seen, "", err
	}
	if got := Digest(hash.Sum(nil)); got != want.SHA256 {
		problem = fmt.Sprintf("its SHA-256 is %s, not %s", got.Hex(), want.SHA256.Hex())
	}
	return seen, problem, nil
}

// record notes the stamps of a model that has just been verified. It only
// saves time: where it cannot be written, the next open hashes again.
func (s *Store) record(d Digest, stamps map[string]stamp) {
	if data, err := json.Marshal(stamps); err == nil {
		_ = WriteFileDurably(s.recordPath(d), data)
	}
}

// recorded returns the stamps noted last; none where that cannot be read.
func (s *Store) recorded(d Digest) map[string]stamp {
	data, err := readBounded(s.recordPath(d), maxManifest)
	if err != nil {
		return nil
	}
	var stamps map[string]stamp
	if json.Unmarshal(data, &stamps) != nil {
		return nil
	}
	return stamps
}
