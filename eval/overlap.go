package eval

import "strings"

// Distinct returns the rows, from 0, whose text and label did not come before: copies of
// a row say nothing more, and a guarantee that counts them is none.
func Distinct(rows []Row) []int {
	seen := map[[2]string]bool{}
	var kept []int
	for i, r := range rows {
		key := [2]string{strings.TrimSpace(r.Text), r.Answer}
		if !seen[key] {
			seen[key] = true
			kept = append(kept, i)
		}
	}
	return kept
}

// Overlap returns the lines of rows whose texts, surrounding space aside, are among the
// training rows: an evaluation on them flatters.
func Overlap(rows, train []Row) []int {
	known := make(map[string]bool, len(train))
	for _, r := range train {
		known[strings.TrimSpace(r.Text)] = true
	}
	var lines []int
	for _, r := range rows {
		if known[strings.TrimSpace(r.Text)] {
			lines = append(lines, r.Line)
		}
	}
	return lines
}
