// Package libraries says what is installed of libllama: sets of shared libraries
// in the store, each in a folder of its own with a manifest, for one system and
// one kind of device.
//
//	runtimes/NAME/               one set, immutable
//	runtimes/NAME/runtime.json   what it is, with the size and SHA-256 of every file
//
// A folder there exists only whole: package install builds it elsewhere and
// renames it. What is loaded into a process can do all that the process can, so
// every file is hashed before each load, and a file more is as wrong as one less.
package libraries

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"cubby/models"
)

// Version is the release of llama.cpp that the program knows the structures of.
const Version = "0.5.0"

// ManifestName is the manifest's file name beside the libraries.
const ManifestName = "runtime.json"

// schemaVersion is the manifest schema this program writes and reads.
const schemaVersion = 1

// Limits of what is read before anything is known of it.
const (
	maxManifest = 1 << 20
	maxFiles    = 512
)

// ErrNone is in the chain of errors that say that no libraries are installed.
var ErrNone = errors.New("no libraries of libllama are installed")

// Runtime is a set of libraries of libllama.
type Runtime struct {
	Name   string `json:"-"` // empty for a plain folder of the user's
	Folder string `json:"-"`

	Schema  int           `json:"schema_version"`
	Version string        `json:"version"` // of llama.cpp: "0.5.0"; empty in a plain folder that does not tell
	Kind    string        `json:"kind"`
	OS      string        `json:"os"`
	Arch    string        `json:"arch"`
	Source  []Source      `json:"source"` // what it was unpacked from
	Licence string        `json:"licence"`
	Files   []models.File `json:"files"`

	// Err says what is wrong with an installed set, as far as its manifest shows.
	Err error `json:"-"`
}

// Source is one archive, or folder, that a set was made from.
type Source struct {
	From   string        `json:"from"`             // address, package or path
	SHA256 models.Digest `json:"sha256,omitzero"`  // of the archive
	Pinned bool          `json:"pinned,omitempty"` // the digest stands in the program
}

// Platform is the system that the libraries are for.
func (r Runtime) Platform() Platform { return Platform{r.OS, r.Arch} }

// Size is that of all files.
func (r Runtime) Size() int64 {
	var n int64
	for _, f := range r.Files {
		n += f.Size
	}
	return n
}

// DamageError says that installed libraries are not those that were installed.
type DamageError struct {
	File    string // path of the damaged file
	Problem string
	Repair  string // command that repairs it
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the libraries of libllama are damaged: %s: %s; repair them with: %s", e.File, e.Problem, e.Repair)
}

// Local is the platform of this process.
func Local() Platform { return Platform{goruntime.GOOS, goruntime.GOARCH} }

// Parent is the folder of all sets in the store home.
func Parent(home string) string { return filepath.Join(home, "runtimes") }

// NameOf is the name of a set in the store.
func NameOf(version, kind string, p Platform) string {
	return "llama.cpp-" + version + "-" + p.OS + "-" + p.Arch + "-" + kind
}

// List returns what is installed in the store home, by name. A store that does
// not exist yet is empty.
func List(home string) ([]Runtime, error) {
	entries, err := os.ReadDir(Parent(home))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Runtime
	for _, e := range entries {
		if e.IsDir() && models.ValidName(e.Name()) == nil {
			list = append(list, Open(filepath.Join(Parent(home), e.Name())))
		}
	}
	return list, nil
}

// Open reads the manifest of an installed set; Err tells what is wrong with it.
func Open(folder string) Runtime {
	name := filepath.Base(folder)
	r, err := readManifest(filepath.Join(folder, ManifestName))
	if err == nil && NameOf(r.Version, r.Kind, r.Platform()) != name {
		err = fmt.Errorf("it describes %s", NameOf(r.Version, r.Kind, r.Platform()))
	}
	if err != nil {
		r = Runtime{Err: &DamageError{filepath.Join(folder, ManifestName), problem(err), repair(kindIn(name))}}
	}
	r.Name, r.Folder = name, folder
	return r
}

// kindIn is the kind that a set's name ends with, for a command that repairs it.
func kindIn(name string) string {
	i := strings.LastIndexByte(name, '-')
	if kind := name[i+1:]; slices.Contains(kinds, kind) {
		return kind
	}
	return CPU
}

func repair(kind string) string { return "fetch runtime -kind " + kind }

func problem(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "it is missing"
	}
	return err.Error()
}

func readManifest(file string) (r Runtime, err error) {
	f, err := os.Open(file)
	if err != nil {
		return r, err
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, maxManifest))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	return r, r.check()
}

// check refuses a manifest that this program would not write.
func (r Runtime) check() error {
	switch {
	case r.Schema != schemaVersion:
		return fmt.Errorf("its schema_version is %d; this program reads %d", r.Schema, schemaVersion)
	case !slices.Contains(kinds, r.Kind):
		return fmt.Errorf("its kind is %.80q", r.Kind)
	case len(r.Files) == 0 || len(r.Files) > maxFiles:
		return fmt.Errorf("it lists %d files", len(r.Files))
	}
	for _, f := range r.Files {
		if !fs.ValidPath(f.Path) || strings.ContainsAny(f.Path, `/\:`) || f.Path == "." || f.Path == ManifestName {
			return fmt.Errorf("it lists a file %.80q", f.Path)
		}
	}
	return nil
}

// Encode writes the manifest.
func (r Runtime) Encode() ([]byte, error) {
	r.Schema = schemaVersion
	if err := r.check(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	return append(data, '\n'), err
}

// Find returns the installed set of a kind for this machine and this program;
// without a kind the best there is, GPU kinds first. Its files are not looked at:
// see Verify.
func Find(home, kind string) (Runtime, error) {
	if kind != "" && !slices.Contains(kinds, kind) {
		return Runtime{}, fmt.Errorf("there are no libraries of kind %.80q: kinds are %s", kind, strings.Join(kinds, ", "))
	}
	want := kinds
	if kind != "" {
		want = []string{kind}
	}
	for _, k := range want {
		r := Open(filepath.Join(Parent(home), NameOf(Version, k, Local())))
		if _, err := os.Lstat(r.Folder); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return r, r.Err // damage to the best is told: the second best is slower
	}
	return Runtime{}, none(home, kind)
}

// none tells what is there instead.
func none(home, kind string) error {
	command := "fetch runtime"
	what := "for " + Local().String()
	if kind != "" {
		command, what = repair(kind), "of kind "+kind+" "+what
	}
	others := ""
	if list, err := List(home); err == nil && len(list) > 0 {
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
		}
		others = " (the store has " + strings.Join(names, ", ") + ")"
	}
	return fmt.Errorf("%w %s%s; get llama.cpp %s with: %s", ErrNone, what, others, Version, command)
}

// Remove takes an installed set out of the store. It is gone in one step.
func Remove(home, name string) error {
	if err := models.ValidName(name); err != nil {
		return err
	}
	folder := filepath.Join(Parent(home), name)
	if _, err := os.Lstat(folder); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w under the name %q%s", ErrNone, name, hint(home))
	}
	trash, err := Staging(home)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(folder, filepath.Join(trash, "removed")), os.RemoveAll(trash))
}

func hint(home string) string {
	list, err := List(home)
	if err != nil || len(list) == 0 {
		return ": the store has none"
	}
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	return ": the store has " + strings.Join(names, ", ")
}

// StagingPrefix begins the names of folders where sets are under construction or
// on their way out.
const StagingPrefix = "runtime-"

// Staging makes a folder in the file system of the store, where the store clears
// away what killed processes left.
func Staging(home string) (string, error) {
	parent := filepath.Join(home, "staging")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("the store cannot be written: %w; %s names another folder", err, models.HomeVariable)
	}
	return os.MkdirTemp(parent, StagingPrefix)
}
