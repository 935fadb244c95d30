package importer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"cubby/models"
	"cubby/models/importer/archivetest"
)

// extract unpacks data into a folder inside a guarded one, and fails the test
// if anything but that folder changed.
func extract(t testing.TB, data []byte) (dir string, files []models.File, err error) {
	t.Helper()
	guard := t.TempDir()
	dir = filepath.Join(guard, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err = extractTar(context.Background(), bytes.NewReader(data), dir)
	checkInside(t, guard, dir)
	return dir, files, err
}

func checkInside(t testing.TB, guard, dir string) {
	t.Helper()
	err := filepath.WalkDir(guard, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != guard && p != dir && !strings.HasPrefix(p, dir+string(filepath.Separator)) {
			t.Errorf("it wrote outside its folder: %s", p)
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			t.Errorf("it made something that is no file: %s, %v", p, e.Type())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExtract(t *testing.T) {
	items := []archivetest.Item{
		{Name: "pax_global_header", Kind: tar.TypeXGlobalHeader, PAX: map[string]string{"comment": "a commit"}},
		{Name: "./", Kind: tar.TypeDir},
		{Name: "./model/", Kind: tar.TypeDir},
		archivetest.File("./model/model.gguf", "weights"),
		{Name: "model/", Kind: tar.TypeDir},
		archivetest.File("README.md", ""),
		archivetest.File(strings.Repeat("long/", 40)+"name", "deep"),
	}
	data := archivetest.Tar(t, items...)
	for name, packed := range map[string][]byte{"plain": data, "gzip": archivetest.Gzip(t, data), "without end marker": data[:len(data)-1024]} {
		t.Run(name, func(t *testing.T) {
			dir, files, err := extract(t, packed)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != 3 {
				t.Fatalf("files %v", files)
			}
			for _, f := range files {
				got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
				if err != nil || int64(len(got)) != f.Size || models.DigestOf(got) != f.SHA256 {
					t.Errorf("%s holds %q, %v", f.Path, got, err)
				}
			}
		})
	}
}

// A large member streams: memory does not grow with it.
func TestExtractMemoryIsBounded(t *testing.T) {
	data := archivetest.Tar(t, archivetest.File("model.gguf", strings.Repeat("0123456789abcdef", 4<<20)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := extract(t, data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("extracting 64 MiB allocated %d bytes", grown)
	}
}

func TestExtractStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := extractTar(ctx, bytes.NewReader(archivetest.Tar(t, archivetest.File("x", "x"))), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestExtractReportsDiskErrorsAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := extractTar(context.Background(), bytes.NewReader(archivetest.Tar(t, archivetest.File("x", "x"))), dir)
	var refused *ArchiveError
	if !errors.Is(err, fs.ErrExist) || errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}

func FuzzTar(f *testing.F) {
	ok := archivetest.File("model/model.gguf", "weights")
	f.Add(archivetest.Tar(f, ok))
	f.Add(archivetest.Gzip(f, archivetest.Tar(f, ok, archivetest.File("a/b", "x"))))
	f.Add(archivetest.Tar(f, archivetest.Item{Name: "model", Kind: tar.TypeSymlink, Link: "/etc"}, archivetest.File("model/passwd", "x")))
	f.Add(archivetest.Retype(archivetest.Tar(f, ok), tar.TypeGNUSparse))
	f.Add(archivetest.Tar(f, archivetest.File(strings.Repeat("n", 300), "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, files, err := extract(t, data)
		if err != nil {
			return
		}
		for _, x := range files {
			got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(x.Path)))
			if err != nil || models.DigestOf(got) != x.SHA256 {
				t.Fatalf("%q: %v", x.Path, err)
			}
		}
	})
}
