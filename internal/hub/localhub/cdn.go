package localhub

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"cubby/internal/presigned"
)

const signingKey presigned.Key = "localhub"

// link returns a signed address of a large file, whose path is /ORG/REPO/SHA256.
func (c *CDN) link(repo string, f file) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "/" + repo + "/" + f.sha256
	return c.address + name + "?" + signingKey.Query(name, c.hub.opt.Now(), c.hub.opt.LinkLifetime).Encode()
}

// ServeHTTP answers as the hub's host for large files does.
func (c *CDN) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text := r.Header.Get("Authorization") + r.Header.Get("Cookie"); text != "" {
		c.mu.Lock()
		c.leaked = append(c.leaked, text)
		c.mu.Unlock()
	}
	c.Serve(w, r, c.file)
}

func (c *CDN) file(w http.ResponseWriter, r *http.Request) {
	if signingKey.Refuse(w, r, c.hub.opt.Now(), "") {
		return
	}
	repo, sum := strings.TrimPrefix(path.Dir(r.URL.Path), "/"), path.Base(r.URL.Path)
	files, err := c.hub.files(repo)
	i := slices.IndexFunc(files, func(f file) bool { return f.sha256 == sum })
	if err != nil || i < 0 {
		presigned.NoKey(w)
		return
	}
	if w.Header().Get("ETag") == "" { // a fault may have set another
		w.Header().Set("ETag", `"`+sum+`"`)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	c.hub.serve(w, r, repo, files[i].path)
}
