package localplatform

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"cubby/internal/presigned"
)

// filesPrefix is where files lie; on the real platform they have a host of their
// own.
const filesPrefix = "/s3/"

const signingKey presigned.Key = "localplatform"

// link returns a presigned address of a file of a task's folder, nil where it is
// absent.
func (p *Platform) link(r *http.Request, m *Model, file string) any {
	if m.dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(m.dir, file)); err != nil {
		return nil
	}
	path := filesPrefix + m.Task + "/" + file
	u := url.URL{Scheme: "http", Host: r.Host, Path: path, RawQuery: signingKey.Query(path, p.opt.Now(), p.opt.LinkLifetime).Encode()}
	return u.String()
}

// file serves a presigned address as S3 does. It was signed for GET only.
func (p *Platform) file(w http.ResponseWriter, r *http.Request) {
	if signingKey.Refuse(w, r, p.opt.Now(), http.MethodGet) {
		return
	}
	f, err := os.Open(filepath.Join(p.opt.Packages, filepath.FromSlash(strings.TrimPrefix(r.URL.Path, filesPrefix))))
	if err != nil {
		presigned.NoKey(w)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		presigned.NoKey(w)
		return
	}
	if w.Header().Get("ETag") == "" { // a fault may have set another
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", r.URL.Path, info.Size(), info.ModTime().UnixNano()))
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	}
	w.Header().Set("Content-Type", "binary/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f)
}
