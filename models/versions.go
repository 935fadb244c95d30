package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// A name's versions are the models whose manifests have that name: the one that the
// name points to, and those it pointed to before. Nothing else is kept about them,
// so there is nothing that could contradict the models. A version is written
// NAME@DIGEST, where the beginning of the digest is enough.

const (
	versionSign = "@"
	// minVersion is how many hex digits of a digest name a version at least.
	minVersion = 6
	// shortVersion is how many are shown.
	shortVersion = 12
)

// SplitVersion splits NAME@DIGEST into the name and hex digits, at least the first 6.
func SplitVersion(ref string) (name, digits string, err error) {
	name, text, ok := strings.Cut(ref, versionSign)
	if !ok {
		return "", "", fmt.Errorf("%.100q names no version: write NAME%sDIGEST", ref, versionSign)
	}
	if err := ValidName(name); err != nil {
		return "", "", err
	}
	digits = strings.TrimPrefix(text, digestPrefix)
	if len(digits) < minVersion || len(digits) > 2*len(Digest{}) || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", "", fmt.Errorf("%.100q is no digest of a version: give its first %d hex digits or more, in lower case; fetch use %s lists them", text, minVersion, name)
	}
	return name, digits, nil
}

// Called is the name whose version the entry is; empty where the manifest cannot tell.
func (e Entry) Called() string {
	if e.Name == "" && e.Manifest != nil {
		return e.Manifest.Name
	}
	return e.Name
}

// Version is how the entry is called among the versions of its name.
func (e Entry) Version() string { return VersionOf(e.Called(), e.Digest) }

// VersionOf writes a version, with as much of its digest as people need.
func VersionOf(name string, d Digest) string { return name + versionSign + d.Hex()[:shortVersion] }

// Versions lists the models that were installed under a name, first the one that it
// points to, then the others, the newest first.
func (s *Store) Versions(name string) ([]Entry, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.Called() != name })
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: the store has no model named %q%s", ErrNotFound, name, s.hint())
	}
	return list, nil
}

// version finds the one version of a name whose digest begins so.
func (s *Store) version(ref string) (Entry, error) {
	name, digits, err := SplitVersion(ref)
	if err != nil {
		return Entry{}, err
	}
	all, err := s.Versions(name)
	if err != nil {
		return Entry{}, err
	}
	hits := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return !strings.HasPrefix(e.Digest.Hex(), digits) })
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return Entry{}, fmt.Errorf("%w: %s has no version %s; it has %s", ErrNotFound, name, digits, written(all))
	}
	return Entry{}, fmt.Errorf("%d versions of %s begin with %s: %s; give more digits", len(hits), name, digits, written(hits))
}

func written(list []Entry) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Version())
	}
	return strings.Join(out, ", ")
}

// Use lets a name point to another of its versions, NAME@DIGEST, whose files are
// checked before as Open does. It returns that one, and the digest that the name
// pointed to before, which is zero where it pointed to nothing.
func (s *Store) Use(ref string) (now Entry, before Digest, err error) {
	unlock, err := s.lock()
	if err != nil {
		return now, before, err
	}
	defer unlock()
	if now, err = s.version(ref); err != nil {
		return now, before, err
	}
	if now.Err != nil {
		return now, before, now.Err
	}
	if err := s.verify(now.Digest, false); err != nil {
		return now, before, err
	}
	name := now.Called()
	if d, err := s.lookup(name); err == nil {
		before = d
	}
	if before != now.Digest {
		err = s.point(name, now.Digest)
	}
	return now, before, err
}

// point lets a name point to a model, in one step.
func (s *Store) point(name string, d Digest) error {
	return WriteFileDurably(s.namePath(name), []byte(d.String()+"\n"))
}

// Remove takes away the only version of a NAME and the name with it, a version
// NAME@DIGEST, or a model that has no name, by its written digest. What others could
// be rolled back to or is in use under its name stays, with an error that says how
// it goes. It returns what it removed.
func (s *Store) Remove(ref string) ([]Entry, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var e Entry
	switch {
	case strings.HasPrefix(ref, digestPrefix):
		e, err = s.nameless(ref)
	case strings.Contains(ref, versionSign):
		e, err = s.version(ref)
		if err == nil && e.Name != "" {
			e, err = s.onlyVersion(e.Name)
		}
	default:
		e, err = s.onlyVersion(ref)
	}
	if err != nil {
		return nil, err
	}
	return []Entry{e}, s.remove(e)
}

// RemoveAll takes away a name with all its versions: those that it does not point to
// first, so that it never points to nothing.
func (s *Store) RemoveAll(name string) ([]Entry, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	list, err := s.Versions(name)
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	for i, e := range list {
		if err := s.remove(e); err != nil {
			return list[:i], err
		}
	}
	return list, nil
}

// nameless finds a model that no name points to.
func (s *Store) nameless(ref string) (Entry, error) {
	d, err := ParseDigest(ref)
	if err != nil {
		return Entry{}, err
	}
	if names := s.namesOf(d); len(names) > 0 {
		return Entry{}, fmt.Errorf("model %s is named %s: remove that name", d, strings.Join(names, ", "))
	}
	if _, err := os.Stat(s.modelDir(d)); err != nil {
		return Entry{}, fmt.Errorf("%w: the store has no model %s", ErrNotFound, d)
	}
	m, err := s.manifest(d)
	return Entry{Digest: d, Manifest: m, Err: err}, nil
}

// onlyVersion finds what a name points to, if there is nothing else under that name.
func (s *Store) onlyVersion(name string) (Entry, error) {
	list, err := s.Versions(name)
	if err != nil {
		return Entry{}, err
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return Entry{}, fmt.Errorf("%s has %d versions, and one can roll back to each: %s; fetch rm %s%sDIGEST removes one that is not in use, fetch rm -all %s removes all",
		name, len(list), written(list), name, versionSign, name)
}

// remove takes away an entry's name, and the model unless it has another. The answers
// accepted for a name go before its last version: none of them meet a new model.
func (s *Store) remove(e Entry) error {
	if list, err := s.Versions(e.Called()); err == nil && len(list) == 1 {
		if err := removeDurably(s.BaselinePath(e.Called())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if e.Name != "" {
		if err := removeDurably(s.namePath(e.Name)); err != nil {
			return err
		}
	}
	if (e.Digest == Digest{}) || len(s.namesOf(e.Digest)) > 0 {
		return nil
	}
	return s.discard(e.Digest)
}

// lockName is no valid name of a model.
const lockName = ".lock"

// lock keeps other processes from pointing names and from removing models until
// unlock. Readers need none: what they see is whole at any moment. A file system
// without locks is used without: there, a model that is removed while a name is
// pointed to it may be missed.
func (s *Store) lock() (unlock func(), err error) {
	unlock, err = lockedfile.MutexAt(filepath.Join(s.root, "names", lockName)).Lock()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) { // without names there is nothing to guard
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the store cannot be locked: %w", err)
	}
	return unlock, nil
}
