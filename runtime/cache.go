package runtime

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"cubby/labels"
	"cubby/models"
)

// entryOverhead is what an answer takes beyond its probabilities, in bytes:
// digest, list element, map slot.
const entryOverhead = 320

// Cache keeps answers of texts that were scored, so that they need no pass a
// second time. Several models may share one; the least recently used answers go
// first. Safe for concurrent use.
//
// It holds no text: an answer is found by HMAC-SHA-256 of artefact, method and
// text, under a random key that lives in this process only. What is kept is the
// model's distribution before calibration and policy, which are applied anew to
// every answer.
type Cache struct {
	key [sha256.Size]byte

	mu    sync.Mutex
	lru   *simplelru.LRU[question, remembered]
	stats CacheStats
}

// CacheStats counts lookups since the start, and what is held now.
type CacheStats struct {
	Hits, Misses, Evictions uint64
	Entries                 int
	Bytes, Limit            int64
}

// question is the keyed digest of what was asked.
type question [sha256.Size]byte

// remembered is an answer as the model gave it.
type remembered struct {
	dist              labels.Distribution
	unresolved        float64
	tokens, truncated int
}

func (r remembered) size() int64 { return entryOverhead + 8*int64(len(r.dist)) }

// NewCache returns a cache that holds at most limit bytes.
func NewCache(limit int64) *Cache {
	c := &Cache{stats: CacheStats{Limit: limit}}
	rand.Read(c.key[:]) // never fails: it ends the program instead
	// Bytes bound the cache, not entries; the error is for a size below 1.
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ question, r remembered) { c.stats.Bytes -= r.size() })
	return c
}

// question digests what decides an answer. Lengths keep the parts apart.
func (c *Cache) question(artifact string, method models.Scoring, text string) question {
	h := hmac.New(sha256.New, c.key[:])
	for _, part := range []string{artifact, string(method), text} {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return question(h.Sum(nil))
}

// get returns the answer, if it is held. An answer to a cut text is none where
// cutting is refused.
func (c *Cache) get(q question, noTruncate bool) (remembered, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.lru.Get(q)
	if !ok || noTruncate && r.truncated > 0 {
		c.stats.Misses++
		return remembered{}, false
	}
	c.stats.Hits++
	r.dist = slices.Clone(r.dist)
	return r, true
}

// put keeps an answer, at the cost of the least recently used ones. One that is
// larger than the whole cache is not kept.
func (c *Cache) put(q question, r remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.size() > c.stats.Limit || c.lru.Contains(q) {
		return
	}
	r.dist = slices.Clone(r.dist)
	c.lru.Add(q, r)
	for c.stats.Bytes += r.size(); c.stats.Bytes > c.stats.Limit; {
		c.lru.RemoveOldest()
		c.stats.Evictions++
	}
}

// Stats returns the counts of this moment.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stats
	st.Entries = c.lru.Len()
	return st
}
