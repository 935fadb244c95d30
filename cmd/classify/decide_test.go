package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/models"
	"cubby/models/importer"
)

// storedDemo brings the demo model into a store under another name.
func storedDemo(t *testing.T) (s *models.Store, data string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv(models.HomeVariable, home)
	s = models.NewStore(home)
	demo := filepath.Join(testenv.Root(t), "models", "demo")
	dir := t.TempDir()
	for from, to := range map[string]string{"model.gguf": "model.gguf", "cubby.json": models.ManifestName} {
		raw, err := os.ReadFile(filepath.Join(demo, from))
		if err != nil {
			t.Skip("the demo model is not in this build: ", err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := importer.Import(t.Context(), s, importer.Options{Path: dir, Name: "tickets"}); err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(demo, "test.csv")
}

// A threshold that is set decides answers from then on, by the artefact that it
// belongs to, and calibrating drops it.
func TestDecide(t *testing.T) {
	s, data := storedDemo(t)
	decide := func(args ...string) (o outcomeOf, out string) {
		t.Helper()
		out, errs, code := ask(t, "", "", append(args, "-model", "tickets", "-data", data)...)
		if code != exitOK {
			t.Fatalf("%q: code %d: %s", args, code, errs)
		}
		if strings.HasPrefix(out, "{") {
			if err := json.Unmarshal([]byte(out), &o); err != nil {
				t.Fatal(err)
			}
		}
		return o, out
	}
	before, err := models.Resolve(s, "tickets")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if _, out := decide("policy", "-max-error", "0.3", "-dry-run"); !strings.Contains(out, "The model stays as it is.") {
		t.Error(out)
	}
	o, _ := decide("policy", "-max-error", "0.3", "-json")
	after, err := models.Resolve(s, "tickets")
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	p := after.Manifest.Policy
	if p == nil || p.Threshold != o.Policy.Threshold || p.MaxError != 0.3 || p.Confidence != 0.95 || after.Digest != o.Artifact || after.Digest == before.Digest {
		t.Fatalf("%+v in %s, told %+v", p, after.Digest, o)
	}
	var report struct {
		Rows, Review int
		Artifact     string
	}
	out, errs, code := ask(t, "", "", "eval", "-model", "tickets", "-data", data, "-json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitOK {
		t.Fatal(err, errs)
	}
	if report.Review != report.Rows-o.Policy.Answered || report.Artifact != o.Artifact {
		t.Errorf("%+v, the policy said %+v", report, o.Policy)
	}

	data = mislabelled(t, data)
	o, out = decide("calibrate", "-json")
	if o.Fit.Rows != report.Rows || o.Fit.Errors == 0 || o.Fit.Improves != (o.Artifact != "") || o.DroppedPolicy != o.Fit.Improves {
		t.Errorf("%s", out)
	}
	if !o.Fit.Improves {
		t.Fatal("calibrating on rows with wrong labels saves no loss: this test tests nothing")
	}
	calibrated, err := models.Resolve(s, "tickets")
	if err != nil {
		t.Fatal(err)
	}
	defer calibrated.Close()
	if c := calibrated.Manifest.Calibration; c == nil || c.Temperature != o.Fit.Temperature || calibrated.Manifest.Policy != nil {
		t.Errorf("%+v", calibrated.Manifest)
	}
	if again, _ := decide("calibrate", "-dry-run", "-json"); again.Fit.Temperature != o.Fit.Temperature {
		t.Errorf("fitted again %v, at first %v: a fit starts from what is not calibrated", again.Fit.Temperature, o.Fit.Temperature)
	}
}

// mislabelled gives every fourth row the label of another one, as rows of a harder
// task would look to a model that is too sure.
func mislabelled(t *testing.T, data string) string {
	t.Helper()
	f, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i := 4; i < len(list); i += 4 {
		list[i][1] = list[(i+len(list)/2)%(len(list)-1)+1][1]
	}
	name := filepath.Join(t.TempDir(), "test.csv")
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	if err := errors.Join(w.WriteAll(list), os.WriteFile(name, out.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDecideRefuses(t *testing.T) {
	_, data := storedDemo(t)
	for want, args := range map[string][]string{
		"must lie above 0 and below 1":                       {"policy", "-data", data},
		"it takes 438 answered rows even if none were wrong": {"policy", "-max-error", "0.01", "-data", data},
		"-server is of no use":                               {"calibrate", "-server", "http://127.0.0.1:1", "-data", data},
		"only a model in the store can be changed or gated":  {"policy", "-max-error", "0.3", "-model", "demo", "-data", data},
		"calibrate takes no argument":                        {"calibrate", "x"},
	} {
		if out, errs, code := ask(t, "", "", args...); code == exitOK || !strings.Contains(errs, want) {
			t.Errorf("%q: code %d, %s%s", args, code, out, errs)
		}
	}
}
