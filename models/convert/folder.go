package convert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cubby/models"
	"cubby/models/safetensors"
)

// The largest files that are read whole, in bytes.
const (
	maxConfig    = 4 << 20
	maxTokenizer = 64 << 20
)

// folder is a model as the Hugging Face hub hands it out.
type folder struct {
	dir  string
	open []func() error
}

func (f *folder) close() error {
	var err error
	for _, release := range f.open {
		err = errors.Join(err, release())
	}
	return err
}

func (f *folder) read(name string, limit int64) ([]byte, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return data, err
}

// weights maps the safetensors files.
func (f *folder) weights() ([]*safetensors.File, error) {
	names, err := safetensors.Files(f.dir)
	if err != nil {
		return nil, err
	}
	var shards []*safetensors.File
	for _, name := range names {
		data, release, err := models.MapFile(filepath.Join(f.dir, name))
		if err != nil {
			return nil, err
		}
		f.open = append(f.open, release)
		shard, err := safetensors.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		shards = append(shards, shard)
	}
	return shards, nil
}
