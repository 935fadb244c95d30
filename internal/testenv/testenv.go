// Package testenv finds what tests need from outside the module, and skips the
// test with the reason where it is absent.
package testenv

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Shared returns the folder of reference data beside the module.
func Shared(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(Root(t), "..", "shared")
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		t.Skip("reference data is absent: no folder ../shared beside the module")
	}
	return dir
}

// Packages returns the folder named by CUBBY_PACKAGES, which holds the model
// packages built by the reference data's make_packages.py.
func Packages(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CUBBY_PACKAGES")
	if dir == "" {
		t.Skip("CUBBY_PACKAGES does not name a folder of built model packages")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("CUBBY_PACKAGES: %v", err)
	}
	return dir
}

// Libllama returns the folder of llama.cpp's libraries that CUBBY_TEST_LIBLLAMA
// names.
func Libllama(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CUBBY_TEST_LIBLLAMA")
	if dir == "" {
		t.Skip("CUBBY_TEST_LIBLLAMA does not name a folder of libllama's libraries")
	}
	return dir
}

// patience is how long Until waits: no measure of anything, but the end of a test that
// would hang.
const patience = 2 * time.Minute

// Until waits until something holds, on a machine as slow as it may be.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Root returns the module's folder: the nearest one up that holds go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}
