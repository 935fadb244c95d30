package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cubby/models"
)

// maxFolderFiles is the most files that a folder given as a package may hold.
const maxFolderFiles = 10_000

// pack is an opened package: a folder, or what a tar was unpacked to.
type pack struct {
	dir    string
	beside string        // folder of the package itself
	files  []models.File // sorted by depth, then path; digests only from a tar
	stage  *models.Stage
	isTar  bool
	client string // file of the user's that goes before the package's client; may be empty
	// pristine: a model folder whose manifest is the one that its name promises.
	pristine bool

	tests     *TestSet // once it was read
	otherBase string   // that the package names, where it was merged into another
	warnings  []string
	writing   *writing  // of a model that writes its answers
	rounding  *rounding // nil where the weights stay
}

func (p *pack) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// openPack lists a folder, or unpacks a tar into the stage.
func openPack(ctx context.Context, stage *models.Stage, name string) (*pack, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	p := &pack{dir: name, beside: filepath.Dir(abs), stage: stage}
	switch {
	case info.IsDir():
		p.files, err = listFolder(name)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a folder nor a regular file", name)
	default:
		p.isTar, p.dir = true, stage.Scratch()
		p.files, err = unpack(ctx, name, p.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	slices.SortFunc(p.files, func(a, b models.File) int {
		if d := strings.Count(a.Path, "/") - strings.Count(b.Path, "/"); d != 0 {
			return d
		}
		return strings.Compare(a.Path, b.Path)
	})
	return p, nil
}

func unpack(ctx context.Context, name, dir string) ([]models.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return extractTar(ctx, f, dir)
}

// listFolder lists the regular files of a folder, hidden ones apart. Links to
// files are followed: the folder is the user's own, and caches of downloads are
// made of links. Links to folders and to nothing are passed over.
func listFolder(dir string) ([]models.File, error) {
	var files []models.File
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != dir && strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		if len(files) == maxFolderFiles {
			return fmt.Errorf("more than %d files: this is not a package", maxFolderFiles)
		}
		rel, err := filepath.Rel(dir, p)
		files = append(files, models.File{Path: filepath.ToSlash(rel), Size: info.Size()})
		return err
	})
	return files, err
}

// find returns the files that match, shallowest first.
func (p *pack) find(match func(string) bool) []string {
	var names []string
	for _, f := range p.files {
		if match(f.Path) {
			names = append(names, f.Path)
		}
	}
	return names
}

// named returns the shallowest file of that base name.
func (p *pack) named(base string) (string, bool) {
	names := p.find(func(name string) bool { return path.Base(name) == base })
	if len(names) == 0 {
		return "", false
	}
	return names[0], true
}

func (p *pack) has(name string) bool {
	return slices.ContainsFunc(p.files, func(f models.File) bool { return f.Path == name })
}

func (p *pack) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

// read returns a small file whole.
func (p *pack) read(name string, limit int64) ([]byte, error) {
	return readSmall(p.path(name), name, limit)
}

// readSmall reads a file whole, which errors call by its name.
func readSmall(file, name string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return data, err
}

// keep puts a file of the package into the model under a new path.
func (p *pack) keep(ctx context.Context, name, as string) error {
	if p.isTar {
		i := slices.IndexFunc(p.files, func(f models.File) bool { return f.Path == name })
		f := p.files[i]
		f.Path = as
		return p.stage.Adopt(name, f)
	}
	return writeFrom(ctx, p.stage, as, p.path(name))
}

// job returns the content of the job description: of the named file, or of the
// one in the package, or beside it. It is nil where there is none.
func (p *pack) job(file string) ([]byte, error) {
	if file != "" {
		return readJob(file)
	}
	if name, ok := p.named(jobName); ok {
		return readJob(p.path(name))
	}
	data, err := readJob(filepath.Join(p.beside, jobName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func readJob(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(f, maxJSON+1)); err != nil {
		return nil, err
	}
	if buf.Len() > maxJSON {
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxJSON>>20)
	}
	return buf.Bytes(), nil
}
