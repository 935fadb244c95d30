package importer

import (
	"context"
	"fmt"
	"os"
	"path"
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

// carried returns the folder in the package that is a model folder: the package
// itself, or the one folder at its top.
func (p *pack) carried() (dir string, ok bool) {
	name, ok := p.named(models.ManifestName)
	return path.Dir(name), ok && strings.Count(name, "/") <= 1
}

// modelFolder brings the model folder dir of the package into the stage: labels,
// prompt, calibration, policy and canary stay as they are, and each file must be what
// the manifest says.
func (p *pack) modelFolder(ctx context.Context, dir string, o Options) (m models.Manifest, err error) {
	read, pristine, err := models.ReadManifest(p.path(dir))
	if err != nil {
		return m, err
	}
	m, p.pristine = *read, pristine
	m.Name = o.Name
	if o.NoData {
		m.Files = slices.DeleteFunc(m.Files, func(f models.File) bool { return strings.HasPrefix(f.Path, models.DataFolder+"/") })
	}
	for _, f := range m.Files {
		if err := p.carry(ctx, dir, f, read.Name); err != nil {
			return m, err
		}
	}
	return m, nil
}

// carry puts one file of a model folder into the stage.
func (p *pack) carry(ctx context.Context, dir string, f models.File, model string) error {
	name := path.Join(dir, f.Path)
	damage := &models.IntegrityError{Model: model, File: p.path(name), Repair: "fetch export " + model + " FILE.tar, where it came from"}
	if p.isTar {
		damage.File = name
	}
	if info, err := os.Stat(p.path(name)); err != nil || !info.Mode().IsRegular() {
		damage.Problem = "it is missing, or no regular file"
		return damage
	}
	if err := p.keep(ctx, name, f.Path); err != nil {
		return err
	}
	files := p.stage.Files()
	if got := files[len(files)-1]; got != f {
		damage.Problem = fmt.Sprintf("its %d bytes have the SHA-256 %s, not the %d bytes with %s of the manifest", got.Size, got.SHA256.Hex(), f.Size, f.SHA256.Hex())
		return damage
	}
	return nil
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
