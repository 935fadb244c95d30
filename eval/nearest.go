package eval

import (
	"fmt"
	"strings"

	"cubby/labels"
)

const (
	maxNamed = 12  // labels an error still lists in full
	maxShown = 120 // runes of a row's label that an error shows and compares
)

// unknownLabel explains a row whose label the set does not have; rows is how
// many such rows there are.
func unknownLabel(set *labels.Set, row Row, rows int) error {
	name := []rune(row.Answer)
	shown := row.Answer
	if len(name) > maxShown {
		name = name[:maxShown]
		shown = string(name) + "…"
	}
	msg := fmt.Sprintf("line %d: label %q is not one of the model's %d labels", row.Line, shown, set.Len())
	if rows > 1 {
		msg += fmt.Sprintf(" (nor are those of %d more rows)", rows-1)
	}
	switch near := nearest(set, string(name)); {
	case near != "":
		msg += fmt.Sprintf("; the nearest is %q", near)
	case set.Len() <= maxNamed:
		msg += fmt.Sprintf("; they are %q", set.Names())
	}
	return fmt.Errorf("%s", msg)
}

// nearest returns the label with the least edit distance to name, letter case
// and surrounding space aside, if at most a third of the name must change.
func nearest(set *labels.Set, name string) string {
	from := []rune(strings.ToLower(strings.TrimSpace(name)))
	best, least := "", len(from)/3+1
	for _, candidate := range set.Names() {
		to := []rune(strings.ToLower(strings.TrimSpace(candidate)))
		if len(to) > 2*maxShown {
			continue
		}
		if d := distance(from, to); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's: the fewest insertions, deletions and
// replacements that turn a into b.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			replace := diagonal
			if x != y {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
