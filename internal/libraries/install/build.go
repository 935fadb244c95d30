package install

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"cubby/internal/libraries"
	"cubby/models"
)

// llamaLicence is the text that every copy of llama.cpp must come with; packages
// of others leave it out.
//
//go:embed llama-licence.txt
var llamaLicence []byte

const llamaLicenceName = "LICENSE.llama.cpp"

// build makes a set of libraries in the stage.
func (in *installer) build(ctx context.Context, parts []part) (r libraries.Runtime, err error) {
	chosen, licences, err := in.choose(ctx, parts)
	if err != nil {
		return r, err
	}
	if r, err = in.describe(chosen, parts); err != nil {
		return r, err
	}
	r.Folder = filepath.Join(in.stage, "runtime")
	if err := os.Mkdir(r.Folder, 0o755); err != nil {
		return r, err
	}
	root, err := os.OpenRoot(r.Folder)
	if err != nil {
		return r, err
	}
	defer root.Close()
	for _, files := range []map[string]library{chosen, licences} {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			f, err := place(ctx, root, name, files[name])
			if err != nil {
				return r, err
			}
			r.Files = append(r.Files, f)
		}
	}
	text, err := write(root, llamaLicenceName, strings.NewReader(string(llamaLicence)))
	if err != nil {
		return r, err
	}
	r.Files = append(r.Files, text)
	data, err := r.Encode()
	if err != nil {
		return r, err
	}
	if _, err := write(root, libraries.ManifestName, strings.NewReader(string(data))); err != nil {
		return r, err
	}
	return r, models.SyncDir(r.Folder)
}

// choose opens the parts and picks what to install, by the names to install it
// under. The first part holds libllama; later ones add to it.
func (in *installer) choose(ctx context.Context, parts []part) (chosen, licences map[string]library, err error) {
	chosen, licences = map[string]library{}, map[string]library{}
	for n, p := range parts {
		t, err := in.open(ctx, n, p)
		if err != nil {
			return nil, nil, err
		}
		dir := "" // all folders of a part that adds something
		if n == 0 {
			if dir, err = t.home(); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", p.source.From, err)
			}
		}
		found := t.libraries(dir)
		if len(found) == 0 {
			return nil, nil, fmt.Errorf("%s: there are no libraries in it", p.source.From)
		}
		dir = path.Dir(found[0].path)
		for _, l := range found {
			if other, ok := chosen[l.name()]; ok && other.tree == t {
				return nil, nil, fmt.Errorf("%s: it holds %s twice: %s and %s", p.source.From, l.name(), other.path, l.path)
			}
			chosen[l.name()] = l
		}
		for _, f := range t.licences(dir) {
			name := path.Base(f)
			if _, ok := licences[name]; ok || name == llamaLicenceName {
				name = fmt.Sprintf("%s.%d", name, n+1)
			}
			licences[name] = library{tree: t, path: f}
		}
	}
	return chosen, licences, nil
}

// describe checks the chosen libraries and says what they are.
func (in *installer) describe(chosen map[string]library, parts []part) (r libraries.Runtime, err error) {
	from := parts[0].source.From
	names := slices.Sorted(maps.Keys(chosen))
	var all []string
	for _, l := range chosen {
		all = append(all, l.names...)
	}
	if missing := libraries.Missing(names); missing != "" {
		return r, fmt.Errorf("%s: it lacks %s", from, missing)
	}
	for _, name := range names {
		if err := inspect(chosen[name], libraries.Local()); err != nil {
			return r, fmt.Errorf("%s: %s: %w", from, chosen[name].path, err)
		}
	}
	if v := libraries.VersionOf(all); v != "" && v != libraries.Version {
		return r, fmt.Errorf("%s: it is llama.cpp %s; this program knows the structures of %s only", from, v, libraries.Version)
	}
	kind := libraries.KindOf(names)
	if want := in.wantedKind(); want != "" && want != kind && (want != libraries.CUDA12 || kind != libraries.CUDA) {
		return r, fmt.Errorf("%s: its libraries are of kind %s, not %s", from, kind, want)
	} else if want != "" {
		kind = want
	}
	p := libraries.Local()
	r = libraries.Runtime{Version: libraries.Version, Kind: kind, OS: p.OS, Arch: p.Arch, Licence: licence(names, parts)}
	r.Name = libraries.NameOf(r.Version, r.Kind, p)
	for _, part := range parts {
		r.Source = append(r.Source, part.source)
	}
	return r, nil
}

// wantedKind is the kind that the libraries must be of; empty for any.
func (in *installer) wantedKind() string {
	if len(in.Paths) > 0 || in.URL != "" {
		return in.Kind
	}
	return in.kind()
}

func inspect(l library, want libraries.Platform) error {
	f, err := os.Open(filepath.Join(l.tree.dir, filepath.FromSlash(l.path)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := libraries.Inspect(f, info.Size())
	if err != nil {
		return err
	}
	return libraries.RunsOn(found, want)
}

// licence says under whose terms the files are.
func licence(names []string, parts []part) string {
	list := []string{"llama.cpp: MIT"}
	if slices.ContainsFunc(parts, func(p part) bool { return strings.Contains(p.source.From, "node-llama-cpp") }) {
		list = append(list, "node-llama-cpp: MIT")
	}
	if slices.ContainsFunc(names, ofNVIDIA) {
		list = append(list, "libraries of CUDA: NVIDIA's terms, https://docs.nvidia.com/cuda/eula/")
	}
	return strings.Join(list, "; ")
}

// ofNVIDIA recognises libraries of CUDA itself.
func ofNVIDIA(name string) bool {
	p := libraries.Plain(name)
	return strings.HasPrefix(p, "cudart") || strings.HasPrefix(p, "cublas") || strings.HasPrefix(p, "nvrtc") || strings.HasPrefix(p, "nccl")
}

// notes tells what the user should know of a set.
func notes(r libraries.Runtime) []string {
	carriesCUDA := slices.ContainsFunc(r.Files, func(f models.File) bool { return ofNVIDIA(f.Path) })
	switch {
	case r.Kind == libraries.CUDA && !carriesCUDA:
		return []string{"it needs libcudart and libcublas of NVIDIA's CUDA 13 on this machine; without them it computes on the CPU"}
	case r.Kind == libraries.CUDA12 && !carriesCUDA:
		return []string{"it needs libcudart and libcublas of NVIDIA's CUDA 12 on this machine; without them it computes on the CPU"}
	case r.Kind == libraries.CPU && hasNVIDIA():
		return []string{"this machine has an NVIDIA GPU: fetch runtime -kind " + libraries.CUDA}
	}
	return nil
}

// hasNVIDIA says whether the driver of an NVIDIA GPU is loaded.
func hasNVIDIA() bool {
	_, err := os.Stat("/proc/driver/nvidia/version")
	return goruntime.GOOS == "linux" && err == nil
}

// place copies a file of a tree into the set.
func place(ctx context.Context, root *os.Root, name string, l library) (models.File, error) {
	in, err := os.OpenRoot(l.tree.dir)
	if err != nil {
		return models.File{}, err
	}
	defer in.Close()
	f, err := in.Open(filepath.FromSlash(l.path))
	if err != nil {
		return models.File{}, err
	}
	defer f.Close()
	return write(root, name, models.ContextReader{Ctx: ctx, R: f})
}

// write writes a file of the set, hashing it, and makes it durable.
func write(root *os.Root, name string, r io.Reader) (models.File, error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return models.File{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, hash), r)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return models.File{}, fmt.Errorf("write %s: %w", name, err)
	}
	return models.File{Path: name, Size: n, SHA256: models.Digest(hash.Sum(nil))}, nil
}
