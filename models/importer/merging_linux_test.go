package importer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cubby/internal/testenv"
	"cubby/models"
)

// asImport makes the test binary import the package it names and exit; what it
// names is separated by newlines: package, base, store. It prints the most memory
// that it had resident, which Linux keeps for each program; what a parent learns of
// a child also counts the parent's own.
const asImport = "IMPORTER_TEST_IMPORT"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(asImport), "\n"); len(args) == 3 {
		_, err := Import(context.Background(), models.NewStore(args[2]), Options{Path: args[0], Base: args[1], Name: "a"})
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		status, _ := os.ReadFile("/proc/self/status")
		os.Stdout.Write(status)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// maxImportMemory is what an import of the student with 135 million weights may take,
// times the merged weights: neither the base nor the result is ever held whole.
const maxImportMemory = 0.5

// Importing an adapter takes no more memory than it may, seen from outside.
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
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(start)
	var peak int64
	_, line, _ := strings.Cut(string(out), "VmHWM:")
	if _, err := fmt.Sscanf(line, "%d kB", &peak); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	peak <<= 10
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
}
