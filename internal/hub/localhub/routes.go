package localhub

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Codes and words of refusals, as X-Error-Code and X-Error-Message have them.
const (
	noRepo     = "RepoNotFound"
	noRevision = "RevisionNotFound"
	noEntry    = "EntryNotFound"
	gatedRepo  = "GatedRepo"
)

func (h *Hub) routes() http.Handler {
	api, files, all := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	api.HandleFunc("GET /api/models/{org}/{name}/revision/{rev}", h.visible(h.revision))
	api.HandleFunc("GET /api/models/{org}/{name}/tree/{rev}", h.visible(h.tree))
	api.HandleFunc("GET /api/models/{org}/{name}/auth-check", h.visible(h.readable(h.authCheck)))
	files.HandleFunc("GET /{org}/{name}/resolve/{rev}/{path...}", h.visible(h.readable(h.resolve)))
	files.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<!doctype html><title>404</title>")
	})
	all.Handle("/api/", api)
	all.Handle("/", files)
	return all
}

// request is one about a repo that the asker may see.
type request struct {
	*http.Request
	repo   string
	known  bool // it brought the token
	files  []file
	commit string
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", text)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text}) // the client may be gone
}

// visible finds the repo and lets see it. To who brings no token, the hub says 401
// of what is private and of what does not exist.
func (h *Hub) visible(next func(http.ResponseWriter, request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if sent && token != h.opt.Token {
			refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
			return
		}
		q := request{Request: r, repo: r.PathValue("org") + "/" + r.PathValue("name"), known: sent}
		if to, ok := h.opt.Renamed[q.repo]; ok {
			w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), q.repo, to, 1))
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		var err error
		q.files, err = h.files(q.repo)
		missing := err != nil || len(q.files) == 0 || strings.Contains(q.repo, "..")
		if missing || !q.known && slices.Contains(h.opt.Private, q.repo) {
			if q.known {
				refuse(w, http.StatusNotFound, noRepo, "Repository not found")
			} else {
				refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
			}
			return
		}
		q.commit = commit(q.files)
		rev := r.PathValue("rev")
		if rev != "" && rev != "main" && rev != q.commit && !slices.Contains(h.opt.Tags, rev) {
			refuse(w, http.StatusNotFound, noRevision, "Invalid rev id: "+rev)
			return
		}
		next(w, q)
	}
}

// readable lets have the files of a repo.
func (h *Hub) readable(next func(http.ResponseWriter, request)) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, q request) {
		refused := slices.Contains(h.opt.Refused, q.repo)
		switch gated := refused || slices.Contains(h.opt.Gated, q.repo); {
		case gated && !q.known:
			refuse(w, http.StatusUnauthorized, gatedRepo, "Access to model "+q.repo+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
		case refused:
			refuse(w, http.StatusForbidden, gatedRepo, "Access to model "+q.repo+" is restricted and you are not in the authorized list.")
		default:
			next(w, q)
		}
	}
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func (h *Hub) authCheck(w http.ResponseWriter, _ request) { w.WriteHeader(http.StatusOK) }

func (h *Hub) revision(w http.ResponseWriter, q request) {
	var gated any = false
	if slices.Contains(h.opt.Gated, q.repo) {
		gated = "auto"
	}
	if slices.Contains(h.opt.Refused, q.repo) {
		gated = "manual"
	}
	siblings := []map[string]string{}
	for _, f := range q.files {
		siblings = append(siblings, map[string]string{"rfilename": f.path})
	}
	answer(w, map[string]any{"_id": "0", "id": q.repo, "modelId": q.repo, "sha": q.commit, "private": slices.Contains(h.opt.Private, q.repo),
		"gated": gated, "disabled": false, "tags": []string{}, "downloads": 0, "siblings": siblings})
}

// tree lists the files, folders too, in pages.
func (h *Hub) tree(w http.ResponseWriter, q request) {
	if q.URL.Query().Get("recursive") != "true" {
		refuse(w, http.StatusBadRequest, "", "this stand-in lists recursively only")
		return
	}
	var all []map[string]any
	seen := map[string]bool{}
	for _, f := range q.files {
		if dir := path.Dir(f.path); dir != "." && !seen[dir] {
			seen[dir] = true
			all = append(all, map[string]any{"type": "directory", "oid": oid(dir), "size": 0, "path": dir})
		}
		e := map[string]any{"type": "file", "oid": f.blob, "size": f.size, "path": f.path}
		if f.large {
			e["oid"] = oid("pointer " + f.sha256)
			e["lfs"] = map[string]any{"oid": f.sha256, "size": f.size, "pointerSize": 134}
			e["xetHash"] = f.sha256
		}
		all = append(all, e)
	}
	start := 0
	if cursor := q.URL.Query().Get("cursor"); cursor != "" {
		text, err := base64.StdEncoding.DecodeString(cursor)
		n, err2 := strconv.Atoi(string(text))
		if err != nil || err2 != nil || n < 0 || n > len(all) {
			refuse(w, http.StatusBadRequest, "", "Invalid cursor")
			return
		}
		start = n
	}
	end := min(start+h.opt.Page, len(all))
	if end < len(all) {
		query := url.Values{"recursive": {"true"}, "cursor": {base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(end)))}}
		next := url.URL{Scheme: "http", Host: q.Host, Path: q.URL.Path, RawQuery: query.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	answer(w, all[start:end])
}

func oid(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// resolve serves a small file, and redirects to a large one.
func (h *Hub) resolve(w http.ResponseWriter, q request) {
	i := slices.IndexFunc(q.files, func(f file) bool { return f.path == q.PathValue("path") })
	w.Header().Set("X-Repo-Commit", q.commit)
	if i < 0 {
		refuse(w, http.StatusNotFound, noEntry, "Entry not found")
		return
	}
	f := q.files[i]
	if !f.large {
		if w.Header().Get("ETag") == "" { // a fault may have set another
			w.Header().Set("ETag", `"`+f.blob+`"`)
		}
		h.serve(w, q.Request, q.repo, f.path)
		return
	}
	w.Header().Set("X-Linked-ETag", `"`+f.sha256+`"`)
	w.Header().Set("X-Linked-Size", strconv.FormatInt(f.size, 10))
	w.Header().Set("Location", h.CDN.link(q.repo, f))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusFound)
}

// serve sends a file, or the part that is asked for.
func (h *Hub) serve(w http.ResponseWriter, r *http.Request, repo, name string) {
	f, err := os.Open(filepath.Join(h.opt.Root, filepath.FromSlash(repo), filepath.FromSlash(name)))
	if err != nil {
		http.Error(w, "gone", http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, "gone", http.StatusNotFound)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}
