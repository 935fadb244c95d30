package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
	"cubby/models"
)

// retrained is the folder of packages of another training: other labels, prompt and
// accuracy.
func retrained(t *testing.T, packages, task, accuracy string, labels ...string) {
	t.Helper()
	dir := filepath.Join(packages, task)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	job := `{"task_description": "Sort.", "classes_description": {"` + strings.Join(labels, `": "", "`) + `": ""}}`
	writeTar(t, filepath.Join(dir, "gguf.tar"), map[string][]byte{
		"model/model.gguf": demoWeights(t), "model_client.py": []byte("SYSTEM_PROMPT = 'Sort it " + task + ".'\n"), "job_description.json": []byte(job),
	})
	for name, text := range map[string]string{
		"job_description.json": job, "metrics.json": `{"tuned_model_performance":{"accuracy":` + accuracy + `}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *pulling) digest(name string) string {
	p.t.Helper()
	m, err := p.store.Open(name)
	if err != nil {
		p.t.Fatal(err)
	}
	defer m.Close()
	return m.Digest
}

// In every era the new training of the same task is found, installed beside the old one
// and taken into use, and the way back works as it is printed.
func TestUpgrade(t *testing.T) {
	for _, era := range localplatform.Eras() {
		t.Run(string(era), func(t *testing.T) {
			packages := demoPackages(t)
			p := newPulling(t, localplatform.Options{Packages: packages, Era: era}, nil)
			first := p.platform.Models()[0]
			id := first.ID
			if era == localplatform.Both {
				id = first.Training
			}
			p.want(exitOK, "installed sorted", "", "pull", id, "-as", "sorted")
			before := p.digest("sorted")
			p.want(exitOK, "sorted is the newest: 2 labels", "", "upgrade", "sorted")

			retrained(t, packages, "next", "0.5", "a", "c", "d")
			p.platform.Retrain(first, localplatform.Retrained{Task: "next", NewDataset: era == localplatform.Datasets, Created: first.Created.Add(time.Hour)})
			code, out, errs := p.fetch("upgrade", "sorted")
			if code != exitOK || !strings.Contains(out, "upgraded sorted: 3 labels") || !strings.Contains(errs, "LABELS ADDED: c, d\n") || !strings.Contains(errs, "LABELS REMOVED: b\n") {
				t.Fatalf("%d\n%s%s", code, out, errs)
			}
			if known := era != localplatform.Models; known != strings.Contains(errs, "the new training is worse on the platform's test set: accuracy 0.500, and 0.750 before") {
				t.Errorf("%s", errs)
			}
			if !strings.Contains(out, "accuracy on the platform: 0.500") {
				t.Errorf("%s", out)
			}
			p.whole("sorted")
			after := p.digest("sorted")
			if list, err := p.store.Versions("sorted"); err != nil || len(list) != 2 || list[1].Digest.String() != before || after == before {
				t.Fatalf("%v, %v", list, err)
			}
			p.want(exitOK, "sorted is the newest: 3 labels", "", "upgrade", "sorted")

			back := regexp.MustCompile(`(?m)^back: fetch (use) (\S+)$`).FindStringSubmatch(out)
			if back == nil {
				t.Fatalf("no way back in\n%s", out)
			}
			p.want(exitOK, "now: 2 labels", "", back[1:]...)
			if p.digest("sorted") != before {
				t.Error("back leads elsewhere")
			}

			// Forth again, without a download.
			asked := len(p.platform.Requests())
			_, out, _ = p.fetch("upgrade", "sorted", "-json")
			var line resultJSON
			if err := json.Unmarshal([]byte(out), &line); err != nil || line.Event != "upgraded" || line.Artifact != after || line.Previous != before || fmt.Sprint(line.Added, line.Removed) != "[c d] [b]" ||
				line.Name != "sorted" || line.RollBack != "fetch use "+back[2] {
				t.Errorf("%s: %v", out, err)
			}
			tars := 0
			for _, r := range p.platform.Requests()[asked:] {
				if strings.HasSuffix(r, ".tar") {
					tars++
				}
			}
			if tars > 2 { // a byte each of both
				t.Errorf("the tars were asked for %d times", tars)
			}
			p.whole("sorted")
		})
	}
}

// The platform's newest SLM of the same data is meant, whose training has succeeded.
func TestUpgradeChooses(t *testing.T) {
	packages := demoPackages(t)
	retrained(t, packages, "next", "0.9", "a", "b")
	p := newPulling(t, localplatform.Options{Packages: packages, Shapes: []string{"gguf"}}, nil)
	var first localplatform.Model
	for _, m := range p.platform.Models() {
		if m.Task == "demo" {
			first = m
		}
	}
	p.want(exitOK, "installed sorted", "", "pull", first.ID, "-as", "sorted")
	at := func(hours int) time.Time { return first.Created.Add(time.Duration(hours) * time.Hour) }
	good := p.platform.Retrain(first, localplatform.Retrained{Task: "next", NewDataset: true, Created: at(1)})
	failed := p.platform.Retrain(first, localplatform.Retrained{Status: "JOB_FAILURE", Created: at(2)})
	running := p.platform.Retrain(first, localplatform.Retrained{Status: "JOB_RUNNING", Created: at(3)})
	other := p.platform.Retrain(first, localplatform.Retrained{Task: "next", Unrelated: true, Created: at(50)})

	p.want(exitFailure, "", "sorted stays as it is: model "+failed.ID+" cannot be pulled: its training ended with the status failure", "upgrade", "sorted", failed.ID)
	p.want(exitFailure, "", "its training is not done", "upgrade", "sorted", running.ID)
	p.want(exitFailure, "", "sorted stays as it is", "upgrade", "sorted", "ffffffff-no-such-model")
	before := p.digest("sorted")
	_, out, errs := p.fetch("upgrade", "sorted")
	if !strings.Contains(out, "of the platform's model "+good.ID) || !strings.Contains(errs, running.ID+" is newer, and its training is not done (status running)") || strings.Contains(errs, "LABELS") ||
		strings.Contains(errs, "worse") {
		t.Errorf("%s%s", out, errs)
	}
	p.whole("sorted")

	p.want(exitOK, "sorted is the newest", "newer models of other data are "+other.ID, "upgrade", "sorted")
	p.want(exitOK, "upgraded sorted: 2 labels", "", "upgrade", "sorted", other.ID)
	if list, err := p.store.Versions("sorted"); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
	p.want(exitOK, "now: 2 labels", "", "use", "sorted@"+strings.TrimPrefix(before, "sha256:"))

	// What the platform says nothing about.
	p.platform.Break(localplatform.Fault{Route: "GET /slms/" + first.ID, Status: 404})
	p.want(exitFailure, "", "name the model that replaces it: fetch upgrade sorted ID", "upgrade", "sorted")
	p.platform.Heal()
	p.platform.Break(localplatform.Fault{Route: "GET /datasets", Status: 500})
	p.want(exitNetwork, "", "sorted stays as it is", "upgrade", "sorted")
	p.platform.Heal()
	p.platform.Break(localplatform.Fault{Route: "GET /datasets", Status: 404}) // none is made from another
	p.want(exitOK, "sorted is the newest", "", "upgrade", "sorted")
	p.platform.Heal()
	if p.digest("sorted") != before {
		t.Error("the name moved")
	}

	p.want(exitUsage, "", "upgrade takes the name of a model in the store", "upgrade")
	p.want(exitUsage, "", "not 3 arguments", "upgrade", "a", "b", "c")
	p.want(exitUsage, "", "is not valid", "upgrade", "No Name")
	p.want(exitUsage, "", "from the Hugging Face hub: fetch pull hf.co/a/b -as sorted", "upgrade", "sorted", "hf.co/a/b")
	p.want(exitUsage, "", "-job", "upgrade", "sorted", "-job", "nowhere")
	p.want(exitFailure, "", "the store has no model named", "upgrade", "absent")
	pack := filepath.Join(t.TempDir(), "mine.tar")
	writePackage(t, pack)
	p.want(exitOK, "installed mine", "", "import", pack, "-name", "mine")
	p.want(exitFailure, "", "mine came from mine.tar, which tells no model of the platform: name the one that replaces it: fetch upgrade mine ID", "upgrade", "mine")
	p.want(exitOK, "upgraded mine", "", "upgrade", "mine", good.ID)
}

// A model that has none of the labels is another task's.
func TestUpgradeOtherTask(t *testing.T) {
	packages := demoPackages(t)
	retrained(t, packages, "next", "0.9", "c", "d")
	p := newPulling(t, localplatform.Options{Packages: packages, Shapes: []string{"gguf"}}, nil)
	var first, other localplatform.Model
	for _, m := range p.platform.Models() {
		if m.Task == "demo" {
			first = m
		} else {
			other = m
		}
	}
	p.want(exitOK, "installed sorted", "", "pull", first.ID, "-as", "sorted")
	before := p.digest("sorted")
	p.want(exitFailure, "", "no label of sorted stays, so "+other.ID+" is the model of another task", "upgrade", "sorted", other.ID)
	if p.digest("sorted") != before {
		t.Error("the name moved")
	}
	p.want(exitOK, "upgraded sorted: 2 labels", "LABELS REMOVED: a, b", "upgrade", "sorted", other.ID, "-any-labels")
	p.want(exitFailure, "", "no label of sorted stays", "upgrade", "sorted", first.ID) // installed, and not used
	back := "sorted@" + strings.TrimPrefix(p.digest("sorted"), "sha256:")[:12]
	p.want(exitOK, "\nbefore: "+back+"; back: fetch use "+back+"\n", "", "pull", first.ID, "-as", "sorted")
	if p.digest("sorted") != before {
		t.Error("the name points elsewhere")
	}
	_, out, _ := p.fetch("pull", other.ID, "-as", "sorted", "-json")
	if !strings.Contains(out, `"roll_back":"fetch use sorted@`+before[7:19]+`"`) {
		t.Error(out)
	}
}

// On a platform that lists a model's training as an SLM as well, its name is one of
// both, in the list, for a pull and for what is installed.
func TestPullByNameInBoth(t *testing.T) {
	packages := demoPackages(t)
	p := newPulling(t, localplatform.Options{Packages: packages, Era: localplatform.Both}, nil)
	first := p.platform.Models()[0]
	p.want(exitOK, "demo-gguf", "", "list")
	p.want(exitOK, "installed demo-gguf", "", "pull", first.Name)
	p.want(exitOK, "is installed already", "", "pull", first.Name)
	p.want(exitOK, "is installed already", "", "pull", first.Training)
	retrained(t, packages, "next", "0.9", "a", "b")
	p.platform.Retrain(first, localplatform.Retrained{Task: "next", Created: first.Created.Add(time.Hour)})
	p.want(exitFailure, "", "if this is a new training of it: fetch upgrade demo-gguf", "pull", first.Name)
	p.want(exitOK, "upgraded demo-gguf", "", "upgrade", "demo-gguf")
	p.want(exitOK, "is the newest", "", "upgrade", "demo-gguf", first.Name)
	p.want(exitOK, "is installed already", "", "pull", first.Name)
	p.whole("demo-gguf")
}

// An upgrade that is killed leaves the old version in use or the new one, both whole,
// and the same command finishes.
func TestUpgradeKilled(t *testing.T) {
	packages := demoPackages(t)
	p := newPulling(t, localplatform.Options{Packages: packages}, nil)
	first := p.platform.Models()[0]
	p.want(exitOK, "installed sorted", "", "pull", first.ID, "-as", "sorted")
	before := p.digest("sorted")
	retrained(t, packages, "next", "0.9", "a", "b")
	p.platform.Retrain(first, localplatform.Retrained{Task: "next", Created: first.Created.Add(time.Hour)})
	k := newKilling(t, p.store.Root(), "upgrade", "sorted")
	k.base = k.progress()
	k.finish()
	after := p.digest("sorted")
	for kills := 0; kills < importKills/2; {
		p.want(exitOK, "", "", "use", "sorted@"+strings.TrimPrefix(before, "sha256:"))
		p.want(exitOK, "removed", "", "rm", "sorted@"+strings.TrimPrefix(after, "sha256:"))
		if err := os.RemoveAll(filepath.Join(p.store.Root(), "staging")); err != nil {
			t.Fatal(err)
		}
		killed := k.kill()
		if killed {
			kills++
		}
		if now := p.digest("sorted"); now != after && (now != before || !killed) {
			t.Fatalf("the name points to %s; killed: %v", now, killed)
		}
		list, err := p.store.Versions("sorted")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := p.store.Verify(models.VersionOf("sorted", e.Digest)); err != nil {
				t.Error(err)
			}
		}
		k.finish()
		if p.digest("sorted") != after {
			t.Fatal("the upgrade after a kill did not finish")
		}
	}
	p.whole("sorted")
}
