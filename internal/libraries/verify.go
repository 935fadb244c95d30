package libraries

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cubby/models"
)

// Verify says whether every file is there as it was installed, by size and
// SHA-256, and none besides. The error names the file, what is wrong with it, and
// the command that repairs it. Of a plain folder the headers are read again.
func (r Runtime) Verify() error {
	if r.Err != nil {
		return r.Err
	}
	if r.Name == "" {
		_, err := Folder(r.Folder)
		return err
	}
	root, err := os.OpenRoot(r.Folder)
	if err != nil {
		return &DamageError{r.Folder, problem(err), repair(r.Kind)}
	}
	defer root.Close()
	known := map[string]bool{ManifestName: true}
	for _, f := range r.Files {
		known[f.Path] = true
		if err := verifyFile(root, f); err != nil {
			return &DamageError{filepath.Join(r.Folder, f.Path), problem(err), repair(r.Kind)}
		}
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !known[e.Name()] {
			return &DamageError{filepath.Join(r.Folder, e.Name()), "it was not installed with them", repair(r.Kind)}
		}
	}
	return nil
}

func verifyFile(root *os.Root, want models.File) error {
	if info, err := root.Lstat(want.Path); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	} else if info.Size() != want.Size {
		return fmt.Errorf("it has %d bytes, not %d", info.Size(), want.Size)
	}
	f, err := root.Open(want.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if got := models.Digest(hash.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("its SHA-256 is %s, not %s", got.Hex(), want.SHA256.Hex())
	}
	return nil
}

// Folder describes a plain folder of libraries that the user names. It is checked
// to hold what a load needs, whole, for this machine; nobody vouches for more.
func Folder(path string) (Runtime, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Runtime{}, err
	}
	names, err := libraryFiles(path)
	if err != nil {
		return Runtime{}, err
	}
	if missing := Missing(names); missing != "" {
		return Runtime{}, fmt.Errorf("the folder %s holds no %s%s; get libraries with: fetch runtime", path, missing, inside(path))
	}
	for _, name := range names {
		if p := Plain(name); !strings.HasPrefix(p, "ggml") && !strings.HasPrefix(p, "llama") {
			continue // it may be a folder of the system's, with many more in it
		}
		if err := inspectFile(path, name, Local()); err != nil {
			return Runtime{}, err
		}
	}
	r := Runtime{Folder: path, Version: VersionOf(names), Kind: KindOf(names), OS: Local().OS, Arch: Local().Arch}
	if r.Version != "" && r.Version != Version {
		return Runtime{}, fmt.Errorf("the folder %s holds libraries of llama.cpp %s; this program knows %s only; get that with: fetch runtime", path, r.Version, Version)
	}
	return r, nil
}

// libraryFiles lists the libraries of a folder; links to files count.
func libraryFiles(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no folder %s; it should hold the libraries of libllama", folder)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !IsLibrary(e.Name()) {
			continue
		}
		if info, err := os.Stat(filepath.Join(folder, e.Name())); err != nil {
			return nil, fmt.Errorf("library %s: %w", e.Name(), err)
		} else if info.Mode().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// inside names the folder below that was probably meant.
func inside(folder string) string {
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern, "*llama*"))
		if err != nil {
			return ""
		}
		for _, f := range found {
			if Plain(filepath.Base(f)) == "llama" {
				return " (did you mean " + filepath.Dir(f) + "?)"
			}
		}
	}
	return ""
}

func inspectFile(folder, name string, want Platform) error {
	f, err := os.Open(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := Inspect(f, info.Size())
	if err != nil {
		return fmt.Errorf("library %s: %w; get libraries with: fetch runtime", f.Name(), err)
	}
	if err := RunsOn(found, want); err != nil {
		return fmt.Errorf("the folder %s %w (%s); get libraries with: fetch runtime", folder, err, name)
	}
	return nil
}

// RunsOn says whether want is among the platforms of a library.
func RunsOn(found []Platform, want Platform) error {
	var names []string
	for _, p := range found {
		if p == want {
			return nil
		}
		names = append(names, p.String())
	}
	return fmt.Errorf("holds libraries for %s, this machine is %s", strings.Join(names, " and "), want)
}
