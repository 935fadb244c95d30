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
// it. Only a file that was named must be one: of another only a warning is said.
func (p *pack) testSet(o Options) (TestSet, error) {
	file, named := o.Test, o.Test != ""
	if !named {
		file = p.document(testNames...)
	}
	if file == "" || o.ReadRows == nil {
		return TestSet{}, nil
	}
	rows, err := o.ReadRows(file)
	if err != nil && named {
		return TestSet{}, fmt.Errorf("the test set: %w", err)
	}
	if err != nil {
		p.warn("the test set is not used: %v", err)
		return TestSet{}, nil
	}
	return TestSet{file, rows}, nil
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
