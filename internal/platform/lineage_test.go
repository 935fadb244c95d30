package platform

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"
)

func TestRoot(t *testing.T) {
	l := Lineage{"c": "b", "b": "a", "d": "a", "x": "y", "y": "x"}
	for id, want := range map[string]string{"a": "a", "b": "a", "c": "a", "d": "a", "e": "e", "": ""} {
		if got := l.Root(Model{Dataset: id}); got != want {
			t.Errorf("%q begins at %q, want %q", id, got, want)
		}
		if got := l.Root(Model{TrainingDataset: id}); got != want {
			t.Errorf("%q begins at %q, want %q", id, got, want)
		}
	}
	if got := l.Root(Model{Dataset: "x"}); got != "x" && got != "y" { // a circle ends
		t.Error(got)
	}
}

// Whatever era: what was made of the same is of one task, other data is not, and a
// platform without datasets tells nothing.
func TestLineage(t *testing.T) {
	ctx := context.Background()
	for _, era := range localplatform.Eras() {
		w := newWorld(t, localplatform.Options{Era: era})
		first := w.Models()[0]
		again := w.Retrain(first, localplatform.Retrained{NewDataset: true, Created: time.Now()})
		twice := w.Retrain(again, localplatform.Retrained{NewDataset: true, Created: time.Now()})
		other := w.Retrain(first, localplatform.Retrained{Unrelated: true, Created: time.Now()})
		l, err := w.as(t, nil).Lineage(ctx)
		if err != nil {
			t.Fatalf("%s: %v", era, err)
		}
		root := func(m localplatform.Model) string { return l.Root(Model{Dataset: m.Dataset}) }
		if same := root(twice) == root(first) && root(again) == root(first); same != (era != localplatform.Models) || root(other) == root(first) {
			t.Errorf("%s: %v", era, l)
		}
	}
}

// Items that are none of the documented kind are passed over.
func FuzzLineage(f *testing.F) {
	for _, body := range []string{`[{"id":"a","parent_dataset_id":"b"}]`, `[1,null,{"id":{}}]`, `{"items":[{"id":"a","parent_dataset_id":"a"}]}`, `x`, ``} {
		f.Add(body)
	}
	w := newWorld(f, localplatform.Options{})
	c := w.as(f, nil)
	f.Fuzz(func(t *testing.T, body string) {
		w.Heal()
		w.Break(localplatform.Fault{Route: "GET /datasets", Status: 200, Body: body})
		l, err := c.Lineage(context.Background())
		if err != nil {
			return
		}
		for id := range l {
			if root := l.Root(Model{Dataset: id}); root == "" {
				t.Errorf("%q begins nowhere in %v", id, fmt.Sprint(l))
			}
		}
	})
}
