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
// folder excepted.
type ban struct{ from, to, reason string }

var bans = []ban{
	{"cubby/labels", "cubby/", "labels say what an answer is and know no model"},
	{"cubby/models", "cubby/runtime", "a model on disk does not know what runs it"},
	{"cubby/models", "cubby/eval", "a model on disk does not know what measures it"},
	{"cubby/models", "net/http", "readers and importers work on local files"},
	{"cubby/runtime", "net/http", "the runtime knows no HTTP"},
	{"cubby/runtime", "github.com/ollama", "one engine speaks Ollama's protocol"},
	{"cubby/runtime", "github.com/gin-gonic", "the runtime knows no HTTP"},
	{"cubby/runtime", "github.com/prometheus", "the runtime reports to an observer"},
	{"cubby/runtime", "cubby/eval", "the runtime does not know what measures it"},
	{"cubby/runtime/native", "cubby/models/importer", "an engine reads checkpoints only"},
	{"cubby/eval", "cubby/runtime", "eval sees what it measures as an interface of its own"},
	{"cubby/eval", "cubby/models", "eval knows labels, not models"},
	{"cubby/internal/server", "cubby/runtime/native", "the server sees backends, not engines"},
	{"cubby/models", "cubby/internal", "a model on disk needs no wiring"},
	{"cubby/models/importer", "cubby/models/convert", "only fetch links the converter: it is handed to the importer"},
	{"cubby/internal", "cubby/models/convert", "only fetch links the converter"},
	{"cubby/cmd/classify", "cubby/models/convert", "only fetch links the converter"},
	{"cubby/cmd/classify-server", "cubby/models/convert", "only fetch links the converter"},
	{"cubby/runtime", "cubby/internal", "the runtime needs no wiring"},
	{"cubby/runtime/engine", "cubby/runtime/native", "the contract knows no engine"},
	{"cubby/runtime/residency", "cubby/runtime/native", "what shares memory knows engines by their contract"},
}

// except lists who may import what a ban forbids to all around it: the engines that
// ask a server of another program.
var except = map[string][]string{
	"net/http":          {"cubby/runtime/remote", "cubby/runtime/llamaserver", "cubby/runtime/ollama", "cubby/runtime/chat"},
	"github.com/ollama": {"cubby/runtime/ollama"},
}

func (b ban) excepts(pkg string) bool {
	return slices.ContainsFunc(except[b.to], func(dir string) bool { return under(pkg, dir) })
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

// under reports whether pkg is dir or lies below it; a dir that ends in a
// slash is a plain prefix.
func under(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, strings.TrimSuffix(dir, "/")+"/")
}
