package models

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Share lets a file of the stage be one with the same file of a stored model, as a
// hard link: several adapters of one base take its room on disk, and in the system's
// cache, once. Models stay independent: removing one leaves the others' file. The
// other file is hashed first; where none is the same, or links cannot be made, the
// stage keeps its own.
func (st *Stage) Share(ctx context.Context, name string) error {
	f, ok := Manifest{Files: st.files}.file(name)
	if !ok {
		return &fs.PathError{Op: "share", Path: name, Err: fs.ErrNotExist}
	}
	for _, other := range st.store.holding(f) {
		done, err := st.link(ctx, other, f)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// holding lists the paths of stored files that by their manifests are the same.
func (s *Store) holding(f File) []string {
	dirs, _ := readDir(filepath.Join(s.root, "models"))
	var paths []string
	for _, dir := range dirs {
		d, err := parseHex(dir)
		if err != nil {
			continue
		}
		m, err := s.manifest(d)
		if err != nil {
			continue
		}
		for _, other := range m.Files {
			if other.Size == f.Size && other.SHA256 == f.SHA256 {
				paths = append(paths, filepath.Join(s.modelDir(d), filepath.FromSlash(other.Path)))
			}
		}
	}
	return paths
}

// link replaces a file of the stage by a link to another, unless that is not the
// same, has gone meanwhile, or cannot be linked.
func (st *Stage) link(ctx context.Context, other string, f File) (bool, error) {
	linked := filepath.Join(st.Scratch(), "shared")
	if err := os.Link(other, linked); err != nil {
		return false, nil
	}
	root, err := os.OpenRoot(st.Scratch())
	if err != nil {
		return false, err
	}
	defer root.Close()
	_, problem, err := verifyFile(ctx, root, File{Path: "shared", Size: f.Size, SHA256: f.SHA256}, nil)
	if err != nil || problem != "" {
		return false, errors.Join(ctx.Err(), os.Remove(linked))
	}
	own := filepath.Join(st.Folder(), filepath.FromSlash(f.Path))
	if err := os.Remove(own); err != nil { // Windows renames nothing over a file that is read-only
		return false, err
	}
	return true, os.Rename(linked, own)
}
