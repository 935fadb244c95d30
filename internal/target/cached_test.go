package target

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cubby/eval"
	"cubby/labels"
	"cubby/runtime/chat"
)

// asked counts the texts that come to it; what begins with "bad" it cannot answer.
type asked struct {
	set    *labels.Set
	texts  []string
	usage  chat.Usage
	closed int
}

func (a *asked) Classify(_ context.Context, texts []string) ([]eval.Answer, error) {
	out := make([]eval.Answer, len(texts))
	for i, text := range texts {
		a.texts = append(a.texts, text)
		a.usage.PromptTokens += 10
		a.usage.CompletionTokens += 2
		out[i] = eval.Answer{Distribution: labels.Distribution{0.1, 0.9}, Unresolved: 0.05}
		if strings.HasPrefix(text, "bad") {
			out[i] = eval.Answer{Err: errors.New("no label")}
		}
	}
	return out, nil
}

func (a *asked) Facts() Facts {
	return Facts{Artifact: "sha256:00ff", Labels: a.set}
}

func (a *asked) Close() error { a.closed++; return nil }

func cached(t *testing.T, dir string) (*asked, *Cached) {
	t.Helper()
	set, err := labels.NewSet([]labels.Label{{Name: "a"}, {Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &asked{set: set}
	c, err := NewCached(a, func() chat.Usage { return a.usage }, dir)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

// A second run asks only what had no answer, and tells the same answers and cost.
func TestCached(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "answers")
	texts := []string{"one", "two", "bad", "three"}
	a, c := cached(t, dir)
	first, err := c.Classify(t.Context(), texts[:1])
	if err != nil {
		t.Fatal(err)
	}
	rest, err := c.Classify(t.Context(), texts[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil || a.closed != 1 || len(a.texts) != 4 {
		t.Fatalf("%v; closed %d times, asked %q", err, a.closed, a.texts)
	}
	spent := c.Spent()
	if spent.Texts != 4 || spent.PromptTokens != 40 || spent.AnswerTokens != 8 || len(spent.Alone) != 1 || spent.Batched != 3 || spent.FromCache != 0 {
		t.Errorf("%+v", spent)
	}
	name := filepath.Join(dir, "00ff.jsonl")
	file, err := os.ReadFile(name)
	if err != nil || strings.Contains(string(file), "one") {
		t.Errorf("%s, %v", file, err)
	}
	if err := os.WriteFile(name, append(file, `{"text":"half`...), 0o600); err != nil {
		t.Fatal(err)
	}

	a, c = cached(t, dir)
	again, err := c.Classify(t.Context(), texts)
	if err != nil || !reflect.DeepEqual(a.texts, []string{"bad"}) {
		t.Fatalf("asked %q, %v", a.texts, err)
	}
	for i, want := range append(first, rest...) {
		if (again[i].Err == nil) != (want.Err == nil) || !reflect.DeepEqual(again[i].Distribution, want.Distribution) || again[i].Unresolved != want.Unresolved {
			t.Errorf("%s: %+v, at first %+v", texts[i], again[i], want)
		}
	}
	if s := c.Spent(); s.Texts != 4 || s.PromptTokens != 40 || s.FromCache != 3 || len(s.Alone) != 2 {
		t.Errorf("%+v", s)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(name); err != nil || string(now) != string(file) {
		t.Errorf("the file holds %s, at first %s; %v", now, file, err)
	}
}

// A damaged file says which line, and what to do.
func TestCachedDamage(t *testing.T) {
	for _, line := range []string{"{]", `{"text":"x","distribution":[0.5,0.4]}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00ff.jsonl"), []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := &asked{set: &labels.Set{}}
		if _, err := NewCached(a, nil, dir); err == nil || !strings.Contains(err.Error(), "00ff.jsonl: line 1: ") || !strings.HasSuffix(err.Error(), "; remove it") || a.closed != 1 {
			t.Errorf("%s: %v, closed %d times", line, err, a.closed)
		}
	}
}

// A text that stands several times in a batch is asked once, and each place is answered.
func TestCachedTwice(t *testing.T) {
	a, c := cached(t, t.TempDir())
	got, err := c.Classify(t.Context(), []string{"one", "bad", "one", "two", "bad", "one"})
	if err != nil || !reflect.DeepEqual(a.texts, []string{"one", "bad", "two"}) {
		t.Fatalf("asked %q, %v", a.texts, err)
	}
	for i, a := range got {
		if bad := i == 1 || i == 4; (a.Err != nil) != bad || (a.Distribution == nil) != bad {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if s := c.Spent(); s.Texts != 6 || s.FromCache != 3 || s.PromptTokens != 60 {
		t.Errorf("%+v", s)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
