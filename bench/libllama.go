package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cubby/eval"
	"cubby/labels"
	"cubby/models"
	"cubby/models/tokenizer"
	"cubby/runtime/llama/libllama"
)

const (
	// packed is how many texts go into one pass: measured to be the best.
	packed = 16
	// passTokens is the most tokens of one pass, which fixes its buffers.
	passTokens = 2048
)

var errNoLibllama = errors.New("not installed: name the folder of its libraries with -libllama or CUBBY_BENCH_LIBLLAMA")

// startLibllama runs libllama as well as it can be called: the prompt's prefix
// is computed once and shared, texts are packed into passes, and one row of
// logits at the end of each decides between the labels' first tokens.
func startLibllama(ctx context.Context, b *bench) (*system, error) {
	if b.config.Libllama == "" {
		return nil, errNoLibllama
	}
	if _, err := b.student.gguf(); err != nil {
		return nil, err
	}
	return newWorkerSystem(ctx, rawLibllama, b.config)
}

func newLibllamaWorker(c *config) (*worker, error) {
	m, err := openModel(c.Home, c.Model)
	if err != nil {
		return nil, err
	}
	s := &student{manifest: m.Manifest, folder: m.Folder(), set: m.Labels()}
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	if err := m.Close(); err != nil {
		return nil, err
	}
	p, err := newPacker(c, s, tok)
	if err != nil {
		return nil, err
	}
	setup := fmt.Sprintf("shared prefix of %d tokens, up to %d texts a pass, flash attention, unified KV cache, one row of logits a text", p.prefix, packed)
	return &worker{newBatcher(packed, p.score), About{libllama.Version, setup}}, nil
}

// packer scores packs of texts behind a shared prefix.
type packer struct {
	student *student
	tok     *tokenizer.Tokenizer
	llama   *libllama.Context
	seqs    [packed + 1][]int32 // each of one sequence
	prefix  int                 // tokens
	suffix  []labels.Token      // behind each text
	first   []labels.Token      // of each label's answer
	room    int                 // tokens of one text and its suffix
}

func newPacker(c *config, s *student, tok *tokenizer.Tokenizer) (*packer, error) {
	p := &packer{student: s, tok: tok, suffix: tok.EncodeSpecial(s.manifest.Prompt.Suffix)}
	var err error
	if p.first, err = firstTokens(tok, s.manifest.Answer, s.set); err != nil {
		return nil, err
	}
	prefix := tok.EncodeSpecial(s.manifest.Prompt.Prefix)
	p.prefix, p.room = len(prefix), min(c.Context-len(prefix), passTokens/packed)
	if p.room <= len(p.suffix) {
		return nil, fmt.Errorf("the prompt has %d tokens and leaves no room for texts in a context of %d", p.prefix+len(p.suffix), c.Context)
	}
	gguf, err := s.gguf()
	if err != nil {
		return nil, err
	}
	for i := range p.seqs {
		p.seqs[i] = []int32{int32(i)}
	}
	if p.llama, err = openContext(c, gguf, p.prefix); err != nil {
		return nil, err
	}
	p.llama.Begin()
	for i, token := range prefix {
		p.llama.Add(token, i, p.seqs[packed], i == len(prefix)-1)
	}
	return p, p.llama.Decode(context.Background())
}

// openContext loads the model with the settings that were measured to be the
// fastest. Nothing is freed: the process is.
func openContext(c *config, gguf string, prefix int) (*libllama.Context, error) {
	lib, err := libllama.Load(c.Libllama)
	if err != nil {
		return nil, err
	}
	m, err := lib.LoadModel(gguf, libllama.ModelOptions{})
	if err != nil {
		return nil, err
	}
	tokens := prefix + passTokens
	return m.NewContext(libllama.ContextOptions{Tokens: tokens, Pass: tokens, Micro: tokens, Sequences: packed + 1, Outputs: packed + 1, Threads: c.Threads})
}

// firstTokens returns the token that decides for each label.
func firstTokens(tok *tokenizer.Tokenizer, a models.Answer, set *labels.Set) ([]labels.Token, error) {
	var first []labels.Token
	for _, name := range set.Names() {
		token := tok.Encode(a.Prefix + name)[0]
		if i := slices.Index(first, token); i >= 0 {
			return nil, fmt.Errorf("the answers of %q and %q begin with the same token, and this way to call it reads one token only", set.Name(i), name)
		}
		first = append(first, token)
	}
	return first, nil
}

// score answers up to packed texts in one pass. Sequence packed holds the
// prefix.
func (p *packer) score(texts []string) ([]eval.Answer, error) {
	answers := make([]eval.Answer, len(texts))
	ends := make([]int, len(texts)) // where each text's logits stand in the pass
	p.llama.Begin()
	for i := range packed { // what the pass before left would be attended to
		p.llama.Forget(int32(i))
	}
	for i, text := range texts {
		tokens := p.tok.Encode(text)
		answers[i].Tokens = len(tokens)
		tokens = append(tokens[:min(len(tokens), p.room-len(p.suffix))], p.suffix...)
		answers[i].Truncated = answers[i].Tokens + len(p.suffix) - len(tokens)
		p.llama.Share(packed, int32(i), p.prefix)
		for j, token := range tokens {
			ends[i] = p.llama.Add(token, p.prefix+j, p.seqs[i], j == len(tokens)-1)
		}
	}
	if err := p.llama.Decode(context.Background()); err != nil {
		return nil, err
	}
	for i, end := range ends {
		row, err := p.llama.Logits(end)
		if err != nil {
			return nil, err
		}
		answers[i].Distribution = p.student.best(p.choose(row)).Distribution
	}
	return answers, nil
}

// choose returns the label whose first token has the largest logit.
func (p *packer) choose(logits []float32) int {
	best := 0
	for i, token := range p.first {
		if logits[token] > logits[p.first[best]] {
			best = i
		}
	}
	return best
}
