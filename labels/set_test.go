package labels

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func named(names ...string) []Label {
	list := make([]Label, len(names))
	for i, n := range names {
		list[i].Name = n
	}
	return list
}

func TestNewSetRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		list []Label
		want string // part of the error
	}{
		{"no labels", nil, "empty"},
		{"empty name", named("a", ""), `label 1: name "" is blank`},
		{"only space", named("\t \n"), "label 0"},
		{"twice", named("cash", "card", "cash"), `label 2: name "cash" repeats that of label 0`},
		{"differ by space", named("cash", " cash"), `label 1: name " cash" repeats`},
		{"differ by Unicode space", named("cash", "cash\u00a0"), "label 1"},
		{"name not UTF-8", named("a", "b\xff"), `label 1: name "b\xff" is not valid UTF-8`},
		{"description not UTF-8", []Label{{Name: "a", Description: "\xc3"}}, `description of "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewSet(c.list)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one that holds %q", err, c.want)
			}
		})
	}
}

func TestSetKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[\pL\d_ /]{1,12}x`), 1, 60, strings.TrimSpace).Draw(t, "names")
		s, err := NewSet(named(names...))
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() != len(names) || !slices.Equal(s.Names(), names) {
			t.Fatalf("names %q, want %q", s.Names(), names)
		}
		for i, n := range names {
			if j, ok := s.Index(n); !ok || j != i || s.Name(i) != n || s.Label(i).Name != n {
				t.Fatalf("label %q is at %d (%v), want %d", n, j, ok, i)
			}
		}
		if _, ok := s.Index("absent"); ok {
			t.Fatal("found a label that is not in the set")
		}
	})
}

func TestSetDoesNotChange(t *testing.T) {
	list := named("a", "b")
	s, err := NewSet(list)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Name, s.Names()[1], s.Labels()[0].Name = "x", "y", "z"
	if got := fmt.Sprint(s.Names()); got != "[a b]" {
		t.Fatalf("names became %s", got)
	}
}
