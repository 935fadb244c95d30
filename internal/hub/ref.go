package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
)

// Ref names a repo of models, or one file of it, at some revision.
type Ref struct {
	Repo string // "ORG/NAME"
	File string // path in the repo; empty for what makes a model
	Rev  string // branch, tag or commit; empty for main
}

const (
	host     = "huggingface.co"
	short    = "hf.co"
	mainName = "main"
)

const refForm = "write hf.co/ORG/REPO, hf.co/ORG/REPO/FILE.gguf, or either with @REVISION behind it"

// IsRef reports whether text is meant to name something on the hub.
func IsRef(text string) bool {
	_, ok := afterHost(text)
	return ok
}

// afterHost cuts scheme and host off.
func afterHost(text string) (rest string, ok bool) {
	lower := strings.ToLower(text)
	for _, scheme := range []string{"", "https://", "http://"} {
		for _, h := range []string{short, host, "www." + host} {
			prefix := scheme + h
			if lower == prefix {
				return "", true
			}
			if strings.HasPrefix(lower, prefix+"/") {
				return text[len(prefix)+1:], true
			}
		}
	}
	return "", false
}

// The hub's rules for names, which leave no room for a path that leads anywhere.
var (
	namePart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}$`)
)

// ValidRepo reports whether name is one that the hub gives to a repo.
func ValidRepo(name string) bool {
	org, repo, ok := strings.Cut(name, "/")
	return ok && namePart.MatchString(org) && namePart.MatchString(repo) && !strings.Contains(name, "..") && !strings.Contains(name, "--")
}

// ParseRef reads "hf.co/ORG/REPO[/FILE][@REV]", or an address of the hub's pages:
// "https://huggingface.co/ORG/REPO[/(blob|resolve|raw|tree)/REV[/FILE]]".
func ParseRef(text string) (r Ref, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%.200q names no model of the hub: %w; %s", text, err, refForm)
		}
	}()
	rest, ok := afterHost(text)
	if !ok {
		return r, errors.New("it does not begin with hf.co/")
	}
	rest, _, _ = strings.Cut(rest, "?") // ?download=true
	rest, _, _ = strings.Cut(rest, "#")
	rest, rev, named := cutLast(strings.TrimRight(rest, "/"), "@")
	parts := strings.Split(rest, "/")
	for i := range parts {
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return r, errors.New("its escapes are not valid")
		}
	}
	if rev, err = url.PathUnescape(rev); err != nil {
		return r, errors.New("its escapes are not valid")
	}
	switch {
	case parts[0] == "datasets", parts[0] == "spaces":
		return r, fmt.Errorf("%s hold no models", parts[0])
	case len(parts) < 2, !ValidRepo(parts[0] + "/" + parts[1]):
		return r, errors.New("it has no name of a repo")
	}
	r = Ref{Repo: parts[0] + "/" + parts[1], Rev: rev}
	parts = parts[2:]
	if len(parts) > 0 && isView(parts[0]) {
		if len(parts) < 2 || named {
			return Ref{}, errors.New("it needs one revision")
		}
		r.Rev, named = parts[1], true
		parts = parts[2:]
	}
	r.File = strings.Join(parts, "/")
	switch {
	case r.File != "" && (!fs.ValidPath(r.File) || strings.ContainsAny(r.File, "\\:\x00")):
		return Ref{}, errors.New("its file is no path in a repo")
	case named && (!revision.MatchString(r.Rev) || strings.Contains(r.Rev, "..")):
		return Ref{}, errors.New("its revision is none")
	}
	return r, nil
}

// isView reports whether a part of an address says what the hub shows there.
func isView(part string) bool {
	return part == "blob" || part == "resolve" || part == "raw" || part == "tree"
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// String is the form that ParseRef reads first.
func (r Ref) String() string {
	s := short + "/" + r.Repo
	if r.File != "" {
		s += "/" + r.File
	}
	if r.Rev != "" {
		s += "@" + r.Rev
	}
	return s
}
