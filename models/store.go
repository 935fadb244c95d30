package models

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"
)

// HomeVariable names the environment variable that moves the store.
const HomeVariable = "CUBBY_HOME"

// Store is a folder of models on this machine:
//
//	models/HEX/     one model, immutable; HEX is its manifest's digest
//	names/NAME      a name for a model: one line, its digest
//	names/.lock     held while names are pointed or models removed
//	verified/HEX    sizes and times that the model's files had when last hashed
//	gates/          what classify gate found of each artefact and engine, and the answers it was held against
//	reports/        the last evaluation of each artefact
//	packed/HEX/     what engines computed from the model to start faster: see Derived
//	bases/          base models of adapters, as downloaded
//	answers/        what classify compare keeps of other models' answers
//	staging/        models under construction and on their way out
//
// A folder under models exists only whole: it is built in staging and renamed.
// Many processes may use a store at once.
type Store struct{ root string }

// ErrNotFound is in the chain of errors about a model that is not there.
var ErrNotFound = errors.New("model not found")

// NewStore returns the store in that folder, which need not exist yet.
func NewStore(root string) *Store { return &Store{root: root} }

// DefaultStore returns the store in $CUBBY_HOME or the user's data folder.
func DefaultStore() (*Store, error) {
	root, err := Home()
	if err != nil {
		return nil, err
	}
	return NewStore(root), nil
}

// Home is $CUBBY_HOME, or cubby in the user's data folder: $XDG_DATA_HOME or
// ~/.local/share, ~/Library/Application Support, or %LocalAppData%.
func Home() (string, error) {
	if dir := os.Getenv(HomeVariable); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cubby"), nil
	}
	if goruntime.GOOS == "windows" {
		dir, err := os.UserCacheDir() // %LocalAppData%
		return filepath.Join(dir, "cubby"), err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for models: %w; set %s", err, HomeVariable)
	}
	if goruntime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "cubby"), nil
	}
	return filepath.Join(home, ".local", "share", "cubby"), nil
}

// Root is the store's folder.
func (s *Store) Root() string { return s.root }

// of is what a folder of the store holds for a digest: the only way from one to a path.
func (s *Store) of(folder string, d Digest, ending string) string {
	return filepath.Join(s.root, folder, d.Hex()+ending)
}

func (s *Store) modelDir(d Digest) string    { return s.of("models", d, "") }
func (s *Store) recordPath(d Digest) string  { return s.of("verified", d, "") }
func (s *Store) namePath(name string) string { return filepath.Join(s.root, "names", name) }

// Entry is one name of the store with the model that it points to, or a model that
// no name points to.
type Entry struct {
	Name      string // that points to it; empty where none does
	Digest    Digest
	Manifest  *Manifest
	Installed time.Time // zero where the file system does not tell
	Derived   int64     // bytes of what was computed from it
	Err       error     // what is wrong with the model, as far as its manifest shows
}

// List returns the entries by name, each name followed by its earlier versions, the
// newest first. What no manifest names is last. A store that does not exist yet is
// empty.
func (s *Store) List() ([]Entry, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var list []Entry
	used := map[Digest]bool{}
	for _, name := range names {
		d, err := s.pointed(name)
		if err != nil {
			list = append(list, Entry{Name: name, Err: err})
			continue
		}
		used[d] = true
		list = append(list, s.entry(name, d))
	}
	dirs, err := readDir(filepath.Join(s.root, "models"))
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		d, err := parseHex(dir)
		if err != nil || used[d] {
			continue
		}
		e := s.entry("", d)
		if _, err := os.Stat(s.modelDir(d)); err == nil { // not removed meanwhile
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, byName)
	return list, nil
}

func (s *Store) entry(name string, d Digest) Entry {
	e := Entry{Name: name, Digest: d, Derived: s.derivedSize(d)}
	if info, err := os.Stat(filepath.Join(s.modelDir(d), ManifestName)); err == nil {
		e.Installed = info.ModTime() // Commit writes it last
	}
	e.Manifest, e.Err = s.manifest(d)
	return e
}

func byName(a, b Entry) int {
	unnamed := func(e Entry) int {
		if e.Called() == "" {
			return 1
		}
		return 0
	}
	older := func(e Entry) int {
		if e.Name == "" {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(unnamed(a), unnamed(b)), cmp.Compare(a.Called(), b.Called()), cmp.Compare(older(a), older(b)), b.Installed.Compare(a.Installed))
}

// names returns the valid names, sorted.
func (s *Store) names() ([]string, error) {
	names, err := readDir(filepath.Join(s.root, "names"))
	return slices.DeleteFunc(names, func(n string) bool { return ValidName(n) != nil }), err
}

func readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// lookup turns a name, NAME@DIGEST, or the written form of a digest, into a digest.
func (s *Store) lookup(ref string) (Digest, error) {
	if strings.HasPrefix(ref, digestPrefix) {
		return ParseDigest(ref)
	}
	if strings.Contains(ref, versionSign) {
		e, err := s.version(ref)
		return e.Digest, err
	}
	if err := ValidName(ref); err != nil {
		return Digest{}, err
	}
	d, err := s.pointed(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return d, s.unpointed(ref)
	}
	return d, err
}

// pointed reads the file of a name.
func (s *Store) pointed(name string) (Digest, error) {
	data, err := os.ReadFile(s.namePath(name))
	if err != nil {
		return Digest{}, err
	}
	d, err := ParseDigest(strings.TrimSuffix(string(data), "\n"))
	if err != nil {
		return Digest{}, &IntegrityError{Model: name, File: s.namePath(name), Problem: err.Error(), Repair: importCommand(name)}
	}
	return d, nil
}

// unpointed says what there is instead of what a name points to.
func (s *Store) unpointed(name string) error {
	versions, _ := s.Versions(name)
	versions = slices.DeleteFunc(versions, func(e Entry) bool { return e.Digest == Digest{} })
	if len(versions) > 0 {
		return fmt.Errorf("%w: the name %s points to nothing; it may point to %s: fetch use %s", ErrNotFound, name, written(versions), versions[0].Version())
	}
	if _, err := os.Lstat(s.namePath(name)); err == nil {
		return fmt.Errorf("%w: the name %s is a link that leads nowhere: fetch rm %s removes it", ErrNotFound, name, name)
	}
	return fmt.Errorf("%w: the store has no model named %q%s", ErrNotFound, name, s.hint())
}

// hint lists the names that do exist.
func (s *Store) hint() string {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return " (it is empty)"
	}
	return "; it has " + strings.Join(names, ", ")
}

// manifest reads the manifest of a stored model and checks that it is the one
// that the folder is named for.
func (s *Store) manifest(d Digest) (*Manifest, error) {
	file := filepath.Join(s.modelDir(d), ManifestName)
	data, err := readBounded(file, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the store has no model %s", ErrNotFound, d)
	}
	if err != nil {
		return nil, err
	}
	if got := DigestOf(data); got != d {
		return nil, &IntegrityError{Model: d.String(), File: file, Problem: fmt.Sprintf("its SHA-256 is %s", got.Hex()), Repair: importCommand("NAME")}
	}
	return ParseManifest(data)
}

func (s *Store) namesOf(d Digest) []string {
	names, _ := s.names()
	return slices.DeleteFunc(names, func(n string) bool {
		other, err := s.pointed(n)
		return err != nil || other != d
	})
}

// discard moves a model out of sight in one step, then deletes it. Where the
// file system has no locks, a name that it was given meanwhile brings it back.
func (s *Store) discard(d Digest) error {
	trash, err := s.stagingDir("")
	if err != nil {
		return err
	}
	defer os.RemoveAll(trash)
	out := filepath.Join(trash, "model")
	if err := os.Rename(s.modelDir(d), out); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if len(s.namesOf(d)) > 0 {
		return os.Rename(out, s.modelDir(d))
	}
	if err := s.dropDerived(d); err != nil {
		return err
	}
	for _, file := range append(s.gatesOf(d), s.recordPath(d), s.reportPath(d)) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return SyncDir(filepath.Dir(s.modelDir(d)))
}
