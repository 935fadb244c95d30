package runtime

import "slices"

// batch is the texts of one request, each different one once.
type batch struct {
	items []*item
	of    []int // for each text of the request, its item
}

// item is one text and how often its request holds it.
type item struct {
	text   string
	times  int
	job    *job // nil where it was answered without one
	result Result
}

func newBatch(texts []string) *batch {
	b := &batch{of: make([]int, len(texts))}
	seen := make(map[string]int, len(texts))
	for i, text := range texts {
		at, again := seen[text]
		if !again {
			at = len(b.items)
			seen[text] = at
			b.items = append(b.items, &item{text: text})
		}
		b.of[i] = at
		b.items[at].times++
	}
	return b
}

// results answers every text of the request, each with memory of its own.
func (b *batch) results() []Result {
	out := make([]Result, len(b.of))
	for i, at := range b.of {
		it := b.items[at]
		out[i] = it.result
		if it.times--; it.times > 0 {
			out[i].Distribution = slices.Clone(it.result.Distribution)
		}
	}
	return out
}
