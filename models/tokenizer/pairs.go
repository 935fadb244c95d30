package tokenizer

import "math/bits"

// pairTable holds the merges: from a pair of neighbouring tokens to the merge's
// rank and result. It is an open-addressing table, because it is probed once or
// more for every byte of a text that no cache knows.
type pairTable struct {
	slots []pairSlot
	shift uint8
}

type pairSlot struct{ pair, merge uint64 }

// noPair marks a free slot: ids are not negative, so no pair has this value.
const noPair = ^uint64(0)

// noMerge is what get returns for a pair that does not merge. It is above
// every merge, so that the smallest value is always the merge to make.
const noMerge = ^uint64(0)

func newPairTable(n int) pairTable {
	log := bits.Len(uint(n + n/2 + 1))
	t := pairTable{slots: make([]pairSlot, 1<<log), shift: uint8(64 - log)}
	for i := range t.slots {
		t.slots[i].pair = noPair
	}
	return t
}

// find returns the slot of a pair, or the free slot where it belongs.
func (t *pairTable) find(pair uint64) *pairSlot {
	mask := uint64(len(t.slots) - 1)
	for i := pair * 0x9e3779b97f4a7c15 >> t.shift; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.pair == pair || s.pair == noPair {
			return s
		}
	}
}

// put records that left and right merge into result. Lower ranks merge first.
func (t *pairTable) put(left, right int32, rank int, result int32) {
	pair := uint64(left)<<32 | uint64(right)
	*t.find(pair) = pairSlot{pair, uint64(rank)<<32 | uint64(result)}
}

// get returns rank<<32 | result, or noMerge.
func (t *pairTable) get(left, right int32) uint64 {
	s := t.find(uint64(left)<<32 | uint64(right))
	if s.pair == noPair {
		return noMerge
	}
	return s.merge
}
