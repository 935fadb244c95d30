// Package localhub is the Hugging Face hub on this machine, for tests and for trying
// things without a network: folders become repos of models, with the routes, answers
// and refusals of the real one.
//
// Small files come from the hub's own host; large ones from another, to which the hub
// redirects with an address that is signed and expires. The handlers of both are
// apart: CDN serves the second.
//
// It shares no code with the client, so that a misreading in one shows.
package localhub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cubby/internal/httpfault"
)

// Fault is a way to fail.
type Fault = httpfault.Fault

// Token is taken where Options name none.
const Token = "hf_localTokenOfNobody"

// Options say what the hub is like. Only Root is needed.
type Options struct {
	Root  string // holds ORG/REPO/ with the files
	Token string // the only one that is taken
	// Gated are the repos whose files only the token gets, Refused those gated ones
	// whose owner has not let it in yet, Private those that nobody else sees.
	Gated, Refused, Private []string
	Renamed                 map[string]string // old names of repos
	Tags                    []string          // revisions of every repo besides main and the commit
	Page                    int               // files a page of a listing; 0 for 1000
	LinkLifetime            time.Duration     // of signed addresses; 0 for an hour
	Now                     func() time.Time  // nil for time.Now
}

// Hub is an http.Handler: the hub's own host.
type Hub struct {
	httpfault.Server
	CDN *CDN
	opt Options
	api http.Handler

	mu   sync.Mutex
	sums map[string]sums // by path, size and time
}

// CDN is an http.Handler: the host where large files lie. Its address must be set
// before the hub redirects to it.
type CDN struct {
	httpfault.Server
	hub *Hub

	mu      sync.Mutex
	address string
	leaked  []string
}

type sums struct{ sha256, blob string }

// New returns a hub of the repos below opt.Root.
func New(opt Options) (*Hub, error) {
	if info, err := os.Stat(opt.Root); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("no folder of repos at %q: it holds ORG/REPO/ with the files of each", opt.Root)
	}
	if opt.Token == "" {
		opt.Token = Token
	}
	if opt.Page == 0 {
		opt.Page = 1000
	}
	if opt.LinkLifetime == 0 {
		opt.LinkLifetime = time.Hour
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	h := &Hub{opt: opt, sums: map[string]sums{}}
	h.CDN = &CDN{hub: h}
	h.api = h.routes()
	return h, nil
}

// ServeHTTP answers as huggingface.co does.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.Serve(w, r, h.api.ServeHTTP) }

// SetAddress says under which address the handler is reached.
func (c *CDN) SetAddress(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.address = address
}

// Leaked lists the credentials that reached the host of large files, which is to get
// none.
func (c *CDN) Leaked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.leaked)
}

// file is one file of a repo.
type file struct {
	path  string
	size  int64
	large bool
	sums
}

// isLarge says which files Git LFS keeps, as the hub's .gitattributes and its limit
// have it.
func isLarge(name string, size int64) bool {
	return slices.Contains([]string{".gguf", ".safetensors", ".bin", ".pt", ".onnx", ".h5"}, path.Ext(name)) || size > 10<<20
}

// files lists a repo, sorted by path as git does within a folder.
func (h *Hub) files(repo string) ([]file, error) {
	root := filepath.Join(h.opt.Root, filepath.FromSlash(repo))
	var list []file
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(rel), size: info.Size(), large: isLarge(rel, info.Size())}
		f.sums, err = h.hash(name, info)
		list = append(list, f)
		return err
	})
	return list, err
}

// hash hashes a file once.
func (h *Hub) hash(name string, info fs.FileInfo) (sums, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := fmt.Sprint(name, info.Size(), info.ModTime().UnixNano())
	if s, ok := h.sums[key]; ok {
		return s, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return sums{}, err
	}
	defer f.Close()
	plain, blob := sha256.New(), sha1.New()
	fmt.Fprintf(blob, "blob %d\x00", info.Size())
	if _, err := io.Copy(io.MultiWriter(plain, blob), f); err != nil {
		return sums{}, err
	}
	s := sums{hex.EncodeToString(plain.Sum(nil)), hex.EncodeToString(blob.Sum(nil))}
	h.sums[key] = s
	return s, nil
}

// commit is that of a repo's state: a hash over all of it.
func commit(files []file) string {
	sum := sha1.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s %s\n", f.blob, f.path)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Commit is the commit that main of a repo is now.
func (h *Hub) Commit(repo string) (string, error) {
	files, err := h.files(repo)
	if err == nil && len(files) == 0 {
		err = errors.New("no files")
	}
	return commit(files), err
}

// Repos lists the repos.
func (h *Hub) Repos() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(h.opt.Root, "*", "*"))
	var names []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			names = append(names, strings.Join([]string{filepath.Base(filepath.Dir(dir)), filepath.Base(dir)}, "/"))
		}
	}
	return names, err
}
