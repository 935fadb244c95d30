package llama

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"cubby/labels"
	"cubby/runtime/engine"
)

const (
	// deadly is how many crashes of a text are believed to be its doing.
	deadly = 2
	// limitation is how long they are: a lack of memory may have been the reason.
	limitation = 10 * time.Minute
	// suspects bounds how many texts are remembered.
	suspects = 4096
)

// guilt remembers which trees were there when the child crashed, by hash.
type guilt struct {
	crashes map[crime]record
	now     func() time.Time
}

// crime names a tree and the prefix that it was computed behind.
type crime [16]byte

type record struct {
	times int
	last  time.Time
}

func newGuilt() guilt { return guilt{crashes: map[crime]record{}, now: time.Now} }

// suspect counts a crash, and forgets the oldest suspect where there are too many.
func (g *guilt) suspect(c crime) {
	r := g.crashes[c]
	if g.now().Sub(r.last) > limitation {
		r.times = 0
	}
	g.crashes[c] = record{r.times + 1, g.now()}
	if len(g.crashes) <= suspects {
		return
	}
	oldest := c
	for other, r := range g.crashes {
		if r.last.Before(g.crashes[oldest].last) {
			oldest = other
		}
	}
	delete(g.crashes, oldest)
}

func (g *guilt) convicted(c crime) bool {
	r := g.crashes[c]
	return r.times >= deadly && g.now().Sub(r.last) <= limitation
}

// acquit forgets a tree that was computed.
func (g *guilt) acquit(prefix []labels.Token, t *engine.Tree) {
	if len(g.crashes) > 0 {
		delete(g.crashes, crimeOf(prefix, t))
	}
}

func crimeOf(prefix []labels.Token, t *engine.Tree) (c crime) {
	b := binary.AppendUvarint(nil, uint64(len(prefix)))
	b = binary.AppendUvarint(b, uint64(t.Back))
	for i, token := range t.Tokens {
		b = binary.AppendUvarint(b, uint64(token))
		b = binary.AppendVarint(b, int64(t.Parents[i]))
	}
	sum := sha256.Sum256(b)
	copy(c[:], sum[:])
	return c
}
