package remote

import (
	"context"
	"math"
	"sync"
	"testing"

	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/remote/remotetest"
)

// fake is a server in this process that tells the top K of remotetest's model.
type fake struct {
	k int

	mu      sync.Mutex
	fail    func(ask int) error // for the ask of that number, from 1; nil for none
	hang    bool
	asks    int
	probes  int
	unready error
	running int
	most    int // of running
}

func (f *fake) begin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks++
	f.running++
	f.most = max(f.most, f.running)
	if f.fail == nil {
		return nil
	}
	return f.fail(f.asks)
}

func (f *fake) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.asks
	f.asks = 0
	return n
}

func (f *fake) set(fail func(int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.asks = fail, 0
}

func (f *fake) Next(ctx context.Context, sequence, columns []labels.Token) (Told, error) {
	defer f.end()
	if err := f.begin(); err != nil {
		return Told{}, err
	}
	if f.hang {
		<-ctx.Done()
		return Told{}, ctx.Err()
	}
	return tell(remotetest.LogP(sequence), columns, f.k), nil
}

func tell(logp []float64, columns []labels.Token, k int) Told {
	t := Told{Least: math.Inf(1)}
	in := map[labels.Token]bool{}
	for _, id := range remotetest.Top(logp, k) {
		in[id] = true
		t.Mass += math.Exp(logp[id])
		t.Least = min(t.Least, logp[id])
	}
	for _, c := range columns {
		v := math.NaN()
		if in[c] {
			v = logp[c]
		}
		t.LogP = append(t.LogP, v)
	}
	return t
}

func (f *fake) Probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probes++
	return f.unready
}

var info = engine.Info{Engine: "fake", Vocab: remotetest.Tokenizer{}.Len(), Context: 64}

func newEngine(t *testing.T, f *fake, slots int) *Engine {
	t.Helper()
	if f.k == 0 {
		f.k = 1000
	}
	e, err := New(f, Config{Server: "fake at nowhere", Info: info, Tokenizer: remotetest.Tokenizer{}, Slots: slots})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// prefixed returns a prefix that cost no question of the counted ones.
func prefixed(t *testing.T, e *Engine, text string) engine.Prefix {
	t.Helper()
	p, err := e.Prefix(t.Context(), e.Tokenizer().Encode(text))
	if err != nil {
		t.Fatal(err)
	}
	e.server.(*fake).count()
	return p
}

// chain is a tree that wants two columns behind its last token.
func chain(text string) engine.Tree {
	t := engine.Chain(remotetest.Tokenizer{}.Encode(text))
	t.Wants = []engine.Want{{Node: len(t.Tokens) - 1, Columns: []labels.Token{'a', 'b'}}}
	return t
}
