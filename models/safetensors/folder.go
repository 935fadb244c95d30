package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	weightsName   = "model.safetensors"
	indexName     = weightsName + ".index.json"
	adapterPrefix = "adapter_"

	maxIndex  = 16 << 20 // bytes
	maxShards = 1000     // files that a model's weights may be split over
)

// Files lists the files in a Hugging Face folder that hold a model's weights: those
// that its index names, the one of the usual name, or all but those of an adapter.
// The names lead nowhere else; that the files are there is not checked.
func Files(dir string) ([]string, error) {
	data, err := readIndex(filepath.Join(dir, indexName))
	if err == nil {
		return indexed(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, weightsName)); err == nil {
		return []string{weightsName}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	pickled := ""
	for _, e := range entries {
		if Pickled(e.Name()) && pickled == "" {
			pickled = e.Name()
		}
		if filepath.Ext(e.Name()) == ".safetensors" && !strings.HasPrefix(e.Name(), adapterPrefix) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 && pickled != "" {
		return nil, fmt.Errorf("it has no .safetensors files, and %s", PickledWhy(pickled))
	}
	if len(names) == 0 {
		return nil, errors.New("it has no .safetensors files")
	}
	if len(names) > maxShards {
		return nil, fmt.Errorf("it has %d .safetensors files, more than %d", len(names), maxShards)
	}
	return names, nil
}

// Pickled reports whether a file is a Python pickle, by its name. Such files hold
// programs, which run when they are opened: they are never read.
func Pickled(name string) bool {
	return slices.Contains([]string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}, strings.ToLower(filepath.Ext(name)))
}

// PickledWhy says why a pickle is refused, and what to do.
func PickledWhy(name string) string {
	return name + " is a pickle, which can run code when it is opened, and is never read: save the weights as safetensors (save_pretrained with safe_serialization=True)"
}

func readIndex(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(data) > maxIndex {
		err = fmt.Errorf("%s is larger than %d MiB", indexName, maxIndex>>20)
	}
	return data, err
}

// indexed lists the shards that an index names.
func indexed(data []byte) ([]string, error) {
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	var names []string
	for _, name := range index.Map {
		if filepath.Ext(name) != ".safetensors" || strings.ContainsAny(name, `/\:`) || !fs.ValidPath(name) {
			return nil, fmt.Errorf("%s names %.80q, which is no file beside it", indexName, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > maxShards {
		return nil, fmt.Errorf("%s names %d files", indexName, len(names))
	}
	return names, nil
}
