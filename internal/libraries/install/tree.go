package install

import (
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

	"cubby/internal/libraries"
	"cubby/models"
)

// maxFolderFiles is the most files that a folder given as a source may hold.
const maxFolderFiles = 10_000

// tree is what a part holds of libraries and licence texts.
type tree struct {
	dir   string
	files []string          // slash paths of regular files
	links map[string]string // slash paths of links to slash paths inside the tree
}

// wanted says whether a file is one to install.
func wanted(name string) bool { return libraries.IsLibrary(name) || isLicence(name) }

func isLicence(name string) bool {
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "EULA"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return false
}

// local opens the paths that a user gives. An archive's digest is noted, so that
// what was installed can be traced.
func local(ctx context.Context, paths []string) ([]part, error) {
	var parts []part
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(abs)
		if err != nil {
			return nil, err
		}
		src := libraries.Source{From: abs}
		switch {
		case info.IsDir():
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is neither a folder nor a regular file", p)
		default:
			if src.SHA256, err = hashFile(ctx, abs); err != nil {
				return nil, err
			}
			src.Pinned = isPinned(src.SHA256)
		}
		parts = append(parts, part{abs, src})
	}
	return parts, nil
}

func hashFile(ctx context.Context, name string) (d models.Digest, err error) {
	f, err := os.Open(name)
	if err != nil {
		return d, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, models.ContextReader{Ctx: ctx, R: f}); err != nil {
		return d, err
	}
	return models.Digest(hash.Sum(nil)), nil
}

// open lists a folder, or unpacks an archive into the stage.
func (in *installer) open(ctx context.Context, n int, p part) (*tree, error) {
	info, err := os.Stat(p.path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return listFolder(p.path)
	}
	dir := filepath.Join(in.stage, fmt.Sprintf("unpacked%d", n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return unpack(ctx, p.path, dir)
}

// listFolder lists a folder of the user's. Links count where they lead to a file
// in it: those of a set of libraries are names for one of them.
func listFolder(dir string) (*tree, error) {
	t := &tree{dir: dir, links: map[string]string{}}
	seen := 0
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > maxFolderFiles {
			return fmt.Errorf("it holds more than %d files: name the folder of the libraries itself", maxFolderFiles)
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || !wanted(e.Name()) {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case e.Type().IsRegular():
			t.files = append(t.files, name)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if inside, ok := linkTarget(name, filepath.ToSlash(target)); ok {
				t.links[name] = inside
			}
		}
		return nil
	})
	return t, err
}

// linkTarget is where a link of a tree leads, if that is inside the tree.
func linkTarget(name, target string) (string, bool) {
	if path.IsAbs(target) || strings.ContainsAny(target, "\\:\x00") {
		return "", false
	}
	inside := path.Join(path.Dir(name), target)
	return inside, fs.ValidPath(inside)
}

// maxLinks is how many links are followed from one to the next.
const maxLinks = 8

// resolve follows a link to a regular file of the tree; "" where it leads to none.
func (t *tree) resolve(name string) string {
	for range maxLinks {
		target, ok := t.links[name]
		if !ok {
			break
		}
		name = target
	}
	if slices.Contains(t.files, name) {
		return name
	}
	return ""
}

// library is one file to install.
type library struct {
	tree  *tree
	path  string   // in the tree
	names []string // its own and those of the links to it
}

// name is what the library is installed as, once: the name that other libraries
// ask the system for, which is the shortest with a version where there are links
// to it, libllama.so.0 rather than libllama.so or libllama.so.0.5.0. Under two
// names the system could load it twice.
func (l library) name() string {
	best := ""
	for _, n := range l.names[1:] {
		if isVersioned(n) && (best == "" || len(n) < len(best)) {
			best = n
		}
	}
	if best == "" || isVersioned(l.names[0]) && len(l.names[0]) < len(best) {
		return l.names[0]
	}
	return best
}

// isVersioned recognises "libllama.so.0" and "libllama.0.dylib".
func isVersioned(name string) bool {
	if base, ok := strings.CutSuffix(name, ".dylib"); ok {
		return strings.Contains(base, ".")
	}
	return strings.Contains(name, ".so.")
}

// libraries returns the libraries of a folder of the tree; of all where it is "".
func (t *tree) libraries(dir string) []library {
	var list []library
	for _, f := range t.files {
		if !libraries.IsLibrary(path.Base(f)) || dir != "" && path.Dir(f) != dir {
			continue
		}
		l := library{t, f, []string{path.Base(f)}}
		for link := range t.links {
			if path.Dir(link) == path.Dir(f) && t.resolve(link) == f {
				l.names = append(l.names, path.Base(link))
			}
		}
		list = append(list, l)
	}
	return list
}

// home is the one folder of the tree that holds libllama.
func (t *tree) home() (string, error) {
	var dirs []string
	for _, f := range t.files {
		if dir := path.Dir(f); libraries.Plain(path.Base(f)) == "llama" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	switch len(dirs) {
	case 0:
		return "", errors.New("there is no libllama in it: it should be a release of llama.cpp, a package of node-llama-cpp, or a folder of such libraries")
	case 1:
		return dirs[0], nil
	}
	slices.Sort(dirs)
	return "", fmt.Errorf("several folders in it hold libllama: %s; give one of them", strings.Join(dirs, ", "))
}

// licences returns the licence texts of a folder of the tree and those above it.
func (t *tree) licences(dir string) []string {
	var list []string
	for _, f := range t.files {
		if d := path.Dir(f); isLicence(path.Base(f)) && (d == "." || d == dir || strings.HasPrefix(dir, d+"/")) {
			list = append(list, f)
		}
	}
	return list
}
