//go:build unix

package importer

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/models"
)

// asImport makes the test binary import the package it names and exit; what it
// names is separated by newlines: package, base, store.
const asImport = "IMPORTER_TEST_IMPORT"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(asImport), "\n"); len(args) == 3 {
		_, err := Import(context.Background(), models.NewStore(args[2]), Options{Path: args[0], Base: args[1], Name: "a"})
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// What an import of the student with 135 million weights may take.
const (
	maxImportTime   = 15 * time.Second
	maxImportMemory = 0.5 // times the merged weights: neither the base nor the result is ever held whole
)

// Importing an adapter takes no more time and memory than it may, seen from
// outside.
func TestMergingTakesLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("measures an import: not in short mode, which is the race detector's")
	}
	packages := testenv.Packages(t)
	store := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asImport+"="+strings.Join([]string{
		filepath.Join(packages, "banking-routing", "adapter.tar"), filepath.Join(packages, "hub", "HuggingFaceTB", "SmolLM2-135M-Instruct"), store,
	}, "\n"))
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(start)
	unit := int64(1 << 10) // of Linux and the BSDs
	if goruntime.GOOS == "darwin" {
		unit = 1
	}
	peak := int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * unit
	m, err := models.NewStore(store).Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	info, err := os.Stat(filepath.Join(m.Folder(), m.Manifest.Weights))
	if err != nil {
		t.Fatal(err)
	}
	share := float64(peak) / float64(info.Size())
	t.Logf("%.1f s, of which %.1f s computing; peak memory %d MiB, %.2f times the weights of %d MiB", took.Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), peak>>20, share, info.Size()>>20)
	if share > maxImportMemory {
		t.Errorf("peak memory is more than %.1f times the weights", maxImportMemory)
	}
	if took > maxImportTime {
		t.Errorf("it took longer than %v", maxImportTime)
	}
}
