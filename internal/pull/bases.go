package pull

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cubby/internal/download"
	"cubby/internal/hub"
	"cubby/models"
	"cubby/models/importer"
)

// Bases downloads the base models of adapters from the hub and keeps them in the
// store, for the next adapter of the same base:
//
//	bases/models--ORG--REPO/base.json    which commit is there, and its files' hashes
//	bases/models--ORG--REPO/COMMIT/      the files; some are missing while there is no base.json
//
// It implements importer.Bases.
type Bases struct {
	Client   func() (*hub.Client, error) // asked when something is to be downloaded
	Store    *models.Store
	Offline  bool // use what is kept, and download nothing
	Progress download.Progress
	Say      func(string)
}

// KeptBase is a base model in the store.
type KeptBase struct {
	Repo   string        `json:"repo"`
	Commit string        `json:"commit"`
	Files  []models.File `json:"files"`
}

// Size is that of its files, in bytes.
func (k KeptBase) Size() (n int64) {
	for _, f := range k.Files {
		n += f.Size
	}
	return n
}

const (
	basesName      = "bases"
	baseRecordName = "base.json"
	basePrefix     = "models--" // as in the hub's cache: importer.Import reads the name off it
	maxBaseRecord  = 4 << 20
)

func basesDir(store *models.Store) string { return filepath.Join(store.Root(), basesName) }

func baseDir(store *models.Store, repo string) string {
	return filepath.Join(basesDir(store), basePrefix+strings.ReplaceAll(repo, "/", "--"))
}

// Base returns the folder of a base model, which is whole and has the bytes that the
// hub published. It downloads what is missing; a killed download goes on the next
// time.
func (b Bases) Base(ctx context.Context, name string) (folder string, err error) {
	if !hub.ValidRepo(name) {
		return "", fmt.Errorf("%q is no name of the hub: %w", name, fs.ErrNotExist)
	}
	dir := baseDir(b.Store, name)
	if _, err := os.Stat(dir); err != nil && b.Offline {
		return "", fmt.Errorf("nothing is downloaded with -offline, or with HF_HUB_OFFLINE set: %w", fs.ErrNotExist)
	}
	w := work{dir: dir, store: b.Store}
	if w.lock, err = lockFolder(ctx, dir, b.say); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.leave()) }()
	kept, err := readBase(dir)
	if err == nil {
		if kept.whole(ctx, dir) {
			return filepath.Join(dir, kept.Commit), nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	if b.Offline {
		return "", fmt.Errorf("its copy in %s is not whole, and nothing is downloaded with -offline, or with HF_HUB_OFFLINE set: %w", dir, fs.ErrNotExist)
	}
	return b.download(ctx, dir, name)
}

func (b Bases) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(fmt.Sprintf(format, args...))
	}
}

func readBase(dir string) (k KeptBase, err error) {
	name := filepath.Join(dir, baseRecordName)
	info, err := os.Stat(name)
	if err != nil {
		return k, err
	}
	if info.Size() > maxBaseRecord {
		return k, fmt.Errorf("%s is larger than %d MiB", name, maxBaseRecord>>20)
	}
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err == nil && (!hub.ValidRepo(k.Repo) || !fs.ValidPath(k.Commit) || strings.ContainsAny(k.Commit, `./\`) || len(k.Files) == 0) {
		err = fmt.Errorf("%s is damaged", name)
	}
	for _, f := range k.Files {
		if err == nil && !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			err = fmt.Errorf("%s is damaged", name)
		}
	}
	return k, err
}

// whole hashes the files, and reports whether they are as they were published.
func (k KeptBase) whole(ctx context.Context, dir string) bool {
	for _, f := range k.Files {
		file, err := os.Open(filepath.Join(dir, k.Commit, filepath.FromSlash(f.Path)))
		if err != nil {
			return false
		}
		hash := sha256.New()
		_, err = io.Copy(hash, models.ContextReader{Ctx: ctx, R: file})
		if file.Close() != nil || err != nil || models.Digest(hash.Sum(nil)) != f.SHA256 {
			return false
		}
	}
	return true
}

// download brings the newest commit of a base.
func (b Bases) download(ctx context.Context, dir, name string) (string, error) {
	client, err := b.Client()
	if err != nil {
		return "", err
	}
	at, choice, err := chooseBase(ctx, client, name)
	if err != nil {
		return "", err
	}
	if err := os.Remove(filepath.Join(dir, baseRecordName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", stored(err)
	}
	folder, err := takeUp(dir, at.SHA)
	if err != nil {
		return "", stored(err)
	}
	if err := prune(folder, choice.All()); err != nil {
		return "", stored(err)
	}
	if err := roomIn(folder, choice.Size(), "the base model and the merged one"); err != nil {
		return "", err
	}
	b.say("downloading the base model %s, which is kept for other adapters of it: fetch rm hf.co/%[1]s removes it", name)
	files, err := client.Fetch(ctx, download.Downloader{Progress: b.Progress}, folder, at, choice.All())
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(KeptBase{name, at.SHA, files})
	if err == nil {
		err = models.WriteFileDurably(filepath.Join(dir, baseRecordName), data)
	}
	if err != nil {
		return "", stored(err)
	}
	return folder, nil
}

// chooseBase finds the files of a base. Where the hub shows no such model, another
// name of it may do.
func chooseBase(ctx context.Context, client *hub.Client, name string) (at hub.Commit, choice hub.Choice, err error) {
	at, err = client.Resolve(ctx, hub.Ref{Repo: name})
	if errors.Is(err, hub.NotFound) || errors.Is(err, hub.Hidden) {
		return at, choice, unseen{err}
	}
	if err != nil {
		return at, choice, baseError(name, err)
	}
	if at.Restricted {
		if err := client.Access(ctx, at); err != nil {
			return at, choice, baseError(name, err)
		}
	}
	files, err := client.Files(ctx, at)
	if err != nil {
		return at, choice, err
	}
	files = slices.DeleteFunc(files, func(f hub.File) bool { return filepath.Ext(f.Path) == ".gguf" })
	choice, err = hub.Choose(hub.Ref{Repo: name}, files)
	if err == nil && choice.Adapter {
		err = fmt.Errorf("%s is an adapter itself", hub.Ref{Repo: name})
	}
	return at, choice, baseError(name, err)
}

// unseen is an error that says that there is no such model.
type unseen struct{ error }

func (u unseen) Unwrap() error        { return u.error }
func (u unseen) Is(target error) bool { return target == fs.ErrNotExist }

func baseError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the base model %s of the adapter cannot be downloaded: %w; a folder that holds it can be named with -base", name, err)
}

// takeUp makes the folder of a commit, out of what an earlier try left of another.
func takeUp(dir, commit string) (string, error) {
	folder := filepath.Join(dir, commit)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == commit {
			continue
		}
		old := filepath.Join(dir, e.Name())
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) && os.Rename(old, folder) == nil {
			continue
		}
		if err := os.RemoveAll(old); err != nil {
			return "", err
		}
	}
	return folder, os.MkdirAll(folder, 0o755)
}

// ListBases lists the base models that a store keeps, whole ones only.
func ListBases(store *models.Store) ([]KeptBase, error) {
	entries, err := os.ReadDir(basesDir(store))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []KeptBase
	for _, e := range entries {
		if k, err := readBase(filepath.Join(basesDir(store), e.Name())); err == nil {
			list = append(list, k)
		}
	}
	return list, err
}

// RemoveBase removes a base model from the store, or what came of one. Models that
// were made of it stay.
func RemoveBase(ctx context.Context, store *models.Store, repo string, say func(string)) (err error) {
	dir := baseDir(store, repo)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w: the store keeps no base model %s", models.ErrNotFound, repo)
	}
	w := work{dir: dir, store: store}
	if w.lock, err = lockFolder(ctx, dir, Bases{Say: say}.say); err != nil {
		return err
	}
	return errors.Join(w.clear(), w.leave())
}

var _ importer.Bases = Bases{}
