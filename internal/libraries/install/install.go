// Package install puts libraries of libllama into the store: from an archive or a
// folder of the user's, from npm, or from the releases of llama.cpp. Archives are
// taken to be hostile: of what they hold only regular files with names of libraries
// and of licence texts are written, and nothing is installed whose headers are not
// those of whole libraries for this machine.
package install

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cubby/internal/libraries"
	"cubby/models"
)

// Where libraries come from, if not from a path.
const (
	NPM      = "npm"      // the packages of node-llama-cpp, by the npm client
	Upstream = "upstream" // the releases of llama.cpp
)

// Options say what to install.
type Options struct {
	Home string
	Kind string // empty for what the paths hold, or the kind that every machine of this system runs

	// One of these, or none for npm where that is installed, else upstream.
	Paths []string // folders or archives; files of later ones replace those of earlier ones
	From  string
	URL   string // of an archive

	SHA256   models.Digest // of the archive at URL
	Releases string        // address of the API of releases; empty for GitHub's
	Replace  bool          // also where the same kind is installed and whole
	Progress io.Writer     // a line a step; nil for none
}

// Result is what is installed now.
type Result struct {
	libraries.Runtime
	Already bool     // it was installed before, and is whole
	Notes   []string // what the user should know
}

// installer is one installation.
type installer struct {
	Options
	stage string // gone at the end
}

// Install installs libraries, whole or not at all.
func Install(ctx context.Context, opt Options) (*Result, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	if opt.Progress == nil {
		opt.Progress = io.Discard
	}
	if len(opt.Paths) == 0 && !opt.Replace {
		if r, err := libraries.Find(opt.Home, opt.kind()); err == nil && r.Verify() == nil {
			return &Result{Runtime: r, Already: true, Notes: notes(r)}, nil
		}
	}
	clearStale(opt.Home, time.Now())
	stage, err := libraries.Staging(opt.Home)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	in := &installer{opt, stage}
	parts, err := in.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return in.install(ctx, parts)
}

// Check says what is wrong with the options, before anything is done.
func (o Options) Check() error {
	switch given := len(o.Paths) > 0; {
	case o.Kind != "" && !slices.Contains(libraries.Kinds(), o.Kind):
		return fmt.Errorf("there are no libraries of kind %.80q: kinds are %s", o.Kind, strings.Join(libraries.Kinds(), ", "))
	case o.Kind == libraries.Metal && libraries.Local().OS != "darwin":
		return errors.New("metal is a kind of macOS; others are " + strings.Join(libraries.Kinds()[1:], ", "))
	case o.From != "" && o.From != NPM && o.From != Upstream:
		return fmt.Errorf("libraries come from %s or %s, or a path, not from %.80q", NPM, Upstream, o.From)
	case given && (o.From != "" || o.URL != "") || o.From != "" && o.URL != "":
		return errors.New("give paths, or a place to fetch from, or a URL: one of them")
	case o.URL != "" && o.SHA256 == models.Digest{}:
		return errors.New("a URL needs the SHA-256 of the archive")
	}
	return nil
}

// kind is what is fetched where none is given: what runs on every machine of this
// system.
func (o Options) kind() string {
	if o.Kind == "" && libraries.Local() == (libraries.Platform{OS: "darwin", Arch: "arm64"}) {
		return libraries.Metal
	}
	return cmp.Or(o.Kind, libraries.CPU)
}

// part is a fetched archive or a folder.
type part struct {
	path   string
	source libraries.Source
}

// fetch brings the parts to this machine.
func (in *installer) fetch(ctx context.Context) ([]part, error) {
	from := in.From
	if from == "" && len(in.Paths) == 0 && in.URL == "" {
		from = Upstream
		if npmInstalled() && pinned(in.kind()) != nil {
			from = NPM
		}
	}
	switch {
	case len(in.Paths) > 0:
		return local(ctx, in.Paths)
	case in.URL != "":
		return in.fetchURL(ctx)
	case from == NPM:
		return in.fetchNPM(ctx)
	}
	return in.fetchRelease(ctx)
}

func (in *installer) say(format string, args ...any) {
	fmt.Fprintf(in.Progress, format+"\n", args...)
}

// staleAfter is how long nothing must have happened in a folder under
// construction before it counts as left behind by a process that died.
const staleAfter = time.Hour

// clearStale removes what killed processes left.
func clearStale(home string, now time.Time) {
	found, err := filepath.Glob(filepath.Join(home, "staging", libraries.StagingPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		if now.Sub(models.LastChange(dir)) > staleAfter {
			os.RemoveAll(dir)
		}
	}
}

// install turns the parts into a set in the store.
func (in *installer) install(ctx context.Context, parts []part) (*Result, error) {
	b, err := in.build(ctx, parts)
	if err != nil {
		return nil, err
	}
	dst := filepath.Join(libraries.Parent(in.Home), b.Name)
	old := libraries.Open(dst)
	if old.Verify() == nil {
		if slices.Equal(old.Files, b.Files) && len(in.Paths) > 0 {
			return &Result{Runtime: old, Already: true, Notes: notes(old)}, nil
		}
		if !in.Replace {
			return nil, fmt.Errorf("%s is installed already, from %s, and whole; to install this instead, add: -replace", old.Name, old.Source[0].From)
		}
	}
	if err := b.Verify(); err != nil { // what the disk gave back, before anyone sees it
		return nil, err
	}
	if err := in.commit(b.Folder, dst); err != nil {
		return nil, err
	}
	b.Folder = dst
	return &Result{Runtime: b, Notes: notes(b)}, nil
}

// commit renames a finished set to its place. What is there goes away first, to
// where it is deleted; processes that have loaded it keep it. A whole set that
// another process has put there meanwhile is as good, and stays.
func (in *installer) commit(built, dst string) error {
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	err := os.Rename(built, dst)
	if err != nil && !in.Replace && libraries.Open(dst).Verify() == nil {
		return nil
	}
	if err != nil {
		err = in.exchange(built, dst)
	}
	if err != nil {
		return err
	}
	return models.SyncDir(filepath.Dir(dst))
}

// exchange puts a set in the place of another one, which comes back if that fails.
func (in *installer) exchange(built, dst string) error {
	replaced := filepath.Join(in.stage, "replaced")
	if err := os.Rename(dst, replaced); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Rename(built, dst)
	if err == nil {
		return nil
	}
	if back := os.Rename(replaced, dst); back != nil && !errors.Is(back, fs.ErrNotExist) {
		return errors.Join(err, back)
	}
	return err
}
