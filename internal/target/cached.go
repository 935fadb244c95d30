package target

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cubby/eval"
	"cubby/internal/journal"
	"cubby/labels"
	"cubby/runtime/chat"
)

// Spent is what answers took when they were given, whenever that was.
type Spent struct {
	eval.Times
	Texts                      int
	PromptTokens, AnswerTokens float64
	FromCache                  int // texts that were not asked now
}

// Cached keeps the answers of a chat model on disk and asks about no text twice.
// Answers that are errors are not kept.
type Cached struct {
	Target
	usage func() chat.Usage
	file  *journal.File
	known map[string]cachedAnswer
	spent Spent
}

// cachedAnswer is a line of the file.
type cachedAnswer struct {
	Text         string              `json:"text"` // its SHA-256, in hex
	Distribution labels.Distribution `json:"distribution"`
	LabelOnly    bool                `json:"label_only,omitempty"`
	Unresolved   float64             `json:"unresolved,omitempty"`
	// The others are this text's share of the call that asked about it.
	Prompt float64       `json:"prompt_tokens,omitempty"`
	Answer float64       `json:"answer_tokens,omitempty"`
	Time   time.Duration `json:"time_ns"`
	Texts  int           `json:"texts"` // in that call
}

// NewCached puts a cache in a folder before a target, which it owns. The file is named
// for the artefact, which stands for the server, the model and all that is asked.
func NewCached(t Target, usage func() chat.Usage, dir string) (c *Cached, err error) {
	c = &Cached{Target: t, usage: usage, known: map[string]cachedAnswer{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, strings.TrimPrefix(t.Facts().Artifact, "sha256:")+".jsonl")
	if c.file, err = journal.Open(name, 0o600, c.read); err != nil {
		return nil, err
	}
	return c, nil
}

// read loads whole lines.
func (c *Cached) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var a cachedAnswer
		err = json.Unmarshal(line, &a)
		if err == nil {
			err = a.Distribution.Check()
		}
		if err != nil {
			return fmt.Errorf("line %d: %w; remove it", n, err)
		}
		if len(a.Distribution) == c.Facts().Labels.Len() {
			c.known[a.Text] = a
		}
	}
}

// Classify asks about the texts that are not known yet, once about each.
func (c *Cached) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	answers := make([]eval.Answer, len(texts))
	var ask []string
	place := map[string]int{} // in ask
	for _, text := range texts {
		if _, ok := c.known[sum(text)]; ok {
			continue
		}
		if _, ok := place[text]; !ok {
			place[text] = len(ask)
			ask = append(ask, text)
		}
	}
	var got []eval.Answer
	var took []cachedAnswer
	if len(ask) > 0 {
		var err error
		if got, took, err = c.ask(ctx, ask); err != nil {
			return nil, err
		}
	}
	told := make([]bool, len(ask))
	for i, text := range texts {
		k, asked := place[text]
		a := c.known[sum(text)]
		if asked {
			answers[i], a = got[k], took[k]
		} else {
			answers[i] = eval.Answer{Distribution: a.Distribution, LabelOnly: a.LabelOnly, Unresolved: a.Unresolved}
		}
		c.spent.add(a)
		if !asked || told[k] {
			c.spent.FromCache++
			continue
		}
		told[k] = true
	}
	return answers, nil
}

// ask asks about texts and keeps what was answered. It tells what each took.
func (c *Cached) ask(ctx context.Context, texts []string) ([]eval.Answer, []cachedAnswer, error) {
	before, start := c.usage(), time.Now()
	got, err := c.Target.Classify(ctx, texts)
	if err != nil {
		return nil, nil, err
	}
	took, after, n := time.Since(start), c.usage(), float64(len(texts))
	var all []cachedAnswer
	var lines []byte
	for i, a := range got {
		line := cachedAnswer{
			Text: sum(texts[i]), Distribution: a.Distribution, LabelOnly: a.LabelOnly, Unresolved: a.Unresolved,
			Prompt: float64(after.PromptTokens-before.PromptTokens) / n, Answer: float64(after.CompletionTokens-before.CompletionTokens) / n,
			Time: took / time.Duration(len(texts)), Texts: len(texts),
		}
		all = append(all, line)
		if a.Err != nil {
			continue
		}
		raw, err := json.Marshal(line)
		if err != nil {
			return nil, nil, err
		}
		lines = append(append(lines, raw...), '\n')
		c.known[line.Text] = line
	}
	_, err = c.file.Write(lines)
	return got, all, err
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

func (s *Spent) add(a cachedAnswer) {
	s.Texts++
	s.PromptTokens += a.Prompt
	s.AnswerTokens += a.Answer
	if a.Texts == 1 {
		s.Alone = append(s.Alone, a.Time)
		return
	}
	s.Batched++
	s.Others += a.Time
}

// Spent tells the totals until now.
func (c *Cached) Spent() Spent { return c.spent }

// Close closes the target as well.
func (c *Cached) Close() error { return errors.Join(c.file.Close(), c.Target.Close()) }
