package models

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"cubby/labels"
	"cubby/models/gguf"
)

// Model is an opened, verified model. Its methods may be called from many
// goroutines. What Checkpoint returns is valid until Close.
type Model struct {
	Manifest Manifest
	Digest   string // of the manifest: "sha256:…"

	set  *labels.Set
	from source

	derived *Derived // nil outside a store

	mu        sync.Mutex
	closed    bool
	opened    map[string]mapping
	lent      map[*mapping]bool // those of Derived
	temporary []string          // files that end with the model
	parsed    *gguf.File        // of GGUF weights, once asked for
}

// source gives a model's files by their path in the manifest.
type source interface {
	open(name string) (mapping, error)
}

// mapping is the bytes of a file, which must not be changed, and what frees
// them.
type mapping struct {
	data  []byte
	close func() error
	drop  func() // forgets the pages that were read; nil where they are not the file's
}

func newModel(m Manifest, d Digest, from source) (*Model, error) {
	set, err := labels.NewSet(m.Labels)
	if err != nil {
		return nil, err
	}
	m.settle()
	return &Model{Manifest: m, Digest: d.String(), set: set, from: from, opened: map[string]mapping{}, lent: map[*mapping]bool{}}, nil
}

// Labels returns the label set.
func (m *Model) Labels() *labels.Set { return m.set }

// Folder is where the model's files lie, or "" for the built-in model.
func (m *Model) Folder() string {
	dir, _ := m.from.(folder)
	return string(dir)
}

// DropPages gives the memory back that the mapped files have taken by being
// read. They stay mapped: what is read again comes from the system's cache of
// the file.
func (m *Model) DropPages() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.opened {
		if f.drop != nil {
			f.drop()
		}
	}
}

// Close frees the mapped files. The checkpoint must not be used any more, nor
// what Derived lent.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.parsed = true, nil
	var errs []error
	for _, f := range m.opened {
		errs = append(errs, f.close())
	}
	for f := range m.lent {
		errs = append(errs, f.close())
	}
	for _, path := range m.temporary {
		errs = append(errs, os.Remove(path))
	}
	clear(m.opened)
	clear(m.lent)
	m.temporary = nil
	return errors.Join(errs...)
}

// bytes returns the content of a listed file. The caller holds m.mu.
func (m *Model) bytes(name string) ([]byte, error) {
	if f, ok := m.opened[name]; ok {
		return f.data, nil
	}
	if m.closed {
		return nil, fmt.Errorf("model %q is closed", m.Manifest.Name)
	}
	if _, ok := m.Manifest.file(name); !ok {
		return nil, fmt.Errorf("model %q has no file %q", m.Manifest.Name, name)
	}
	f, err := m.from.open(name)
	if err != nil {
		return nil, err
	}
	m.opened[name] = f
	return f.data, nil
}

// folder is a source of files mapped from a folder.
type folder string

// open maps the file read-only. Known hole: a process that truncates the file
// while it is mapped crashes this one; in the store, nothing does.
func (dir folder) open(name string) (mapping, error) {
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return mapping{}, err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return mapping{}, err
	}
	defer f.Close()
	if err := checkRegular(f); err != nil {
		return mapping{}, err
	}
	return mapFile(f)
}

// MapFile maps a regular file read-only. The bytes are valid until release.
func MapFile(path string) (data []byte, release func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := checkRegular(f); err != nil {
		return nil, nil, err
	}
	m, err := mapFile(f)
	return m.data, m.close, err
}

// memory is a source of files that are in memory already.
type memory map[string][]byte

func (files memory) open(name string) (mapping, error) {
	data, ok := files[name]
	if !ok {
		return mapping{}, fmt.Errorf("built-in model has no file %q", name)
	}
	return mapping{data: data, close: func() error { return nil }}, nil
}
