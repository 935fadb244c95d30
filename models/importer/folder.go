package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cubby/models"
)

// isModelFolder says whether a path is a model folder, with a manifest of its own.
func isModelFolder(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, models.ManifestName))
	return err == nil && info.Mode().IsRegular()
}

// modelFolder copies a model folder into the stage: labels, prompt, calibration
// and policy stay as they are.
func modelFolder(ctx context.Context, stage *models.Stage, o Options) (models.Manifest, error) {
	model, err := models.OpenFolder(o.Path)
	if err != nil {
		return models.Manifest{}, err
	}
	m := model.Manifest
	if err := model.Close(); err != nil {
		return m, err
	}
	if o.NoData {
		m.Files = slices.DeleteFunc(m.Files, func(f models.File) bool { return strings.HasPrefix(f.Path, models.DataFolder+"/") })
	}
	for _, f := range m.Files {
		if err := copyFile(ctx, stage, o.Path, f.Path); err != nil {
			return m, err
		}
	}
	if len(stage.Files()) != len(m.Files) {
		return m, errors.New("files changed while they were copied")
	}
	m.Name, m.Files, m.Canary = o.Name, stage.Files(), nil
	return m, nil
}

func copyFile(ctx context.Context, stage *models.Stage, dir, name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("%q is not a path inside the folder", name)
	}
	return writeFrom(ctx, stage, name, filepath.Join(dir, filepath.FromSlash(name)))
}

// writeFrom puts any file into the model.
func writeFrom(ctx context.Context, stage *models.Stage, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return stage.Write(ctx, name, f)
}
