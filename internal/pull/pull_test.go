package pull

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cubby/internal/download"
	"cubby/internal/platform"
	"cubby/models"
)

func TestNames(t *testing.T) {
	for _, row := range []struct {
		model platform.Model
		want  string
	}{
		{platform.Model{ID: "0a1b2c3d-4e5f", Name: "Banking Routing (v2)"}, "banking-routing-v2"},
		{platform.Model{ID: "0a1b2c3d-4e5f", Alias: "fast"}, "fast"},
		{platform.Model{ID: "0a1b2c3d-4e5f"}, "slm-0a1b2c3d"},
		{platform.Model{ID: "0a1b2c3d-4e5f", Name: "demo"}, "slm-0a1b2c3d"},
		{platform.Model{ID: "0a1b2c3d-4e5f", Name: "日本"}, "slm-0a1b2c3d"},
		{platform.Model{ID: "日本"}, "slm"},
		{platform.Model{ID: "x", Name: "../../etc/passwd"}, "etc-passwd"},
		{platform.Model{ID: "x", Name: strings.Repeat("a", 63) + ".b"}, strings.Repeat("a", 63)},
		{platform.Model{ID: "x", Name: "\u212a"}, "k"}, // the sign of the unit kelvin
	} {
		got := nameOf(row.model)
		if got != row.want || models.ValidName(got) != nil {
			t.Errorf("%+v: %q, want %q", row.model, got, row.want)
		}
	}
}

// What a manifest tells of the source is the name of a file, whatever the id is.
func TestSource(t *testing.T) {
	v := version{id: "00112233"}
	if got := source(platform.Model{ID: "0a1b2c3d-4e5f"}, v); got != "0a1b2c3d-4e5f.00112233.tar" {
		t.Error(got)
	}
	for _, id := range []string{"../../x", "a/b", strings.Repeat("a", 200), "a b", `a\b`} {
		if got := source(platform.Model{ID: id}, v); len(got) != 32+1+8+4 || strings.ContainsAny(got, `/\ `) {
			t.Errorf("%q: %q", id, got)
		}
	}
}

// Where the list lacks the old model, its date tells which are newer, or nothing does.
func TestNewer(t *testing.T) {
	at := func(id string, hours int) platform.Model {
		return platform.Model{ID: id, Created: time.Unix(0, 0).Add(time.Duration(hours) * time.Hour)}
	}
	list := func() []platform.Model { return []platform.Model{at("c", 3), at("b", 2), at("a", 1), {ID: "undated"}} }
	for _, row := range []struct {
		old  platform.Model
		list []platform.Model
		want string
	}{
		{at("b", 2), list(), "c"},
		{at("c", 3), list(), ""},
		{at("x", 2), list(), "c"},
		{at("x", 0), list(), "c, b, a"},
		{at("x", 9), list(), ""},
		{platform.Model{ID: "x"}, nil, ""},
	} {
		if got, err := newer(row.list, row.old); err != nil || named(got) != row.want {
			t.Errorf("%+v: %v, %v; want %s", row.old, named(got), err, row.want)
		}
	}
	if got, err := newer(list(), platform.Model{ID: "x"}); err == nil {
		t.Errorf("%v are newer than what has no date", got)
	}
}

func TestRoom(t *testing.T) {
	w := &work{dir: t.TempDir(), store: models.NewStore(t.TempDir())}
	if _, known := download.FreeSpace(w.dir); !known {
		t.Skip("free space is unknown here")
	}
	if err := w.room(1 << 10); err != nil {
		t.Error(err)
	}
	err := w.room(1 << 60)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "2.0 EiB are needed") || !strings.Contains(err.Error(), "make room") {
		t.Error(err)
	}
}

// Files of the user's are not overwritten.
func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/test.jsonl", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/config.yaml", []byte("same"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &puller{Options: Options{Files: dir}, docs: []document{{"test.jsonl", []byte("theirs")}, {"config.yaml", []byte("same")}, {"model_client.py", []byte("new")}}}
	if err := p.writeFiles(); err != nil {
		t.Fatal(err)
	}
	if len(p.res.Files) != 2 || len(p.res.Warnings) != 1 || !strings.Contains(p.res.Warnings[0], "stays as it is") {
		t.Errorf("%v, %v", p.res.Files, p.res.Warnings)
	}
	if data, err := os.ReadFile(dir + "/test.jsonl"); string(data) != "mine" {
		t.Errorf("%q, %v", data, err)
	}
}
