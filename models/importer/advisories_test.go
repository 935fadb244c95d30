package importer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"go/version"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/models/importer/archivetest"
	"cubby/models/safetensors"
)

func TestAdvisories(t *testing.T) {
	for _, row := range []struct {
		id  string
		run func(t *testing.T)
	}{
		{"CVE-2024-37032, a digest is used as a path", digestIsNoPath},
		{"CVE-2026-103663, a second function makes paths of digests", onePlaceMakesPaths},
		{"CVE-2024-45436, an archive member lies outside", unpackedThroughRoot},
		{"CVE-2026-7482, a GGUF tensor lies outside its file", ggufTensorsOutside},
		{"CVE-2026-17106, GHSA-m37j-52j7-pjw7, links in archives", archivesOf("links", "chains")},
		{"SecureJoin, a library that says it is unsafe", noSecureJoin},
		{"GO-2026-4403, CVE-2026-27139, CVE-2026-39822, os.Root of an old Go", goIsNew},
		{"CVE-2025-58183, CVE-2026-32288, sparse files without bounds", archivesOf("sparse")},
		{"go-getter, limits that are off unless asked for", archivesOf("bombs")},
		{"names that Windows takes for others", archivesOf("Windows")},
		{"safetensors headers, overlaps and holes", safetensorsOutside},
		{"pickles", pickles},
		{"JSON that nests deep", deepJSON},
		{"files larger than anything like them", largeFiles},
		{"counts in headers", counts},
	} {
		t.Run(row.id, row.run)
	}
}

func digestIsNoPath(t *testing.T) {
	var _ [32]byte = models.Digest{}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	s := models.NewStore(filepath.Join(filepath.Dir(outside), "store"))
	for _, ref := range []string{
		"sha256:../../secret", "sha256:" + strings.Repeat("../", 21) + "a", "sha256:" + strings.Repeat("a", 63), "sha256:" + strings.Repeat("A", 64),
		"sha256:" + strings.Repeat("a", 64) + "/..", "../../secret", "a@../../secret", outside,
	} {
		if _, err := models.ParseDigest(ref); err == nil {
			t.Errorf("%q is a digest", ref)
		}
		if m, err := s.Open(ref); err == nil {
			t.Errorf("%q was opened: %s", ref, errors.Join(m.Close()))
		}
		if _, err := s.Remove(ref); err == nil {
			t.Errorf("%q was removed", ref)
		}
		manifest := strings.Replace(`{"schema":1,"files":[{"path":"x","size":1,"sha256":"REF"}]}`, "REF", filepath.ToSlash(ref), 1)
		if _, err := models.ParseManifest([]byte(manifest)); err == nil {
			t.Errorf("%q stands in a manifest", ref)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// goFiles visits the Go files of the module, tests apart.
func goFiles(t *testing.T, visit func(name string, file *ast.File, text string)) {
	t.Helper()
	root := testenv.Root(t)
	n := 0
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != root && e.IsDir() && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), p, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		n++
		visit(filepath.ToSlash(rel), file, string(text))
		return err
	})
	if err != nil || n < 100 {
		t.Fatalf("%d files: %v", n, err)
	}
}

// selector is X.Name of an expression, with X where that is a name.
func selector(e ast.Expr) (x, name string) {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	if id, ok := s.X.(*ast.Ident); ok {
		x = id.Name
	}
	return x, s.Sel.Name
}

func onePlaceMakesPaths(t *testing.T) {
	found := map[string]int{}
	goFiles(t, func(name string, file *ast.File, _ string) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			x, method := selector(call.Fun)
			if method != "Join" || x != "filepath" && x != "path" {
				return true
			}
			for _, arg := range call.Args {
				ast.Inspect(arg, func(n ast.Node) bool {
					if inner, ok := n.(*ast.CallExpr); ok {
						if _, of := selector(inner.Fun); of == "Hex" {
							found[name]++
						}
					}
					return true
				})
			}
			return true
		})
	})
	if len(found) != 1 || found["models/store.go"] != 1 {
		t.Errorf("%v make paths of digests: only one function of the store does", found)
	}
}

func unpackedThroughRoot(t *testing.T) {
	extractors := 0
	writers := regexp.MustCompile(`\bos\.(Create|OpenFile|WriteFile|Mkdir|MkdirAll|Symlink|Link|Rename|Chtimes|Chmod)\(`)
	goFiles(t, func(name string, file *ast.File, text string) {
		unpacks := false
		for _, i := range file.Imports {
			unpacks = unpacks || i.Path.Value == `"archive/tar"` && strings.Contains(text, "tar.NewReader(") || i.Path.Value == `"archive/zip"`
		}
		if !unpacks || strings.HasSuffix(filepath.Dir(name), "test") {
			return
		}
		extractors++
		if !strings.Contains(text, "os.OpenRoot(") {
			t.Errorf("%s unpacks archives, and not through os.Root", name)
		}
		if m := writers.FindString(text); m != "" {
			t.Errorf("%s unpacks archives, and writes by %s as well", name, m)
		}
	})
	if extractors == 0 {
		t.Error("nothing unpacks archives: this test looks for the wrong thing")
	}
	archivesOf("..", "abs", "formats")(t)
}

// archivesOf wants the corpus's archives of some classes to be refused with nothing
// but the defaults.
func archivesOf(classes ...string) func(*testing.T) {
	return func(t *testing.T) {
		n := 0
		for _, c := range archivetest.Corpus(t, t.TempDir()) {
			if !slices.Contains(classes, c.Class) {
				continue
			}
			n++
			name := filepath.Join(t.TempDir(), "package.tar")
			if err := os.WriteFile(name, c.Data, 0o644); err != nil {
				t.Fatal(err)
			}
			s := models.NewStore(t.TempDir())
			_, err := Import(t.Context(), s, Options{Path: name, Name: "a"})
			if refused, _ := errors.AsType[*ArchiveError](err); refused == nil || !strings.Contains(err.Error(), c.Want) {
				t.Errorf("%s: %v", c.Name, err)
			}
			checkEmpty(t, s)
		}
		if n == 0 {
			t.Errorf("the corpus has none of %q", classes)
		}
	}
}

// refused wants a package to be refused.
func refused(t *testing.T, name, want string, files map[string]string) {
	t.Helper()
	s := models.NewStore(t.TempDir())
	_, err := Import(context.Background(), s, Options{Path: folder(t, files), Name: "a"})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want one that holds %q", name, err, want)
	}
	checkEmpty(t, s)
}

func ggufTensorsOutside(t *testing.T) {
	made := func(change func(*gguftest.Tensor)) string {
		x := gguftest.Tensor{Name: "cubby.tensor", Type: gguf.F32, Shape: []uint64{8}, Data: make([]byte, 32)}
		change(&x)
		return string(gguftest.Encode([]gguftest.Meta{{Key: "general.architecture", Value: "llama"}, {Key: "tokenizer.chat_template", Value: chatML}}, []gguftest.Tensor{x}))
	}
	whole := made(func(*gguftest.Tensor) {})
	offset := strings.Index(whole, "cubby.tensor") + len("cubby.tensor") + 4 + 8 + 4
	moved := func(to uint64) string {
		data := []byte(whole)
		binary.LittleEndian.PutUint64(data[offset:], to)
		return string(data)
	}
	for name, c := range map[string]struct{ data, want string }{
		"not changed":         {whole, "no end-of-sequence token"}, // it is read, and lacks the rest
		"longer than file":    {made(func(x *gguftest.Tensor) { x.Shape = []uint64{1 << 20} }), "truncated"},
		"size that overflows": {made(func(x *gguftest.Tensor) { x.Shape = []uint64{1 << 32, 1 << 31} }), "no size that fits 64 bits"},
		"size that wraps":     {made(func(x *gguftest.Tensor) { x.Shape = []uint64{1 << 62, 1 << 62, 4, 1} }), "no size that fits 64 bits"},
		"offset outside":      {moved(1 << 20), "truncated"},
		"offset that wraps":   {moved(math.MaxUint64 - 31), "out of range"},
		"offset between":      {moved(4), "not a multiple of the alignment"},
		"cut":                 {whole[:len(whole)-1], "truncated"},
	} {
		refused(t, name, c.want, map[string]string{"model.gguf": c.data, clientName: smallClient, jobName: smallJob})
	}
}

func noSecureJoin(t *testing.T) {
	goFiles(t, func(name string, file *ast.File, _ string) {
		for _, i := range file.Imports {
			if strings.Contains(i.Path.Value, "securejoin") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	})
}

// leastGo has the corrections of os.Root on all systems but Windows, where links are
// refused before they are made.
const leastGo = "go1.26.5"

func goIsNew(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(testenv.Root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(data)
	if m == nil || version.Compare("go"+string(m[1]), leastGo) < 0 {
		t.Errorf("go.mod asks for %s, less than %s", m, leastGo)
	}
	if v := goruntime.Version(); version.IsValid(v) && version.Compare(v, leastGo) < 0 {
		t.Errorf("this is %s, older than %s", v, leastGo)
	}
}

// safetensorsFile is a file with this header and n bytes behind it.
func safetensorsFile(header string, n int) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + strings.Repeat("\x00", n)
}

func merged(t *testing.T, change map[string]string) map[string]string {
	files := qwen3Family(t).folder(t)
	for name, data := range change {
		files[name] = data
	}
	return files
}

func safetensorsOutside(t *testing.T) {
	x := func(shape, offsets string) string {
		return fmt.Sprintf(`{"dtype":"F32","shape":[%s],"data_offsets":[%s]}`, shape, offsets)
	}
	for name, c := range map[string]struct{ data, want string }{
		"header beyond all bounds":   {string(binary.LittleEndian.AppendUint64(nil, 1<<60)) + "{}", "header would take"},
		"header beyond the file":     {string(binary.LittleEndian.AppendUint64(nil, 1<<20)) + "{}", "truncated"},
		"overlap":                    {safetensorsFile(`{"a":`+x("2", "0,8")+`,"b":`+x("2", "4,12")+`}`, 12), "begins at offset 4"},
		"hole":                       {safetensorsFile(`{"a":`+x("1", "0,4")+`,"b":`+x("1", "8,12")+`}`, 12), "begins at offset 8"},
		"hole in front":              {safetensorsFile(`{"a":`+x("2", "4,12")+`}`, 12), "begins at offset 4"},
		"bytes left over":            {safetensorsFile(`{"a":`+x("1", "0,4")+`}`, 8), "4 bytes behind the last tensor"},
		"beyond the file":            {safetensorsFile(`{"a":`+x("4", "0,16")+`}`, 8), "truncated"},
		"size that overflows":        {safetensorsFile(`{"a":`+x("4294967296,4294967296", "0,16")+`}`, 16), "too large"},
		"the same tensor twice":      {safetensorsFile(`{"a":`+x("1", "0,4")+`,"a":`+x("1", "4,8")+`}`, 8), "stands twice"},
		"offsets that go backwards":  {safetensorsFile(`{"a":`+x("0", "4,0")+`}`, 4), "do not span"},
		"something behind the JSON":  {safetensorsFile(`{}{}`, 0), "something follows"},
		"a web page":                 {"<!DOCTYPE html><html></html>", "not a safetensors file"},
		"no more than a Git pointer": {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
	} {
		refused(t, name, c.want, merged(t, map[string]string{"model/model.safetensors": c.data}))
	}
}

func pickles(t *testing.T) {
	const why = "is a pickle, which can run code when it is opened, and is never read"
	files := func(name string) map[string]string {
		return map[string]string{name: "\x80\x04x", clientName: smallClient, jobName: smallJob}
	}
	for _, name := range []string{"pytorch_model.bin", "model/model.pt", "model.PTH", "deep/er/model.ckpt", "model.pkl", "model/pytorch_model-00001-of-00002.bin", "x.pickle"} {
		refused(t, name, name+" "+why, files(name))
	}
	adapter := files("model-adapter/adapter_model.bin")
	adapter["model-adapter/adapter_config.json"] = "{}"
	refused(t, "adapter", "model-adapter/adapter_model.bin "+why, adapter)
	if _, err := safetensors.Files(folder(t, files("pytorch_model.bin"))); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("a base: %v", err)
	}
	whole := map[string]string{"model.gguf": demoWeights(t), clientName: smallClient, jobName: smallJob, "training_args.bin": "\x80\x04x"}
	res, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: folder(t, whole), Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Manifest.Files {
		if safetensors.Pickled(f.Path) {
			t.Errorf("%s was kept", f.Path)
		}
	}
}

func deepJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 1<<20)
	lists := strings.Repeat(`[`, 1<<20)
	for _, name := range []string{"model/config.json", "model/tokenizer.json", "model/tokenizer_config.json", jobName} {
		for _, data := range []string{deep, lists, `{"classes_description":` + lists, `{"chat_template":` + deep} {
			refused(t, name, "", merged(t, map[string]string{name: data}))
		}
	}
	refused(t, "safetensors", "header", merged(t, map[string]string{"model/model.safetensors": safetensorsFile(deep, 0)}))
	refused(t, "client", "SYSTEM_PROMPT: ", merged(t, map[string]string{clientName: "SYSTEM_PROMPT = " + strings.Repeat("f(", 1<<18)}))
	for _, data := range []string{deep, lists, strings.Repeat("- ", 1<<19), strings.Repeat("base: { ", 1<<17)} {
		_, err := Import(t.Context(), models.NewStore(t.TempDir()), Options{Path: folder(t, merged(t, map[string]string{platformConfigName: data[:maxTraining]})), Name: "a"})
		if err != nil {
			t.Errorf("%s: %v", platformConfigName, err)
		}
	}
}

func largeFiles(t *testing.T) {
	for name, size := range map[string]int{
		jobName: maxJSON, "model/config.json": maxJSON, "model/tokenizer.json": maxTokenizer, "model/tokenizer_config.json": maxTokenizer,
		"model/chat_template.jinja": maxTemplate, clientName: maxClient,
	} {
		refused(t, name, "larger than", merged(t, map[string]string{name: strings.Repeat(" ", size+1)}))
	}
	refused(t, "template in its configuration", "larger than", merged(t, map[string]string{
		"model/chat_template.jinja": "", "model/tokenizer_config.json": `{"eos_token": "<|im_end|>", "chat_template": "` + strings.Repeat("x", maxTemplate+1) + `"}`,
	}))
}

func counts(t *testing.T) {
	var header strings.Builder
	for i := range 1<<17 + 1 {
		fmt.Fprintf(&header, `,"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, i)
	}
	refused(t, "tensors of safetensors", "more than 131072 tensors", merged(t, map[string]string{"model/model.safetensors": safetensorsFile("{"+header.String()[1:]+"}", 0)}))
	count := func(tensors, keys uint64) string {
		data := binary.LittleEndian.AppendUint32([]byte("GGUF"), 3)
		data = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(data, tensors), keys)
		return string(data) + strings.Repeat("\x00", 1<<22)
	}
	for want, data := range map[string]string{"tensor count is 65537": count(1<<16+1, 0), "metadata count is 65537": count(0, 1<<16+1)} {
		refused(t, want, want, map[string]string{"model.gguf": data, clientName: smallClient, jobName: smallJob})
	}
	files := map[string]string{}
	for i := range maxFolderFiles + 1 {
		files[fmt.Sprint("x/", i)] = ""
	}
	refused(t, "files", "this is not a package", files)
}
