// Package download brings files from servers into a folder, whatever happens on
// the way: cut connections, full disks, expired addresses, killed processes.
//
// A file is downloaded into a folder of its own beside its place, together with a
// record of which version it is and of hashes of its beginnings. It gets its name
// when all files of the call are whole, checked and durable. What a call leaves
// behind, even by being killed, the next one takes up: it hashes what is there,
// keeps what the record vouches for, and asks the server for the rest of the same
// version.
package download

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cubby/models"

	"github.com/dustin/go-humanize"
)

// File is one file to download. What is known of its size and digest is checked.
type File struct {
	Name   string // slash-separated, below the folder
	URL    string // https, or http on this machine
	Header http.Header
	// Renew is asked for another address when the server answers 401, 403, 404 or
	// 410: a presigned address expires, even in the middle of a download. Nil: such
	// an answer is final. Header is sent only to the host of URL.
	Renew  func(ctx context.Context) (string, error)
	Size   int64         // 0 or -1 where unknown
	SHA256 models.Digest // zero where unknown
	Limit  int64         // most bytes that are taken where the size is unknown; 0: any number
}

// Downloader downloads files. Its zero value is ready.
type Downloader struct {
	Client   *http.Client  // nil: one that waits for connections and answers no longer than it should
	Workers  int           // files at a time; 0: 4
	Progress Progress      // nil: nobody watches
	Stall    time.Duration // how long no byte may come before the connection is given up; 0: 30 s

	limits *limits // nil: the defaults
}

// limits are the bounds that tests change.
type limits struct {
	tries         int           // in a row that brought no byte that was not there before
	allTries      int           // of one file
	firstWait     time.Duration // most that is waited before the second try; doubles
	mostWait      time.Duration
	maxRetryAfter time.Duration // most that a server can make us wait
	changes       int           // versions that a file may change to while it comes
	markEvery     int64         // bytes between two marks of the record
	syncEvery     int64         // bytes that a crash of the machine may cost
	free          func(dir string) (int64, bool)
}

var defaults = limits{
	tries:         8,
	allTries:      1000,
	firstWait:     time.Second,
	mostWait:      30 * time.Second,
	maxRetryAfter: time.Minute,
	changes:       3,
	markEvery:     1 << 20,
	syncEvery:     64 << 20,
	free:          FreeSpace,
}

const (
	defaultWorkers = 4
	defaultStall   = 30 * time.Second
	maxRedirects   = 5
	maxHeaders     = 256 << 10 // bytes of an answer's header
)

// job is one call of Fetch.
type job struct {
	client *http.Client
	dir    string
	stall  time.Duration
	limits limits

	mu       sync.Mutex // guards progress, which need not be made for several goroutines
	progress Progress
}

// Fetch brings files into dir: under their names when all of them are whole, each
// in one step, and durable. A file that is there already stays if its digest is
// the wanted one, else it is replaced. Where the digest is unknown, a record stays
// in a hidden folder beside the file, and the next call asks the server whether
// there is another version. The first failure stops the others; what
// came until then is used by the next call. The error is an *Error, or that of ctx.
func (d *Downloader) Fetch(ctx context.Context, dir string, files []File) ([]models.File, error) {
	if err := check(files); err != nil {
		return nil, err
	}
	j := &job{client: d.client(), dir: dir, progress: d.Progress, stall: cmp.Or(d.Stall, defaultStall), limits: defaults}
	if d.limits != nil {
		j.limits = *d.limits
	}
	if err := j.prepare(files); err != nil {
		return nil, err
	}
	transfers := make([]*transfer, len(files))
	for i, f := range files {
		transfers[i] = &transfer{File: f, job: j, target: j.path(f.Name), total: -1}
	}
	err := j.run(ctx, transfers, cmp.Or(d.Workers, defaultWorkers))
	if err == nil {
		err = j.publish(transfers)
	}
	for _, t := range transfers {
		if t.part != nil {
			t.part.release()
		}
	}
	if err != nil {
		return nil, err
	}
	got := make([]models.File, len(transfers))
	for i, t := range transfers {
		got[i] = models.File{Path: t.Name, Size: t.total, SHA256: t.sum}
	}
	return got, nil
}

// check refuses names that lead out of the folder, or to one place: on some file
// systems case makes no difference.
func check(files []File) error {
	seen := make(map[string]bool)
	for _, f := range files {
		if err := checkName(f.Name); err != nil {
			return usageError(f.Name, "%v", err)
		}
		if key := strings.ToLower(f.Name); seen[key] {
			return usageError(f.Name, "two files have that name")
		} else {
			seen[key] = true
		}
	}
	return nil
}

func (j *job) path(name string) string { return filepath.Join(j.dir, filepath.FromSlash(name)) }

// client is a copy that never ends a long download by the clock.
func (d *Downloader) client() *http.Client {
	if d.Client != nil {
		c := *d.Client
		c.Timeout = 0
		return &c
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.MaxResponseHeaderBytes = maxHeaders
	return &http.Client{Transport: t}
}

// prepare makes the folders, and sees that what is known to come finds room.
func (j *job) prepare(files []File) error {
	var need int64
	for _, f := range files {
		target := j.path(f.Name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return diskError(f.Name, err)
		}
		info, err := os.Stat(target)
		switch {
		case err == nil && info.IsDir():
			return usageError(f.Name, "there is a folder of that name in %s", j.dir)
		case f.Size <= 0, err == nil && info.Size() == f.Size && f.SHA256 != models.Digest{}:
			continue
		}
		left := leftovers(target)
		switch {
		case len(left) == 0 || !left[0].gone:
			need += f.Size
		case !left[0].empty:
			need += max(f.Size-left[0].size, 0)
		}
	}
	return j.room(j.dir, need)
}

// room sees whether so many more bytes fit. Known hole: others write too; then the
// disk says so.
func (j *job) room(what string, need int64) error {
	free, ok := j.limits.free(j.dir)
	if !ok || need <= free {
		return nil
	}
	return diskError(what, fullError{need, free, j.dir})
}

// run works on the transfers, several at a time, until one fails.
func (j *job) run(ctx context.Context, transfers []*transfer, workers int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan *transfer)
	var wg sync.WaitGroup
	for range min(max(workers, 1), len(transfers)) {
		wg.Go(func() {
			for t := range todo {
				if err := t.run(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, t := range transfers {
		select {
		case todo <- t:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

// publish gives whole files their names, and makes the names durable.
func (j *job) publish(transfers []*transfer) error {
	for _, t := range transfers {
		if t.part == nil {
			continue // it was there
		}
		if err := t.part.publish(); err != nil {
			return diskError(t.Name, err)
		}
		t.part = nil
	}
	for _, dir := range j.folders(transfers) {
		if err := models.SyncDir(dir); err != nil {
			return diskError(dir, err)
		}
	}
	return nil
}

// folders lists those of the files, up to the one they were brought into.
func (j *job) folders(transfers []*transfer) []string {
	all := []string{filepath.Clean(j.dir)}
	for _, t := range transfers {
		for dir := filepath.Dir(t.target); !slices.Contains(all, dir); dir = filepath.Dir(dir) {
			all = append(all, dir)
		}
	}
	return all
}

func (j *job) report(e Event) {
	if j.progress == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.progress.Report(e)
}

// hashFile hashes a regular file; ok is false where there is none.
func hashFile(ctx context.Context, name string) (sum models.Digest, size int64, ok bool) {
	f, err := os.Open(name)
	if err != nil {
		return sum, 0, false
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, models.ContextReader{Ctx: ctx, R: f})
	return models.Digest(h.Sum(nil)), size, err == nil
}

// bytesOf writes a size for people.
func bytesOf(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// fullError says before anything is written what ENOSPC would say later.
type fullError struct {
	need, free int64
	dir        string
}

func (e fullError) Error() string {
	return fmt.Sprintf("%s are needed, and %s are free in %s", bytesOf(e.need), bytesOf(e.free), e.dir)
}

func (fullError) Unwrap() error { return errNoSpace }
