package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/load"
	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/importer"
)

// Without -data, a model is measured on the test set that it keeps.
func TestEvalOnOwnTestSet(t *testing.T) {
	dir, store := t.TempDir(), models.NewStore(t.TempDir())
	weights, err := os.ReadFile(filepath.Join(testenv.Root(t), "models", "demo", "model.gguf"))
	for name, data := range map[string]string{
		"model.gguf": string(weights), "model_client.py": "SYSTEM_PROMPT = 'Sort it.'\n", "job_description.json": `{"classes_description": {"zebra": ""}}`,
		"test.csv": "question,answer\nwhere is it,zebra\nwhich one,zebra\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, none := range map[string]bool{"tested": false, "untested": true} {
		o := importer.Options{Path: dir, Name: name, Checks: importer.Checks{ReadRows: load.ReadRows, NoData: none}}
		if _, err := importer.Import(t.Context(), store, o); err != nil {
			t.Fatal(err)
		}
	}
	eval := func(args ...string) (stdout, stderr string, code int) {
		var out, errs bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, load: loadModel}
		code = p.run(t.Context(), append([]string{"classify", "eval", "-home", store.Root()}, args...))
		return out.String(), errs.String(), code
	}
	out, errs, code := eval("-model", "tested", "-json")
	var report struct{ Rows, Correct int }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitOK || report.Rows != 2 || report.Correct != 2 {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	if _, errs, code := eval("-model", "untested"); code != exitUsage || !strings.Contains(errs, "-data FILE is missing") {
		t.Errorf("code %d, %s", code, errs)
	}
}
