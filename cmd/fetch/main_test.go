package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"cubby/internal/download"
	"cubby/internal/libraries"
	"cubby/internal/libraries/install"
	"cubby/internal/platform"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/models/importer"
	"cubby/models/lora"

	"github.com/rogpeppe/go-internal/testscript"
)

// asProgram makes the test binary be the program.
const asProgram = "FETCH_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"fetch": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv(models.HomeVariable, filepath.Join(e.WorkDir, "store"))
			e.Setenv("DEMO", filepath.Join(testenv.Root(t), "models", "demo", "model.gguf"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"tar": makeTar, "exits": exits, "libraries": makeLibraries, "break": breakFile, "names": setName},
	})
}

// makeTar is the script command "tar FILE NAME…": it packs files, links as
// links, in the order given.
func makeTar(ts *testscript.TestScript, _ bool, args []string) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(name))
		ts.Check(err)
		var data []byte
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			link, err = os.Readlink(ts.MkAbs(name))
		} else {
			data, err = os.ReadFile(ts.MkAbs(name))
		}
		ts.Check(err)
		h, err := tar.FileInfoHeader(info, link)
		ts.Check(err)
		h.Name = name
		ts.Check(w.WriteHeader(h))
		_, err = w.Write(data)
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o644))
}

// exits is the script command "exits CODE ARG…": it runs fetch and wants that
// exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("fetch", args[1:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func TestExitCodes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("package.tar: %w", err) }
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	live := context.Background()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"nothing wrong", live, nil, exitOK},
		{"something", live, errors.New("x"), exitFailure},
		{"not found", live, models.ErrNotFound, exitFailure},
		{"usage", live, usagef("x"), exitUsage},
		{"damage", live, errors.Join(wrap(&models.IntegrityError{}), errors.New("x")), exitChecksum},
		{"disk full", live, wrap(&fs.PathError{Op: "write", Err: syscall.ENOSPC}), exitDisk},
		{"disk full in an archive", live, wrap(&importer.ArchiveError{Err: syscall.ENOSPC}), exitDisk},
		{"archive", live, wrap(&importer.ArchiveError{Reason: "x"}), exitArchive},
		{"library damaged", live, wrap(&libraries.DamageError{}), exitChecksum},
		{"other bytes downloaded", live, wrap(&install.ChecksumError{}), exitChecksum},
		{"network", live, wrap(&install.NetworkError{}), exitNetwork},
		{"disk full in a download", live, wrap(&install.NetworkError{Err: syscall.ENOSPC}), exitDisk},
		{"a download", live, wrap(&download.Error{Kind: download.Network}), exitNetwork},
		{"other bytes than published", live, wrap(&download.Error{Kind: download.Checksum}), exitChecksum},
		{"a download that cannot be stored", live, wrap(&download.Error{Kind: download.Disk}), exitDisk},
		{"a download that is refused", live, wrap(&download.Error{Kind: download.Auth}), exitAuth},
		{"a login that expired in a download", live, wrap(&download.Error{Kind: download.Network, Err: &platform.Error{Kind: platform.Auth}}), exitAuth},
		{"a family that nothing here runs", live, wrap(&checkpoint.UnsupportedError{}), exitUnsupported},
		{"an adapter that is not merged", live, wrap(lora.ErrUnsupported), exitUnsupported},
		{"no libraries", live, libraries.ErrNone, exitFailure},
		{"interrupted", canceled, wrap(context.Canceled), exitInterrupted},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

// importKills is how often an import is killed, and an installation of libraries;
// that many times, and importMidst times with something begun.
const (
	importKills = 20
	importMidst = 5
)

// Killed at any moment, an import leaves nothing visible or all of it, and the
// next one finishes.
func TestKilledImport(t *testing.T) {
	dir := t.TempDir()
	pack := filepath.Join(dir, "package.tar")
	writePackage(t, pack)
	store := models.NewStore(filepath.Join(dir, "store"))
	killedAnew(t, newKilling(t, store.Root(), "import", pack, "-name", "a"), func() bool { return checkWhole(t, store) })
}

// killedAnew kills the program, each time beginning with an empty store. There
// reports whether all is there, and fails the test if a part is.
func killedAnew(t *testing.T, k *killing, there func() bool) {
	t.Helper()
	finished := func() {
		if !there() {
			t.Error("it reported success and installed nothing")
		}
	}
	k.finish()
	finished()
	var kills, midst, whole int
	for kills < importKills || midst < importMidst {
		if err := os.RemoveAll(k.root); err != nil {
			t.Fatal(err)
		}
		if !k.kill() {
			finished()
			continue
		}
		kills++
		if there() {
			whole++
		} else if k.progress() > 0 {
			midst++
		}
	}
	t.Logf("killed %d times, %d in the midst and %d with everything installed; %d runs ended before", kills, midst, whole, k.early)
	k.finish()
	finished()
}

// checkWhole reports whether the model is there, and fails the test if it is
// there in part.
func checkWhole(t *testing.T, s *models.Store) bool {
	t.Helper()
	entries, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, e := range entries {
		if e.Err != nil {
			t.Errorf("visible and broken: %s %s: %v", e.Name, e.Digest, e.Err)
			continue
		}
		if err := s.Verify(e.Digest.String()); err != nil {
			t.Errorf("visible and broken: %v", err)
		}
		named = named || e.Name == "a"
	}
	return named
}

// writePackage packs the demo model as a platform would.
func writePackage(t *testing.T, name string) {
	t.Helper()
	files := around()
	files["model/model.gguf"] = demoWeights(t)
	writeTar(t, name, files)
}

func demoWeights(t *testing.T) []byte {
	t.Helper()
	weights, err := os.ReadFile(filepath.Join(testenv.Root(t), "models", "demo", "model.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	return weights
}
