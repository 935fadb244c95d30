// Package rooms keeps the direction of imports between the project's packages.
package rooms

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cubby/internal/testenv"
)

// A ban forbids packages under From to import packages under To, their own
// folder and what is under Except excepted.
type ban struct {
	from, to, reason string
	except           []string
}

// remote engines ask a server of another program: that is their whole purpose.
var remote = []string{"cubby/runtime/remote", "cubby/runtime/llamaserver", "cubby/runtime/ollama"}

var bans = []ban{
	{"cubby/labels", "cubby/", "labels say what an answer is and know no model", nil},
	{"cubby/models", "cubby/runtime", "a model on disk does not know what runs it", nil},
	{"cubby/models", "cubby/eval", "a model on disk does not know what measures it", nil},
	{"cubby/models", "net/http", "readers and importers work on local files", nil},
	{"cubby/runtime", "net/http", "the runtime knows no HTTP, but for those engines that are servers", remote},
	{"cubby/runtime", "github.com/ollama", "one engine speaks Ollama's protocol", remote[2:]},
	{"cubby/runtime", "github.com/gin-gonic", "the runtime knows no HTTP", nil},
	{"cubby/runtime", "github.com/prometheus", "the runtime reports to an observer", nil},
	{"cubby/runtime", "cubby/eval", "the runtime does not know what measures it", nil},
	{"cubby/runtime/native", "cubby/models/importer", "an engine reads checkpoints only", nil},
	{"cubby/eval", "cubby/runtime", "eval sees what it measures as an interface of its own", nil},
	{"cubby/eval", "cubby/models", "eval knows labels, not models", nil},
	{"cubby/internal/server", "cubby/runtime/native", "the server sees backends, not engines", nil},
	{"cubby/models", "cubby/internal", "a model on disk needs no wiring", nil},
	{"cubby/runtime", "cubby/internal", "the runtime needs no wiring", nil},
	{"cubby/runtime/engine", "cubby/runtime/native", "the contract knows no engine", nil},
	{"cubby/runtime/residency", "cubby/runtime/native", "what shares memory knows engines by their contract", nil},
}

func TestImportsPointOneWay(t *testing.T) {
	list := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	list.Dir = testenv.Root(t)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < 10 {
		t.Fatalf("go list named only %d packages", len(lines))
	}
	for _, line := range lines {
		pkg, imports, _ := strings.Cut(line, " ")
		for _, imp := range strings.Fields(imports) {
			if root, _, _ := strings.Cut(imp, "/"); pkg == "cubby/labels" && strings.Contains(root, ".") {
				t.Errorf("%s imports %s: labels need the standard library only", pkg, imp)
			}
			for _, b := range bans {
				if under(pkg, b.from) && under(imp, b.to) && !under(imp, b.from) && !b.excepts(pkg) {
					t.Errorf("%s imports %s: %s", pkg, imp, b.reason)
				}
			}
		}
	}
}

func (b ban) excepts(pkg string) bool {
	return slices.ContainsFunc(b.except, func(dir string) bool { return under(pkg, dir) })
}

// under reports whether pkg is dir or lies below it; a dir that ends in a
// slash is a plain prefix.
func under(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, strings.TrimSuffix(dir, "/")+"/")
}
