package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// testNames are those of a test set in a package or beside it.
var testNames = []string{"test.jsonl", "test.csv"}

// TestSet is the labelled rows that a model was tested on.
type TestSet struct {
	File string // empty where there is none
	Rows []Row
}

// testSet reads the test set: the named file, or the one in the package or beside
// it.
func (p *pack) testSet(o Options) (TestSet, error) {
	if p.tests != nil {
		return *p.tests, nil
	}
	set, warnings, err := readTestSet(o, p.document(testNames...))
	p.warnings = append(p.warnings, warnings...)
	p.tests = &set
	return set, err
}

// readTestSet reads the file that the options name, else the one that was found.
// Only a file that was named must be a test set: of another a warning is said.
func readTestSet(o Options, found string) (set TestSet, warnings []string, err error) {
	file := found
	if o.Test != "" {
		file = o.Test
	}
	if file == "" || o.ReadRows == nil {
		return set, nil, nil
	}
	rows, err := o.ReadRows(file)
	if err != nil && o.Test != "" {
		return set, nil, fmt.Errorf("the test set: %w", err)
	}
	if err != nil {
		return set, []string{fmt.Sprintf("the test set is not used: %v", err)}, nil
	}
	return TestSet{file, rows}, nil, nil
}

// document returns the file of the first of these names, in the package or beside
// it; empty where there is none.
func (p *pack) document(names ...string) string {
	for _, name := range names {
		if inside, ok := p.named(name); ok {
			return p.path(inside)
		}
	}
	i := slices.IndexFunc(names, func(name string) bool {
		info, err := os.Stat(filepath.Join(p.beside, name))
		return err == nil && info.Mode().IsRegular()
	})
	if i < 0 {
		return ""
	}
	return filepath.Join(p.beside, names[i])
}
