package main

import (
	"cmp"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cubby/eval"
	"cubby/internal/client"
	"cubby/internal/load"
	"cubby/internal/target"
	"cubby/labels"
	"cubby/models"
	"cubby/runtime/chat"
)

const contestantHelp = `A CONTESTANT is [LABEL=]WHAT, and WHAT one of
  NAME, ./FOLDER, FILE.gguf     a model, computed as -engine says
  ENGINE:NAME                   a model on native, llama, ollama or llamaserver
  server:URL#NAME               a model of a classify-server
  chat:URL#NAME                 a chat model behind OpenAI's protocol: hosted, vLLM, llama-server, Ollama
  FILE.jsonl                    what classify eval -predictions has kept
  FILE.csv                      labels without probabilities: a column answer, prediction or label, in the
                                order of the rows or with a column row (from 0) or line

A chat model is told the task of -engine-job, or the labels of the first contestant, and
-shots examples of -train. CUBBY_ENGINE_KEY has its key, or CUBBY_ENGINE_KEY_LABEL that
of the contestant LABEL. Its answers are kept in -cache, so that a rerun asks nothing.`

// contestant is one argument of compare.
type contestant struct {
	given string
	name  string // in the report
	kind  string // one of load.Engines, or of the kinds below
	what  string // model, address or file
	model string // a server's name of it
}

const (
	onServer   = "server"
	fromFile   = "file" // of predictions
	fromLabels = "labels"
)

// parseContestant reads [LABEL=]WHAT.
func parseContestant(given string) (contestant, error) {
	c := contestant{given: given, name: given, what: given}
	if label, what, ok := strings.Cut(given, "="); ok && models.ValidName(label) == nil {
		c.name, c.what = label, what
	}
	if kind, rest, ok := strings.Cut(c.what, ":"); ok && (kind == onServer || slices.Contains(load.Engines(), kind)) {
		c.kind, c.what = kind, rest
	}
	switch {
	case c.what == "":
		return c, usagef("contestant %q names nothing", given)
	case c.kind == onServer || c.kind == load.Chat:
		c.what, c.model, _ = strings.Cut(c.what, "#")
	case c.kind == "" && filepath.Ext(c.what) == ".jsonl":
		c.kind = fromFile
	case c.kind == "" && filepath.Ext(c.what) == ".csv":
		c.kind = fromLabels
	}
	return c, nil
}

// key is the API key of a chat server.
func (c contestant) key() (value, variable string) {
	variable = load.KeyVariable + "_" + strings.ToUpper(strings.ReplaceAll(c.name, "-", "_"))
	if value = os.Getenv(variable); value != "" {
		return value, variable
	}
	return os.Getenv(load.KeyVariable), load.KeyVariable
}

// opened is a contestant that can be asked.
type opened struct {
	target.Target
	cached *target.Cached // of a chat model
}

// openContestant opens all but files.
func (p *program) openContestant(ctx context.Context, c contestant, task chatTask) (o opened, err error) {
	switch c.kind {
	case onServer:
		remote, err := client.New(c.what, p.key)
		if err != nil {
			return o, usageError{err}
		}
		o.Target, err = target.Remote(ctx, remote, c.model, p.scoring)
		return o, err
	case load.Chat:
		return p.openChat(ctx, c, task)
	}
	options := p.local
	if c.kind != "" {
		options.Engine = c.kind
	}
	b, err := p.load(c.what, options)
	if err != nil {
		return o, err
	}
	o.Target = target.Local(b, p.scoring)
	return o, nil
}

// chatTask is what a chat model is told beside the text.
type chatTask struct {
	task   string
	labels *labels.Set
	shots  []chat.Shot
}

func (p *program) openChat(ctx context.Context, c contestant, task chatTask) (o opened, err error) {
	if task.labels == nil {
		return o, errors.New("it is not known what to ask it: give -engine-job, or name a model before it")
	}
	key, variable := c.key()
	b, err := chat.Open(ctx, chat.Options{
		URL: c.what, Key: key, KeyFrom: "the variable " + variable, Model: c.model, Name: c.name,
		Task: task.task, Labels: task.labels, Shots: task.shots, Slots: p.local.Remote.Slots, Queue: 1 << 20,
	})
	if err != nil {
		return o, err
	}
	if o.cached, err = target.NewCached(target.Local(b, ""), b.Usage, p.cache); err == nil {
		o.Target = o.cached
	}
	return o, err
}

// shots takes examples from training rows, of each label in turn.
func shots(set *labels.Set, rows []eval.Row, n int) []chat.Shot {
	byLabel := make([][]eval.Row, set.Len())
	for _, r := range rows {
		if i, ok := set.Index(r.Answer); ok && strings.TrimSpace(r.Text) != "" {
			byLabel[i] = append(byLabel[i], r)
		}
	}
	var out []chat.Shot
	for round := 0; len(out) < n; round++ {
		before := len(out)
		for _, list := range byLabel {
			if round < len(list) && len(out) < n {
				out = append(out, chat.Shot{Text: list[round].Text, Label: list[round].Answer})
			}
		}
		if len(out) == before {
			break
		}
	}
	return out
}

// price is what an answer costs.
type price struct {
	hour            float64 // of the machine
	prompt, answers float64 // of a million tokens
}

// parsePrice reads LABEL=PRICE/h or LABEL=PROMPT/ANSWER.
func parsePrice(given string) (label string, p price, err error) {
	label, amounts, _ := strings.Cut(given, "=")
	first, second, ok := strings.Cut(amounts, "/")
	if second == "h" {
		p.hour, err = amount(first)
	} else if ok {
		var err2 error
		p.prompt, err = amount(first)
		p.answers, err2 = amount(second)
		err = cmp.Or(err, err2)
	}
	if !ok || err != nil {
		return "", p, usagef("-price %q: expected LABEL=PRICE/h, of the machine, or LABEL=PROMPT/ANSWER, of a million tokens each", given)
	}
	return label, p, nil
}

func amount(s string) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err == nil && !(x >= 0 && x <= math.MaxFloat32) {
		err = strconv.ErrRange
	}
	return x, err
}

// of is the cost of 1,000 rows, nil where what the price is for was not measured.
func (p price) of(r *eval.Report, s target.Spent) *float64 {
	cost := 0.0
	switch {
	case p.hour > 0 && r.RowsPerSecond > 0:
		cost = p.hour * 1000 / r.RowsPerSecond / 3600
	case p.hour == 0 && s.Texts > 0:
		cost = 1000 * (p.prompt*s.PromptTokens + p.answers*s.AnswerTokens) / 1e6 / float64(s.Texts)
	default:
		return nil
	}
	return &cost
}
