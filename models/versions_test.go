package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestVersions(t *testing.T) {
	s := NewStore(t.TempDir())
	var all []Digest
	for i := range 3 {
		d := install(t, s, "a", fmt.Sprint("weights ", i))
		past := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(filepath.Join(s.modelDir(d), ManifestName), past, past); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	other := install(t, s, "b", "weights 0")
	checkOrder(t, s, all[2], all[1], all[0])
	now, before, err := s.Use("a@" + all[0].Hex()[:minVersion])
	if err != nil || now.Digest != all[0] || before != all[2] {
		t.Fatalf("%v, %v, %v", now.Digest, before, err)
	}
	checkOrder(t, s, all[0], all[2], all[1])
	checkStore(t, s, "a", "b")
	for _, ref := range []string{"a@" + all[1].Hex(), "a@sha256:" + all[1].Hex()[:20], VersionOf("a", all[1])} {
		m, err := Resolve(s, ref)
		if err != nil {
			t.Fatal(err)
		}
		if m.Digest != all[1].String() {
			t.Errorf("%s is %s", ref, m.Digest)
		}
		m.Close()
	}
	for _, ref := range []string{"a@" + other.Hex(), "b@" + all[0].Hex(), "c@" + all[0].Hex()} {
		if _, _, err := s.Use(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := s.Remove("a"); err == nil || !strings.Contains(err.Error(), VersionOf("a", all[1])) {
		t.Errorf("a name with versions: %v", err)
	}
	if _, err := s.Remove("a@" + all[0].Hex()); err == nil {
		t.Error("a version that is in use was removed")
	}
	if gone, err := s.Remove("a@" + all[1].Hex()); err != nil || len(gone) != 1 || gone[0].Digest != all[1] {
		t.Errorf("%v, %v", gone, err)
	}
	checkOrder(t, s, all[0], all[2])
	if gone, err := s.RemoveAll("a"); err != nil || len(gone) != 2 || gone[1].Digest != all[0] {
		t.Errorf("%v, %v", gone, err)
	}
	checkStore(t, s, "b")
	if _, err := s.RemoveAll("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing nothing: %v", err)
	}
}

// checkOrder checks the versions of the name a.
func checkOrder(t *testing.T, s *Store, want ...Digest) {
	t.Helper()
	list, err := s.Versions("a")
	if err != nil {
		t.Fatal(err)
	}
	var got []Digest
	for i, e := range list {
		got = append(got, e.Digest)
		if (e.Name != "") != (i == 0) || e.Called() != "a" || e.Installed.IsZero() {
			t.Errorf("%d: %+v", i, e)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("versions %v, want %v", got, want)
	}
}

// Two versions whose digests begin alike are told apart by more digits.
func TestAmbiguousVersion(t *testing.T) {
	s := NewStore(t.TempDir())
	seen := map[string]Digest{}
	st, m := stage(t, s, "a", "weights")
	defer st.Discard()
	for i := range 200_000 {
		m.Source.Note = fmt.Sprint(i)
		d, err := m.Digest()
		if err != nil {
			t.Fatal(err)
		}
		first, ok := seen[d.Hex()[:minVersion]]
		if !ok {
			seen[d.Hex()[:minVersion]] = d
			continue
		}
		for _, d := range []Digest{first, d} {
			again, m := stage(t, s, "a", "weights")
			for n := range i + 1 {
				m.Source.Note = fmt.Sprint(n)
				if got, _ := m.Digest(); got == d {
					break
				}
			}
			if got, err := again.Commit(m); err != nil || got != d {
				t.Fatal(got, err)
			}
		}
		if _, err := s.Open("a@" + d.Hex()[:minVersion]); err == nil || !strings.Contains(err.Error(), "2 versions of a begin with") {
			t.Errorf("an ambiguous version: %v", err)
		}
		if _, _, err := s.Use("a@" + first.Hex()); err != nil {
			t.Error(err)
		}
		return
	}
	t.Fatal("no two digests begin alike")
}

// While versions are installed, used and removed, the name leads to one that is
// there, and whatever is left is whole.
func TestVersionsAtOnce(t *testing.T) {
	s := NewStore(t.TempDir())
	kept := install(t, s, "a", "kept")
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for n := range 4 {
				d := install(t, s, "a", fmt.Sprint(i%2, n))
				_, _, _ = s.Use("a@" + kept.Hex())
				_, _ = s.Remove("a@" + d.Hex()) // another may have taken it into use
				_, _, _ = s.Use("a@" + d.Hex()) // or removed it
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for looked := 0; ; looked++ {
		select {
		case <-done:
			checkStore(t, s, "a")
			t.Logf("looked %d times", looked)
			return
		default:
		}
		unlock, err := s.lock()
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.lookup("a")
		if err == nil {
			_, err = s.manifest(d)
		}
		unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSplitVersion(t *testing.T) {
	for _, bad := range []string{"", "a", "@", "a@", "@abcdef", "a@abcde", "a@abcdeg", "a@ABCDEF", "a@abcdef@abcdef", "../a@abcdef", "a@../../x", "a@" + strings.Repeat("a", 65), "a@sha256:abcde", "a@sha512:abcdef"} {
		if name, digits, err := SplitVersion(bad); err == nil {
			t.Errorf("%q is %q and %q", bad, name, digits)
		}
	}
}

func FuzzSplitVersion(f *testing.F) {
	for _, s := range []string{"a@abcdef", "a@sha256:abcdef012345", "a@b@c", "@", "a/b@abcdef"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		name, digits, err := SplitVersion(ref)
		if err != nil {
			return
		}
		if ValidName(name) != nil || len(digits) < minVersion || len(digits) > 64 || strings.ContainsAny(digits, `/\.@`) {
			t.Errorf("%q is %q and %q", ref, name, digits)
		}
		if again, _, err := SplitVersion(name + "@" + digits); err != nil || again != name {
			t.Errorf("%q: %v", ref, err)
		}
	})
}

// A download that was interrupted stays for a week.
func TestPullsStay(t *testing.T) {
	s := NewStore(t.TempDir())
	for name, age := range map[string]time.Duration{"pull-old": 2 * pullStaleAfter, "pull-young": pullStaleAfter / 2, "other": pullStaleAfter / 2} {
		dir := filepath.Join(s.root, "staging", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-age)
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	install(t, s, "a", "weights")
	for name, stays := range map[string]bool{"pull-old": false, "pull-young": true, "other": false} {
		if _, err := os.Stat(filepath.Join(s.root, "staging", name)); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name that is a link to nothing is an entry with an error, and can be removed.
func TestDanglingName(t *testing.T) {
	s := NewStore(t.TempDir())
	d := install(t, s, "b", "weights")
	if err := os.Symlink("nowhere", s.namePath("a")); err != nil {
		t.Skip(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "a" || !errors.Is(list[0].Err, fs.ErrNotExist) || list[1].Digest != d {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Open("a"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "a link that leads nowhere: fetch rm a") {
		t.Error(err)
	}
	if _, err := s.Remove("a"); err != nil {
		t.Error(err)
	}
	checkStore(t, s, "b")
	if err := errors.Join(os.Remove(s.namePath("b")), os.Symlink("nowhere", s.namePath("b"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("b"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "it may point to "+VersionOf("b", d)+":") {
		t.Error(err)
	}
	if now, _, err := s.Use(VersionOf("b", d)); err != nil || now.Digest != d {
		t.Errorf("%+v, %v", now, err)
	}
	checkStore(t, s, "b")
}
