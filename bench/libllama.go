//go:build linux || darwin

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
)

const (
	// packed is how many texts go into one pass: measured to be the best.
	packed = 16
	// passTokens is the most tokens of one pass, which fixes its buffers.
	passTokens = 2048
)

// startLibllama runs libllama as well as it can be called: the prompt's prefix
// is computed once and shared, texts are packed into passes, and one row of
// logits at the end of each decides between the labels' first tokens.
func startLibllama(ctx context.Context, b *bench) (*system, error) {
	if b.config.Libllama == "" {
		return nil, errors.New("not installed: name the folder of its libraries with -libllama or CUBBY_BENCH_LIBLLAMA")
	}
	if _, err := b.student.gguf(); err != nil {
		return nil, err
	}
	return newWorkerSystem(ctx, libllama, b.config)
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
	return &worker{newBatcher(packed, p.score), About{p.llama.version(), setup}}, nil
}

// packer scores packs of texts behind a shared prefix.
type packer struct {
	student *student
	tok     *tokenizer.Tokenizer
	llama   *llama
	prefix  int            // tokens
	suffix  []labels.Token // behind each text
	first   []labels.Token // of each label's answer
	room    int            // tokens of one text and its suffix
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
	p.llama, err = openLlama(c.Libllama, gguf, llamaOptions{threads: c.Threads, context: p.prefix + passTokens, sequences: packed + 1, vocabulary: tok.Len()})
	if err != nil {
		return nil, err
	}
	p.llama.begin()
	for i, token := range prefix {
		p.llama.add(token, i, packed, i == len(prefix)-1)
	}
	return p, p.llama.decode()
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
	p.llama.begin()
	for i := range packed { // what the pass before left would be attended to
		p.llama.forget(i)
	}
	for i, text := range texts {
		tokens := p.tok.Encode(text)
		answers[i].Tokens = len(tokens)
		tokens = append(tokens[:min(len(tokens), p.room-len(p.suffix))], p.suffix...)
		answers[i].Truncated = answers[i].Tokens + len(p.suffix) - len(tokens)
		p.llama.share(packed, i)
		for j, token := range tokens {
			ends[i] = p.llama.add(token, p.prefix+j, i, j == len(tokens)-1)
		}
	}
	if err := p.llama.decode(); err != nil {
		return nil, err
	}
	for i, end := range ends {
		answers[i].Distribution = p.student.best(p.choose(p.llama.logits(end))).Distribution
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
