package importer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/models"
)

// A test set is the one that is named, else the one inside, else the one beside.
func TestTestSet(t *testing.T) {
	read := func(file string) ([]Row, error) {
		data, err := os.ReadFile(file)
		if string(data) == "no rows" {
			err = errors.New("it cannot be read")
		}
		return []Row{{1, string(data), "a"}}, err
	}
	for _, c := range []struct {
		name           string
		inside, beside string
		named          string
		want, warning  string
	}{
		{"none", "", "", "", "", ""},
		{"inside", "deep/test.csv", "test.jsonl", "", "inside", ""},
		{"beside", "x", "test.jsonl", "", "beside", ""},
		{"named", "test.csv", "test.jsonl", "named", "named", ""},
		{"unreadable", "test.csv", "", "no rows", "", "the test set is not used: it cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) string {
				file := filepath.Join(dir, filepath.FromSlash(name))
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
				return file
			}
			inside := "inside"
			if c.named == "no rows" {
				inside = c.named
			}
			if c.inside != "" {
				write("package/"+c.inside, inside)
			} else {
				write("package/x", "")
			}
			if c.beside != "" {
				write(c.beside, "beside")
			}
			o := Options{Checks: Checks{ReadRows: read}}
			if c.named == "named" {
				o.Test = write("mine.csv", "named")
			}
			stage, err := models.NewStore(t.TempDir()).Stage()
			if err != nil {
				t.Fatal(err)
			}
			p, err := openPack(t.Context(), stage, filepath.Join(dir, "package"))
			if err != nil {
				t.Fatal(err)
			}
			set, err := p.testSet(o)
			if err != nil || (len(set.Rows) == 0) != (c.want == "") || c.want != "" && set.Rows[0].Text != c.want {
				t.Errorf("%+v, %v", set, err)
			}
			if got := strings.Join(p.warnings, "; "); got != c.warning {
				t.Errorf("warning %q", got)
			}
			p.tests = nil
			if o.Test = filepath.Join(dir, "absent.csv"); c.named == "named" {
				if _, err := p.testSet(o); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a named file that is absent: %v", err)
				}
			}
		})
	}
}
