package localplatform

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// sampleWeights is how much each package of Sample holds: more than a network
// packet, less than a test notices.
const sampleWeights = 300 << 10

// Sample writes a folder of packages with everything around the model real, and in
// place of the weights bytes that are none: for what moves packages and does not
// open them.
func Sample(dir string, tasks ...string) error {
	var errs []error
	for seed, task := range tasks {
		folder := filepath.Join(dir, task)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for _, shape := range Shapes() {
			errs = append(errs, sampleTar(filepath.Join(folder, shape+".tar"), shape, uint64(seed)))
		}
		row := func(text, label string) string {
			return fmt.Sprintf(`{"messages":[{"role":"user","content":%q},{"role":"assistant","content":%q}]}`+"\n", text, label)
		}
		prediction := func(text, label, predicted string) string {
			return fmt.Sprintf(`{"prompt":[{"role":"system","content":"Sort it."},{"role":"user","content":%q}],"completion":%q,"prediction":{"role":"assistant","content":%q}}`+"\n", text, label, predicted)
		}
		scores := map[string]any{"precision": 1.0, "recall": 0.5, "f1-score": 0.666, "support": 2.0}
		metrics, err := json.Marshal(map[string]any{
			"base_model_performance":   nil,
			"tuned_model_performance":  map[string]any{"accuracy": 0.75, "card": scores, "cash": scores},
			"predictions_download_url": nil,
		})
		errs = append(errs, err)
		for name, text := range map[string]string{
			"job_description.json": `{"task_description": "Sort ` + task + `.", "classes_description": {"card": "a card", "cash": "cash"}}`,
			"config.yaml":          "base:\n  student_model_name: SmolLM2-135M-Instruct\n  task: classification\n",
			"model_client.py":      "SYSTEM_PROMPT = 'Sort it.'\n",
			"train.jsonl":          row("my card is lost", "card") + row("no cash came out", "cash"),
			"test.jsonl":           row("the card was swallowed", "card") + row("cash, please", "cash"),
			"predictions.jsonl":    prediction("the card was swallowed", "card", "card") + prediction("cash, please", "cash", "cash"),
			"metrics.json":         string(metrics),
		} {
			errs = append(errs, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
		}
	}
	return errors.Join(errs...)
}

// sampleFiles are those of each shape.
var sampleFiles = map[string][]string{
	"seqcls":  {"model/config.json", "model/model.safetensors"},
	"gguf":    {"model/model.gguf", "model/Modelfile", "model_client.py"},
	"merged":  {"model/config.json", "model/model.safetensors", "model-adapter/adapter_config.json", "model_client.py"},
	"adapter": {"model-adapter/adapter_config.json", "model-adapter/adapter_model.safetensors", "model_client.py"},
}

func sampleTar(name, shape string, seed uint64) error {
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(len(shape)), shape[0]})
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var errs []error
	for _, file := range sampleFiles[shape] {
		data := []byte("{}\n")
		switch filepath.Ext(file) {
		case ".safetensors", ".gguf":
			data = make([]byte, sampleWeights)
			_, _ = noise.Read(data) // it never fails
		case ".py":
			data = []byte("SYSTEM_PROMPT = 'Sort it.'\n")
		}
		err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(data))})
		_, werr := w.Write(data)
		errs = append(errs, err, werr)
	}
	errs = append(errs, w.Close())
	return errors.Join(append(errs, os.WriteFile(name, buf.Bytes(), 0o644))...)
}
