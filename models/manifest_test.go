package models

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"cubby/labels"
)

// sample is a manifest with every field set.
func sample() Manifest {
	return Manifest{
		Schema:      SchemaVersion,
		Name:        "tickets",
		Labels:      []labels.Label{{Name: "cash", Description: "<money> & notes"}, {Name: "Karte \u2028"}},
		Prompt:      Prompt{Prefix: "<|im_start|>user\n", Suffix: "<|im_end|>\n"},
		Answer:      Answer{Form: Tagged, Prefix: "<output>", Suffix: "</output>", End: "<|im_end|>"},
		Scoring:     Likelihood,
		Calibration: &labels.Calibration{Temperature: 1.5},
		Policy:      &labels.Policy{Threshold: 0.7},
		Canary:      &Canary{Text: "a note", Probabilities: []float64{0.1, 0.9}, Tolerance: 1e-4},
		Weights:     "model.gguf",
		Files:       []File{{Path: "model.gguf", Size: 3, SHA256: DigestOf([]byte("abc"))}, {Path: "README.md", SHA256: DigestOf(nil)}},
		Source:      Source{Kind: GGUF, From: "tickets.tar", Note: "n"},
	}
}

func encode(t testing.TB, m Manifest) []byte {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestManifestRoundTrip(t *testing.T) {
	m := sample()
	data := encode(t, m)
	got, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	m.Files[0], m.Files[1] = m.Files[1], m.Files[0] // sorted
	if !reflect.DeepEqual(*got, m) {
		t.Errorf("got  %+v\nwant %+v", *got, m)
	}
	if again := encode(t, *got); !bytes.Equal(again, data) {
		t.Errorf("encoded again it is\n%s\nnot\n%s", again, data)
	}
}

func TestManifestBytesAreCanonical(t *testing.T) {
	m := sample()
	want := encode(t, m)
	var compact bytes.Buffer
	if err := json.Compact(&compact, want); err != nil {
		t.Fatal(err)
	}
	other, err := ParseManifest(compact.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := encode(t, *other); !bytes.Equal(got, want) {
		t.Errorf("the same manifest, written differently, has other bytes:\n%s", got)
	}
	d, err := m.Digest()
	if err != nil || d != DigestOf(want) {
		t.Errorf("digest %v, %v", d, err)
	}
	m.Labels[0].Name = "coin"
	if changed, _ := m.Digest(); changed == d {
		t.Error("another label has the same digest")
	}
}

func TestParseManifestRefuses(t *testing.T) {
	valid := string(encode(t, sample()))
	replace := func(old, new string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("the sample does not hold %q", old)
		}
		return strings.Replace(valid, old, new, 1)
	}
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", "unexpected EOF"},
		{"cut short", valid[:len(valid)/2], "manifest"},
		{"no object", "[]", "manifest"},
		{"trailing value", valid + "{}", "behind the end"},
		{"trailing text", valid + "x", "behind the end"},
		{"unknown field", replace(`"name"`, `"colour": 1, "name"`), `unknown field "colour"`},
		{"unknown nested field", replace(`"prefix"`, `"middle": "", "prefix"`), `unknown field "middle"`},
		{"repeated key", replace(`"name"`, `"name": "x", "name"`), `key "name" is repeated`},
		{"repeated by case", replace(`"name"`, `"Name": "x", "name"`), `unknown key "Name"`},
		{"repeated by folding", replace(`"schema"`, `"\u017fchema": 1, "schema"`), "unknown key"},
		{"repeated nested key", replace(`"temperature": 1.5`, `"temperature": 1, "temperature": 2`), "repeated"},
		{"no schema", replace(`"schema": 1,`, ``), `"schema" is missing`},
		{"newer schema", replace(`"schema": 1`, `"schema": 2, "novelty": true`), "upgrade"},
		{"wrong type", replace(`"tickets"`, `7`), "name"},
		{"not UTF-8", replace("tickets", "tick\xffts"), "UTF-8"},
		{"short digest", replace(DigestOf(nil).Hex(), "abc"), "64 lower-case hex"},
		{"upper-case digest", replace(DigestOf(nil).Hex(), strings.ToUpper(DigestOf(nil).Hex())), "lower-case"},
		{"path for a digest", replace(DigestOf(nil).Hex(), strings.Repeat("../", 22)[:64]), "not hexadecimal"},
		{"too large", valid + strings.Repeat(" ", maxManifest), "larger"},
		{"deep", strings.Repeat("[", maxManifest), "levels deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseManifest([]byte(c.data))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one that holds %q", err, c.want)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Manifest)
		want   string
	}{
		{"bad name", func(m *Manifest) { m.Name = "../x" }, `name "../x" is not valid`},
		{"no labels", func(m *Manifest) { m.Labels = nil }, "label set is empty"},
		{"repeated label", func(m *Manifest) { m.Labels[1] = m.Labels[0] }, `"cash" repeats`},
		{"prompt not UTF-8", func(m *Manifest) { m.Prompt.Suffix = "\xff" }, "prompt.suffix"},
		{"unknown kind", func(m *Manifest) { m.Source.Kind = "magic" }, `source.kind "magic"`},
		{"unknown form", func(m *Manifest) { m.Answer.Form = "sung" }, `answer form "sung" is unknown`},
		{"no end", func(m *Manifest) { m.Answer.End = "" }, "answer.end is empty"},
		{"bare with text", func(m *Manifest) { m.Answer.Form = Bare }, "text around"},
		{"tagged without tags", func(m *Manifest) { m.Answer.Suffix = "" }, "needs a prefix and a suffix"},
		{"text with a head", func(m *Manifest) { m.Scoring = Head }, `scoring "head" does not fit`},
		{"no scoring", func(m *Manifest) { m.Scoring = "" }, `scoring "" does not fit`},
		{"head that writes", func(m *Manifest) { m.Answer.Form, m.Scoring = None, Head }, "must be empty"},
		{"silent without a head", func(m *Manifest) { m.Answer = Answer{Form: None} }, `needs scoring "head"`},
		{"temperature", func(m *Manifest) { m.Calibration.Temperature = 0 }, "temperature"},
		{"threshold", func(m *Manifest) { m.Policy.Threshold = 2 }, "threshold"},
		{"canary length", func(m *Manifest) { m.Canary.Probabilities = []float64{1} }, "1 probabilities for 2 labels"},
		{"canary sum", func(m *Manifest) { m.Canary.Probabilities = []float64{0.1, 0.8} }, "sum to"},
		{"canary text", func(m *Manifest) { m.Canary.Text = "" }, "canary.text"},
		{"canary tolerance", func(m *Manifest) { m.Canary.Tolerance = 1 }, "tolerance"},
		{"no files", func(m *Manifest) { m.Files = nil }, "0 files"},
		{"too many files", func(m *Manifest) { m.Files = make([]File, maxFiles+1) }, "257 files"},
		{"absolute path", func(m *Manifest) { m.Files[1].Path = "/etc/passwd" }, "not a clean path"},
		{"path outside", func(m *Manifest) { m.Files[1].Path = "../x" }, "not a clean path"},
		{"unclean path", func(m *Manifest) { m.Files[1].Path = "a//b" }, "not a clean path"},
		{"Windows path", func(m *Manifest) { m.Files[1].Path = `a\b` }, "not a clean path"},
		{"drive", func(m *Manifest) { m.Files[1].Path = "c:x" }, "not a clean path"},
		{"the folder itself", func(m *Manifest) { m.Files[1].Path = "." }, "not a clean path"},
		{"the manifest itself", func(m *Manifest) { m.Files[1].Path = "CUBBY.json" }, "clash"},
		{"clash by case", func(m *Manifest) { m.Files[1].Path = "Model.gguf" }, "clash"},
		{"file as folder", func(m *Manifest) { m.Files[1].Path = "model.gguf/x" }, "would be the folder"},
		{"negative size", func(m *Manifest) { m.Files[1].Size = -1 }, "size -1"},
		{"weights elsewhere", func(m *Manifest) { m.Weights = "other.gguf" }, "not among the files"},
		{"weights of no format", func(m *Manifest) { m.Weights = "README.md" }, "neither .gguf nor .safetensors"},
		{"safetensors alone", func(m *Manifest) {
			m.Files[0].Path, m.Weights = "m/a.safetensors", "m/a.safetensors"
		}, `have no "config.json" beside them`},
		{"adapter elsewhere", func(m *Manifest) { m.Adapter = "other.gguf" }, `adapter "other.gguf" is not among the files`},
		{"adapter of no format", func(m *Manifest) { m.Adapter = "README.md" }, "both must be .gguf files"},
		{"adapter of itself", func(m *Manifest) { m.Adapter = m.Weights }, "both must be .gguf files"},
		{"adapter of a head", func(m *Manifest) {
			m.Files[1].Path, m.Adapter = "a.gguf", "a.gguf"
			m.Answer, m.Scoring = Answer{Form: None}, Head
		}, "merge it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sample()
			c.change(&m)
			err := m.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one that holds %q", err, c.want)
			}
			if _, err := m.Encode(); err == nil {
				t.Error("it was encoded all the same")
			}
		})
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "0", "banking-routing", "v1.2_x", strings.Repeat("a", 64), "a-"} {
		if err := ValidName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", ".a", "-a", "A", "a/b", `a\b`, "a b", "a.", "a\n", "ä", strings.Repeat("a", 65), "sha256:x", "con", "nul.gguf", "lpt1"} {
		if ValidName(name) == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
}

func TestDigest(t *testing.T) {
	d := DigestOf([]byte("abc"))
	const known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if d.String() != known {
		t.Fatalf("digest %s", d)
	}
	if got, err := ParseDigest(known); err != nil || got != d {
		t.Fatalf("parsed %v, %v", got, err)
	}
	for _, bad := range []string{"", "sha256:", known[7:], known + "0", known[:70], "sha512:" + known[7:], strings.ToUpper(known), "sha256:" + strings.Repeat("..", 32)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q is taken as a digest", bad)
		}
	}
}

// What parses must be valid, and must not change by being written and read.
func FuzzManifest(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add([]byte(`{"schema":1}`))
	f.Add([]byte(`{"schema":1,"schema":1}`))
	f.Add([]byte(fmt.Sprintf(`{"schema":1,"name":"a","labels":[{"name":"\ud800"}],"files":[{"path":"a.gguf","size":1e3,"sha256":"%064d"}]}`, 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		again, err := ParseManifest(encode(t, *m))
		if err != nil {
			t.Fatalf("its own bytes are refused: %v", err)
		}
		if a, b := encode(t, *m), encode(t, *again); !bytes.Equal(a, b) {
			t.Fatalf("it changed from\n%s\nto\n%s", a, b)
		}
	})
}
