package labels

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Set is the closed, ordered list of labels of one task. A label's index is
// its place in every Distribution. A Set never changes.
type Set struct {
	labels []Label
	index  map[string]int
}

// NewSet checks and keeps a list of labels: at least one, names not blank,
// valid UTF-8, and no two that differ only by surrounding space, which nobody
// reading an answer could tell apart.
func NewSet(list []Label) (*Set, error) {
	if len(list) == 0 {
		return nil, errors.New("label set is empty: a task needs at least one label")
	}
	s := &Set{labels: slices.Clone(list), index: make(map[string]int, len(list))}
	seen := make(map[string]int, len(list))
	for i, l := range s.labels {
		if err := checkLabel(l); err != nil {
			return nil, fmt.Errorf("label %d: %w", i, err)
		}
		key := strings.TrimSpace(l.Name)
		if j, ok := seen[key]; ok {
			return nil, fmt.Errorf("label %d: name %q repeats that of label %d, %q", i, l.Name, j, s.labels[j].Name)
		}
		seen[key], s.index[l.Name] = i, i
	}
	return s, nil
}

func checkLabel(l Label) error {
	switch {
	case !utf8.ValidString(l.Name):
		return fmt.Errorf("name %q is not valid UTF-8", l.Name)
	case strings.TrimSpace(l.Name) == "":
		return fmt.Errorf("name %q is blank", l.Name)
	case !utf8.ValidString(l.Description):
		return fmt.Errorf("description of %q is not valid UTF-8", l.Name)
	}
	return nil
}

// Len is the number of labels.
func (s *Set) Len() int { return len(s.labels) }

// Name returns the name of label i.
func (s *Set) Name(i int) string { return s.labels[i].Name }

// Label returns label i.
func (s *Set) Label(i int) Label { return s.labels[i] }

// Index returns the place of the label of exactly that name.
func (s *Set) Index(name string) (int, bool) {
	i, ok := s.index[name]
	return i, ok
}

// Names returns the names in order, in a new slice.
func (s *Set) Names() []string {
	names := make([]string, len(s.labels))
	for i, l := range s.labels {
		names[i] = l.Name
	}
	return names
}

// Labels returns the labels in order, in a new slice.
func (s *Set) Labels() []Label { return slices.Clone(s.labels) }
