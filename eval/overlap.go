package eval

import "strings"

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
