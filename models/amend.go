package models

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Amend installs a model with another manifest beside the one that a name of the
// store points to, which must be that artefact ("sha256:…"), and lets the name point to
// it. Its files are those of the old one, linked where the file system can. The old
// artefact stays.
func (s *Store) Amend(ctx context.Context, name, artifact string, change func(*Manifest)) (d Digest, err error) {
	old, err := s.Pointed(name, artifact)
	if err != nil {
		return d, err
	}
	if err := s.verify(old, false); err != nil {
		return d, named(err, name)
	}
	m, err := s.manifest(old)
	if err != nil {
		return d, named(err, name)
	}
	stage, err := s.Stage()
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, stage.Discard()) }()
	for _, f := range m.Files {
		if err := stage.take(ctx, s.modelDir(old), f); err != nil {
			return d, err
		}
	}
	change(m)
	m.Files = stage.Files()
	return stage.commit(*m, func() error {
		_, err := s.Pointed(name, artifact)
		return err
	})
}

// Pointed is what a name points to, if that is the artefact ("sha256:…").
func (s *Store) Pointed(name, artifact string) (Digest, error) {
	d, err := s.lookup(name)
	if err != nil {
		return d, fmt.Errorf("only a model in the store can be changed or gated: %w", err)
	}
	if d.String() != artifact {
		return d, fmt.Errorf("the store's %s is %s, and not %s: name the model as it is in the store, or run the same command again", name, d, artifact)
	}
	return d, nil
}

// take puts a verified file of another model into the stage.
func (st *Stage) take(ctx context.Context, dir string, f File) error {
	dst, err := st.place(f.Path)
	if err != nil {
		return err
	}
	src := filepath.Join(dir, filepath.FromSlash(f.Path))
	if os.Link(src, dst) == nil {
		st.files = append(st.files, f)
		return nil
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return st.Write(ctx, f.Path, in)
}
