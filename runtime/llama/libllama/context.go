package libllama

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// aborting returns a ggml_abort_callback, one for all contexts, that reads their
// stop flags. The library calls it between operations on the calling thread.
var aborting = sync.OnceValue(func() uintptr {
	return purego.NewCallback(func(stop *atomic.Bool) bool { return stop.Load() })
})

// Close frees the context.
func (c *Context) Close() {
	if c.handle != 0 {
		c.lib.c.FreeContext(c.handle)
		c.handle = 0
	}
}

// Begin empties the pass.
func (c *Context) Begin() {
	p := &c.pass
	p.token, p.position, p.seqLen, p.logits = p.token[:0], p.position[:0], p.seqLen[:0], p.logits[:0]
	p.seqs, p.seqAt = p.seqs[:0], p.seqAt[:0]
}

// Len is the number of tokens in the pass.
func (c *Context) Len() int { return len(c.pass.token) }

// Add puts a token at a position of some sequences, which share it, into the pass
// and returns its place. Sequences that share tokens must have been equal before
// the pass, and share its first tokens only.
func (c *Context) Add(token int32, position int, sequences []int32, wanted bool) int {
	p := &c.pass
	p.token, p.position = append(p.token, token), append(p.position, int32(position))
	p.seqLen = append(p.seqLen, int32(len(sequences)))
	p.seqAt = append(p.seqAt, int32(len(p.seqs)))
	p.seqs = append(p.seqs, sequences...)
	logits := int8(0)
	if wanted {
		logits = 1
	}
	p.logits = append(p.logits, logits)
	return len(p.token) - 1
}

// Decode computes the pass. When the context ends, it stops between two
// operations, on a CPU; what it did to the pass's sequences is then undefined.
func (c *Context) Decode(ctx context.Context) error {
	p := &c.pass
	if len(p.token) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.seq = p.seq[:0]
	for _, at := range p.seqAt {
		p.seq = append(p.seq, &p.seqs[at])
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, a := range []any{&p.token[0], &p.position[0], &p.seqLen[0], &p.seq[0], &p.seqs[0], &p.logits[0]} {
		pin.Pin(a)
	}
	c.stop.Store(false)
	defer context.AfterFunc(ctx, func() { c.stop.Store(true) })()
	c.lib.log.take()
	status := c.lib.c.Decode(c.handle, batch{
		tokens: int32(len(p.token)), token: &p.token[0], position: &p.position[0], seqLen: &p.seqLen[0], seq: &p.seq[0], logits: &p.logits[0],
	})
	switch {
	case status == 0:
		return nil
	case status == decodeAborted && ctx.Err() != nil:
		return ctx.Err()
	case status == decodeNoSlot:
		return c.lib.failure("libllama has no room for a pass of %d tokens", len(p.token))
	}
	return c.lib.failure("llama_decode failed with status %d", status)
}

// Logits returns the row of a wanted token, valid until the next pass.
func (c *Context) Logits(place int) ([]float32, error) {
	row := c.lib.c.Logits(c.handle, int32(place))
	if row == nil {
		return nil, c.lib.failure("libllama gave no logits for token %d of the pass", place)
	}
	return unsafe.Slice(row, c.rows), nil
}

// Forget empties a sequence.
func (c *Context) Forget(seq int32) { c.lib.c.Remove(c.memory, seq, -1, -1) }

// Share makes an empty sequence begin as another one, with its first n tokens. Of
// a recurrent model, n is all of them.
func (c *Context) Share(from, to int32, n int) {
	if n > 0 {
		c.lib.c.Copy(c.memory, from, to, 0, int32(n))
	}
}

// Clear empties all sequences.
func (c *Context) Clear() { c.lib.c.Clear(c.memory, false) }
