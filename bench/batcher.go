package main

import (
	"context"
	"fmt"
	"time"

	"cubby/eval"
)

// linger is how long a batch that is not full waits for more: the time that
// clients who have just been answered take to send their next texts.
const linger = time.Millisecond

// batcher gathers the texts of many callers into batches for a scorer that
// computes one batch at a time.
type batcher struct {
	asks  chan ask
	most  int // texts in a batch
	score func(texts []string) ([]eval.Answer, error)
}

type ask struct {
	text  string
	reply chan<- outcome // with room for one
}

type outcome struct {
	answer eval.Answer
	err    error
}

// newBatcher starts a batcher, which lives as long as its process.
func newBatcher(most int, score func([]string) ([]eval.Answer, error)) *batcher {
	b := &batcher{asks: make(chan ask), most: most, score: score}
	go func() {
		for {
			b.answer(b.gather())
		}
	}()
	return b
}

func (b *batcher) gather() []ask {
	batch := []ask{<-b.asks}
	late := time.NewTimer(linger)
	defer late.Stop()
	for len(batch) < b.most {
		select {
		case a := <-b.asks:
			batch = append(batch, a)
		case <-late.C:
			return batch
		}
	}
	return batch
}

func (b *batcher) answer(batch []ask) {
	texts := make([]string, len(batch))
	for i, a := range batch {
		texts[i] = a.text
	}
	answers, err := b.score(texts)
	if err == nil && len(answers) != len(texts) {
		err = fmt.Errorf("%d answers to %d texts", len(answers), len(texts))
	}
	for i, a := range batch {
		o := outcome{err: err}
		if err == nil {
			o.answer = answers[i]
		}
		a.reply <- o
	}
}

func (b *batcher) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	return textByText(b.one).Classify(ctx, texts)
}

func (b *batcher) one(ctx context.Context, text string) (eval.Answer, error) {
	reply := make(chan outcome, 1)
	select {
	case b.asks <- ask{text, reply}:
	case <-ctx.Done():
		return eval.Answer{}, ctx.Err()
	}
	select {
	case o := <-reply:
		return o.answer, o.err
	case <-ctx.Done():
		return eval.Answer{}, ctx.Err()
	}
}
