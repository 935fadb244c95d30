// Package remotetest holds what the tests of servers' engines share: a small
// vocabulary, a model made of arithmetic, and faults that a fake server can have.
package remotetest

import (
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"cubby/labels"
)

// Tokenizer has a token for each byte, one for "th", and two control tokens.
type Tokenizer struct{}

const (
	Th    labels.Token = 256 // "th": two letters that become one token together
	Start labels.Token = 257 // "<|start|>"
	End   labels.Token = 258 // "<|end|>"
	vocab              = 259
)

// Control is the text of the control tokens.
var Control = map[string]labels.Token{"<|start|>": Start, "<|end|>": End}

// Encode never yields a control token.
func (Tokenizer) Encode(text string) []labels.Token {
	var out []labels.Token
	for i := 0; i < len(text); i++ {
		if strings.HasPrefix(text[i:], "th") {
			out = append(out, Th)
			i++
			continue
		}
		out = append(out, labels.Token(text[i]))
	}
	return out
}

// EncodeSpecial parses control tokens.
func (t Tokenizer) EncodeSpecial(text string) []labels.Token {
	var out []labels.Token
	from := 0
	for i := 0; i < len(text); i++ {
		for piece, id := range Control {
			if strings.HasPrefix(text[i:], piece) {
				out = append(append(out, t.Encode(text[from:i])...), id)
				from = i + len(piece)
				i = from - 1
				break
			}
		}
	}
	return append(out, t.Encode(text[from:])...)
}

// Decode joins the tokens' bytes.
func (Tokenizer) Decode(tokens []labels.Token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(Piece(t, true))
	}
	return b.String()
}

// Piece is the text of one token; control tokens have one only if asked for.
func Piece(t labels.Token, control bool) string {
	switch {
	case t < 256:
		return string([]byte{byte(t)})
	case t == Th:
		return "th"
	}
	for piece, id := range Control {
		if id == t && control {
			return piece
		}
	}
	return ""
}

// Special finds a control token.
func (Tokenizer) Special(piece string) (labels.Token, bool) {
	id, ok := Control[piece]
	return id, ok
}

// Len is the size of the vocabulary.
func (Tokenizer) Len() int { return vocab }

// LogP is the model: the log probability of each token behind a sequence. It is as
// peaked as a trained one's.
func LogP(sequence []labels.Token) []float64 {
	logp := make([]float64, vocab)
	sum := 0.0
	for i := range logp {
		h := fnv.New64a()
		for _, t := range append(slices.Clone(sequence), labels.Token(i)) {
			h.Write([]byte{byte(t), byte(t >> 8)})
		}
		logp[i] = 24 * float64(mix(h.Sum64())>>11) / (1 << 53)
		sum += math.Exp(logp[i])
	}
	for i := range logp {
		logp[i] -= math.Log(sum)
	}
	return logp
}

// mix spreads the last byte over all bits, which FNV does not.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Top lists the k likeliest tokens, likeliest first.
func Top(logp []float64, k int) []labels.Token {
	ids := make([]labels.Token, len(logp))
	for i := range ids {
		ids[i] = labels.Token(i)
	}
	slices.SortFunc(ids, func(a, b labels.Token) int {
		if logp[a] > logp[b] {
			return -1
		}
		return 1
	})
	return ids[:min(k, len(ids))]
}

// Faults answers the next requests to a path in place of the server that works.
type Faults struct {
	mu     sync.Mutex
	path   string
	queue  []http.HandlerFunc
	always http.HandlerFunc
	asked  int
}

// On watches a path.
func On(path string) *Faults { return &Faults{path: path} }

// Next has the next requests answered by these, one each.
func (f *Faults) Next(h ...http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, h...)
}

// Always has all requests answered so, until it is called with nil.
func (f *Faults) Always(h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.always = h
}

// Asked is how many requests came to the path since the last call.
func (f *Faults) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.asked
	f.asked = 0
	return n
}

// Before puts the faults before a handler.
func (f *Faults) Before(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		var fault http.HandlerFunc
		if r.URL.Path == f.path {
			f.asked++
			if fault = f.always; len(f.queue) > 0 {
				fault, f.queue = f.queue[0], f.queue[1:]
			}
		}
		f.mu.Unlock()
		if fault != nil {
			fault(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Say answers with a status and a body.
func Say(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}
}

// Cut begins an answer and closes the connection.
func Cut(w http.ResponseWriter, r *http.Request) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	buf.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"completion_probab")
	buf.Flush()
}

// Hang answers nothing until the client leaves.
func Hang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // only then is it noticed that the client left
	<-r.Context().Done()
}

// Endless sends a body that has no end.
func Endless(w http.ResponseWriter, r *http.Request) {
	block := []byte(`{"content":"` + strings.Repeat("x", 1<<16))
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}
