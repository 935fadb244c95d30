package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models/importer/archivetest"
)

// attacks are the classes of hostile archives that a store must stand.
var attacks = []string{"links", "chains", "abs", "..", "sparse", "bombs", "devices", "dupes", "case clashes"}

// maxHeap is the most that refusing an archive may allocate, in bytes.
const maxHeap = 1 << 20

// Each archive of the corpus is refused by fetch import, with the exit code for it and
// a message that says why; nothing is written outside the store, nothing is left in
// it, and no archive makes memory grow.
func TestHostileArchives(t *testing.T) {
	t.Setenv("CUBBY_HOME", "") // the store is -home
	outside := t.TempDir()
	corpus := archivetest.Corpus(t, outside)
	importHostile(t, t.TempDir(), corpus[0].Data) // what is allocated once is not counted
	count, all, most := map[string]int{}, 0, uint64(0)
	for _, c := range corpus {
		if slices.Contains(attacks, c.Class) {
			count[c.Class]++
			all++
		}
		t.Run(c.Class+"/"+c.Name, func(t *testing.T) {
			guard := t.TempDir()
			code, message, grown := importHostile(t, guard, c.Data)
			if code != exitArchive || !strings.Contains(message, c.Want) || !strings.Contains(message, "archive refused") {
				t.Errorf("exit code %d and %q, want %d and %q", code, message, exitArchive, c.Want)
			}
			most = max(most, grown)
			if grown > maxHeap && !testenv.Race {
				t.Errorf("it allocated %d bytes", grown)
			}
			if n := written(t, guard, "package.tar"); n != 0 {
				t.Errorf("%d bytes are left behind", n)
			}
			if n := written(t, outside, ""); n != 0 {
				t.Errorf("%d bytes were written outside", n)
			}
		})
	}
	t.Logf("%d archives of the nine classes %v, and %d others; at most %d bytes were allocated", all, count, len(corpus)-all, most)
	if all < 24 || len(count) != len(attacks) {
		t.Errorf("the corpus has %d archives of the classes %v, want 24 or more of %v", all, count, attacks)
	}
}

// importHostile imports an archive into a store inside the folder guard.
func importHostile(t *testing.T, guard string, data []byte) (code int, message string, grown uint64) {
	t.Helper()
	name := filepath.Join(guard, "package.tar")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"fetch", "-home", filepath.Join(guard, "home", "store"), "import", name, "-name", "a"}
	var stderr bytes.Buffer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	code = run(t.Context(), args, io.Discard, &stderr)
	runtime.ReadMemStats(&after)
	return code, stderr.String(), after.TotalAlloc - before.TotalAlloc
}

// written counts the bytes of the files in a folder, but for one, and anything that is
// neither file nor folder as one.
func written(t *testing.T, dir, but string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || p == filepath.Join(dir, but) {
			return err
		}
		info, err := e.Info()
		if err == nil {
			t.Logf("there is %s, %d bytes, %v", p, info.Size(), info.Mode())
			n += max(1, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
