package models

import (
	"testing"
)

func TestOpenDemo(t *testing.T) {
	m, err := OpenDemo()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Labels().Len() != 8 {
		t.Errorf("%d labels", m.Labels().Len())
	}
	c, err := m.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Config(); got.Architecture != "llama" || got.Layers != 8 || got.Width != 576 {
		t.Errorf("config %+v", got)
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if tok.Len() != c.Config().Vocab {
		t.Errorf("%d tokens for a vocabulary of %d", tok.Len(), c.Config().Vocab)
	}
	if _, ok := tok.Special(m.Manifest.Answer.End); !ok {
		t.Errorf("the vocabulary has no token %q", m.Manifest.Answer.End)
	}
}
