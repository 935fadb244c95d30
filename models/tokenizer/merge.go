package tokenizer

// shortWord is the longest word, in bytes, whose merges are found by looking at
// every pair each time; quadratic, and fastest for the length of real words.
const shortWord = 48

// appendWord appends the ids of one pre-tokenised word given as raw bytes.
func (m *model) appendWord(ids []int32, word string) []int32 {
	if m.ignoreMerges {
		var buf [2 * shortWord]byte
		if id, ok := m.ids[string(appendLetters(buf[:0], word))]; ok {
			return append(ids, id)
		}
	}
	if len(word) <= shortWord {
		return m.mergeShort(ids, word)
	}
	return m.mergeLong(ids, word)
}

// symbols appends the token of each byte. Bytes without one are left out here,
// before merging: see Encode.
func (m *model) symbols(ids []int32, word string) []int32 {
	if m.characters {
		return m.characterSymbols(ids, word)
	}
	for i := range len(word) {
		if id := m.bytes[word[i]]; id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// mergeShort makes the merge of lowest rank, the leftmost of equals, until none
// is left.
func (m *model) mergeShort(ids []int32, word string) []int32 {
	start := len(ids)
	ids = m.symbols(ids, word)
	syms := ids[start:]
	var buf [shortWord]uint64 // buf[i] is the merge of syms[i] and syms[i+1]
	for i := 0; i+1 < len(syms); i++ {
		buf[i] = m.merges.get(syms[i], syms[i+1])
	}
	for len(syms) > 1 {
		merges := buf[:len(syms)-1]
		at, best := 0, noMerge
		for i, merge := range merges {
			if merge < best {
				at, best = i, merge
			}
		}
		if best == noMerge {
			break
		}
		syms[at] = int32(uint32(best))
		copy(syms[at+1:], syms[at+2:])
		copy(merges[at:], merges[at+1:])
		syms = syms[:len(syms)-1]
		if at > 0 {
			buf[at-1] = m.merges.get(syms[at-1], syms[at])
		}
		if at+1 < len(syms) {
			buf[at] = m.merges.get(syms[at], syms[at+1])
		}
	}
	return ids[:start+len(syms)]
}

// mergeLong gives the same result in O(n log n), so that a megabyte without
// white space costs no more than its share.
func (m *model) mergeLong(ids []int32, word string) []int32 {
	w := longWord{model: m, syms: m.symbols(make([]int32, 0, len(word)), word)}
	w.link()
	for len(w.queue) > 0 {
		w.merge(w.pop())
	}
	for _, sym := range w.syms {
		if sym != gone {
			ids = append(ids, sym)
		}
	}
	return ids
}

// gone marks a symbol that was merged into one on its left.
const gone int32 = -1

// longWord is a word under merging: a linked list of symbols, and a min-heap of
// the merges seen, each as rank<<32 | position of its left symbol. Entries are
// not removed when a neighbour changes; merge checks them.
type longWord struct {
	model      *model
	syms       []int32
	prev, next []int32 // positions in syms; -1 and len(syms) are the ends
	queue      []uint64
}

func (w *longWord) link() {
	w.prev = make([]int32, len(w.syms))
	w.next = make([]int32, len(w.syms))
	for i := range w.syms {
		w.prev[i], w.next[i] = int32(i-1), int32(i+1)
	}
	for i := range w.syms {
		w.offer(int32(i))
	}
}

// pair returns the merge of the symbol at a position with the next one.
func (w *longWord) pair(at int32) uint64 {
	next := w.next[at]
	if w.syms[at] == gone || int(next) == len(w.syms) {
		return noMerge
	}
	return w.model.merges.get(w.syms[at], w.syms[next])
}

func (w *longWord) offer(at int32) {
	if merge := w.pair(at); merge != noMerge {
		w.push(merge>>32<<32 | uint64(at))
	}
}

func (w *longWord) merge(entry uint64) {
	at := int32(uint32(entry))
	merge := w.pair(at)
	if merge == noMerge || merge>>32 != entry>>32 {
		return // a neighbour merged since
	}
	right := w.next[at]
	w.syms[at], w.syms[right] = int32(uint32(merge)), gone
	w.next[at] = w.next[right]
	if after := w.next[right]; int(after) < len(w.syms) {
		w.prev[after] = at
	}
	w.offer(at)
	if before := w.prev[at]; before >= 0 {
		w.offer(before)
	}
}

func (w *longWord) push(entry uint64) {
	w.queue = append(w.queue, entry)
	i := len(w.queue) - 1
	for i > 0 {
		up := (i - 1) / 2
		if w.queue[up] <= entry {
			break
		}
		w.queue[i] = w.queue[up]
		i = up
	}
	w.queue[i] = entry
}

func (w *longWord) pop() uint64 {
	q := w.queue
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	w.queue = q
	if len(q) == 0 {
		return top
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(q) {
			break
		}
		if down+1 < len(q) && q[down+1] < q[down] {
			down++
		}
		if last <= q[down] {
			break
		}
		q[i] = q[down]
		i = down
	}
	q[i] = last
	return top
}
