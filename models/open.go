package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cubby/models/demo"
)

// DemoName is the name of the built-in model, unless the store has a model of
// that name.
const DemoName = "demo"

// Open opens a stored model by name, version or digest. Its files are checked against
// the manifest first: see Store.verify for what a quick restart skips.
func (s *Store) Open(ref string) (*Model, error) {
	d, err := s.lookup(ref)
	if err != nil {
		return nil, err
	}
	if err := s.verify(d, false); err != nil {
		return nil, named(err, ref)
	}
	m, err := s.manifest(d)
	if err != nil {
		return nil, named(err, ref)
	}
	model, err := newModel(*m, d, folder(s.modelDir(d)))
	if err != nil {
		return nil, err
	}
	model.derived = &Derived{model: model, store: s, dir: s.derivedDir(d)}
	return model, nil
}

// named lets a report of damage speak of the model as the user did.
func named(err error, ref string) error {
	var damage *IntegrityError
	if errors.Is(err, ErrNotFound) && ValidName(ref) == nil {
		// The name is there, so the model was.
		return &IntegrityError{Model: ref, File: ManifestName, Problem: "it is missing", Repair: importCommand(ref)}
	}
	if errors.As(err, &damage) && (ValidName(ref) == nil || damage.Model == "") {
		damage.Model, damage.Repair = ref, importCommand(ref)
	}
	return err
}

// ReadManifest reads the manifest of a model folder. Those in a store and in an
// exported tar are named by the digest of their manifest, which is then checked, and
// pristine.
func ReadManifest(dir string) (m *Manifest, pristine bool, err error) {
	file := filepath.Join(dir, ManifestName)
	data, err := readBounded(file, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("%s has no %s, so it is not a model folder; bring a downloaded package in with: fetch import %s -name NAME", dir, ManifestName, dir)
	}
	if err != nil {
		return nil, false, err
	}
	if abs, err := filepath.Abs(dir); err == nil {
		if want, err := parseHex(filepath.Base(abs)); err == nil {
			pristine = true
			if got := DigestOf(data); got != want {
				return nil, true, &IntegrityError{Model: want.String(), File: file, Problem: fmt.Sprintf("its SHA-256 is %s, not that of the folder's name", got.Hex()),
					Repair: "fetch export, where it came from; or give the folder another name if you have edited it"}
			}
		}
	}
	if m, err = ParseManifest(data); err != nil {
		return nil, pristine, fmt.Errorf("%s: %w", file, err)
	}
	return m, pristine, nil
}

// OpenFolder opens a model folder outside a store. Every file is hashed.
func OpenFolder(dir string) (*Model, error) {
	m, _, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	if _, err := verifyFiles(dir, *m, nil); err != nil {
		return nil, err
	}
	d, err := m.Digest()
	if err != nil {
		return nil, err
	}
	return newModel(*m, d, folder(dir))
}

// OpenEmbedded opens a model whose files are in memory, without copying or
// hashing them: they are trusted as much as the program that holds them. Their
// bytes must not change.
func OpenEmbedded(manifest []byte, files map[string][]byte) (*Model, error) {
	m, err := ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if data, ok := files[f.Path]; !ok || int64(len(data)) != f.Size {
			return nil, fmt.Errorf("built-in model %q: file %q has %d bytes, not %d", m.Name, f.Path, len(data), f.Size)
		}
	}
	d, err := m.Digest()
	if err != nil {
		return nil, err
	}
	return newModel(*m, d, memory(files))
}

// OpenDemo opens the built-in model.
func OpenDemo() (*Model, error) {
	if !demo.Present {
		return nil, fmt.Errorf("%w: this program was built without the demo model; import one with: fetch import PACKAGE -name NAME", ErrNotFound)
	}
	return OpenEmbedded(demo.Manifest, demo.Files())
}

// Resolve opens the model that a user asked for: a name, version (NAME@DIGEST) or
// digest in the store, "demo", a model folder, or a GGUF file in one. A ref with a path
// separator is always a path. Without a ref it is the store's only model, or
// the demo when the store is empty.
func Resolve(s *Store, ref string) (*Model, error) {
	if ref == "" {
		return resolveDefault(s)
	}
	isPath := strings.ContainsAny(ref, `/\`) || ref == "." || ref == ".."
	if !isPath {
		m, err := s.Open(ref)
		if err == nil || strings.HasPrefix(ref, digestPrefix) {
			return m, err
		}
		if _, missing := os.Stat(ref); missing != nil && strings.Contains(ref, versionSign) {
			return nil, err
		}
		if ValidName(ref) == nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if ref == DemoName {
			return OpenDemo()
		}
	}
	info, err := os.Stat(ref)
	switch {
	case errors.Is(err, fs.ErrNotExist) && isPath:
		return nil, fmt.Errorf("%w: there is no file or folder %s", ErrNotFound, ref)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no model named %q in the store%s, and no such file or folder", ErrNotFound, ref, s.hint())
	case err != nil:
		return nil, err
	case info.IsDir():
		return OpenFolder(ref)
	}
	return openFile(ref)
}

func resolveDefault(s *Store) (*Model, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	switch len(names) {
	case 0:
		return OpenDemo()
	case 1:
		return s.Open(names[0])
	}
	return nil, fmt.Errorf("the store has several models: name one of %s, or %s, the built-in one", strings.Join(names, ", "), DemoName)
}

// openFile opens the model folder around a weights file.
func openFile(file string) (*Model, error) {
	dir, base := filepath.Split(file)
	if filepath.Ext(base) != ".gguf" {
		return nil, fmt.Errorf("%s is neither a model folder nor a .gguf file; bring a package in with: fetch import %s -name NAME", file, file)
	}
	dir = filepath.Clean(dir)
	if _, err := os.Stat(filepath.Join(dir, ManifestName)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s beside it, so its labels and prompt are unknown; import it with them: fetch import %s -job job_description.json -name NAME", file, ManifestName, dir)
	}
	m, err := OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	if m.Manifest.Weights != base {
		return nil, errors.Join(fmt.Errorf("the %s beside %s describes other weights: %s", ManifestName, file, m.Manifest.Weights), m.Close())
	}
	return m, nil
}
