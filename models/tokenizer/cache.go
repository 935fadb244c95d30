package tokenizer

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// wordSlots words at most are remembered: enough for the frequent words of
	// a language, about 3 MB when every slot holds a longest word.
	wordSlots = 1 << 14
	// maxCachedWord is the longest word remembered, in bytes. Longer ones
	// seldom come twice.
	maxCachedWord = 32
)

// wordCache remembers the ids of recent words. A word has one slot, and the
// last word to come takes it: no lock, no list, and a bound that text from
// users cannot push.
type wordCache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cachedWord]
}

type cachedWord struct {
	word string
	ids  []int32
}

func newWordCache() wordCache {
	return wordCache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[cachedWord], wordSlots)}
}

func (c *wordCache) slot(word string) *atomic.Pointer[cachedWord] {
	return &c.slots[maphash.String(c.seed, word)%wordSlots]
}

// get returns the ids of word, which the caller must not change.
func (c *wordCache) get(word string) ([]int32, bool) {
	w := c.slot(word).Load()
	if w == nil || w.word != word {
		return nil, false
	}
	return w.ids, true
}

// put copies both: word is part of a text that must not be kept alive.
func (c *wordCache) put(word string, ids []int32) {
	c.slot(word).Store(&cachedWord{strings.Clone(word), slices.Clone(ids)})
}
