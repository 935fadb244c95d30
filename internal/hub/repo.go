package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"cubby/models"
)

// Commit is one state of a repo, which never changes.
type Commit struct {
	Repo       string // as the hub calls it now
	SHA        string // 40 hex digits
	Restricted bool   // gated or private: not everybody may have its files
}

// File is one file of a commit. One of SHA256 and Blob tells what is in it.
type File struct {
	Path   string
	Size   int64
	SHA256 models.Digest // of a large file; zero for a small one
	Blob   string        // of a small file: its SHA-1 as a git blob, 40 hex digits
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Resolve asks which commit a revision is.
func (c *Client) Resolve(ctx context.Context, r Ref) (Commit, error) {
	rev := cmp.Or(r.Rev, mainName)
	var info struct {
		ID      string          `json:"id"`
		SHA     string          `json:"sha"`
		Private bool            `json:"private"`
		Gated   json.RawMessage `json:"gated"` // false, "auto" or "manual"
	}
	_, err := c.get(ctx, route{r.Repo, rev, "/api/models/" + r.Repo + "/revision/" + url.PathEscape(rev), nil}, &info)
	if err != nil {
		return Commit{}, err
	}
	if !commitForm.MatchString(info.SHA) || info.ID != "" && !ValidRepo(info.ID) {
		return Commit{}, unreadable(r.Repo, "it names no commit")
	}
	gated := len(info.Gated) > 0 && string(info.Gated) != "false" && string(info.Gated) != "null"
	return Commit{Repo: cmp.Or(info.ID, r.Repo), SHA: info.SHA, Restricted: gated || info.Private}, nil
}

// Access asks whether the files of a commit would be given. A hub that does not
// know the question does not refuse.
func (c *Client) Access(ctx context.Context, at Commit) error {
	_, err := c.get(ctx, route{at.Repo, at.SHA, "/api/models/" + at.Repo + "/auth-check", nil}, nil)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// Bounds of a listing.
const (
	maxPages = 1000
	maxFiles = 100_000
)

// Files lists a commit's files.
func (c *Client) Files(ctx context.Context, at Commit) ([]File, error) {
	r := route{at.Repo, at.SHA, "/api/models/" + at.Repo + "/tree/" + at.SHA, url.Values{"recursive": {"true"}}}
	var files []File
	for range maxPages {
		var page []entry
		header, err := c.get(ctx, r, &page)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Type != "file" || fs.ValidPath(e.Path) && models.CheckPath(e.Path) != nil {
				continue // no model may hold a file of such a name
			}
			f, err := e.file()
			if err != nil {
				return nil, unreadable(at.Repo, "%v", err)
			}
			files = append(files, f)
		}
		next := nextPage(header)
		if next == "" {
			return files, nil
		}
		if next == r.query.Get("cursor") || len(files) > maxFiles {
			break
		}
		r.query.Set("cursor", next)
	}
	return nil, unreadable(at.Repo, "its list of files does not end")
}

// entry is a file or a folder as the hub lists it.
type entry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

func (e entry) file() (File, error) {
	f := File{Path: e.Path, Size: e.Size}
	if models.CheckPath(e.Path) != nil {
		return f, fmt.Errorf("%.80q is no path", e.Path)
	}
	if e.LFS == nil {
		if !commitForm.MatchString(e.OID) {
			return f, fmt.Errorf("%.80q has no hash", e.Path)
		}
		f.Blob = e.OID
	} else {
		f.Size = e.LFS.Size
		if err := f.SHA256.UnmarshalText([]byte(strings.TrimPrefix(e.LFS.OID, "sha256:"))); err != nil || f.SHA256 == (models.Digest{}) {
			return f, fmt.Errorf("%.80q has no SHA-256", e.Path)
		}
	}
	if f.Size < 0 {
		return f, fmt.Errorf("%.80q has the size %d", e.Path, f.Size)
	}
	return f, nil
}

var nextLink = regexp.MustCompile(`<([^<>]*)>\s*;[^,<]*\brel="?next"?`)

// nextPage returns where the next page of a listing begins, empty behind the last.
// Of the address in the header it takes that alone, so that neither a mirror's
// header nor a forged one leads to another host.
func nextPage(h http.Header) string {
	for _, value := range h.Values("Link") {
		m := nextLink.FindStringSubmatch(value)
		if m == nil {
			continue
		}
		if u, err := url.Parse(m[1]); err == nil {
			return u.Query().Get("cursor")
		}
	}
	return ""
}
