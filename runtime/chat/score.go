package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
)

// job is one text of a request, which may hold it several times.
type job struct {
	text    string
	at      []int // its places in the request
	result  runtime.Result
	outcome outcome
}

// Score answers the request's texts, as many at once as there are slots, in order. Equal
// texts of a request are asked about once. Nothing is cut: a text that is too long for
// the model is an error of its own.
func (b *Backend) Score(ctx context.Context, req runtime.Request) ([]runtime.Result, error) {
	if len(req.Texts) == 0 {
		return nil, nil
	}
	results := make([]runtime.Result, len(req.Texts))
	jobs, texts := sortOut(req, results)
	if err := b.door.admit(ctx, texts); err != nil {
		return nil, err
	}
	if !b.scoreAll(ctx, jobs, req.Bulk) {
		return nil, contextError(ctx)
	}
	for _, j := range jobs {
		for _, i := range j.at {
			results[i] = j.result
			results[i].Distribution = append(labels.Distribution(nil), j.result.Distribution...)
		}
	}
	return results, nil
}

// sortOut makes a job of each text that can be sent, and gives the others their errors.
func sortOut(req runtime.Request, results []runtime.Result) (jobs []*job, texts int) {
	known := make(map[string]*job, len(req.Texts))
	for i, text := range req.Texts {
		if err := check(text, req.Scoring); err != nil {
			results[i].Err = err
			continue
		}
		j := known[text]
		if j == nil {
			j = &job{text: text}
			known[text] = j
			jobs = append(jobs, j)
		}
		j.at = append(j.at, i)
		texts++
	}
	return jobs, texts
}

func check(text string, scoring models.Scoring) *runtime.Error {
	switch {
	case scoring != "" && scoring != models.Constrained:
		return &runtime.Error{Code: runtime.CodeBadScoring, Message: fmt.Sprintf("this model cannot score by %q: it has %s", scoring, models.Constrained)}
	case !utf8.ValidString(text):
		return &runtime.Error{Code: runtime.CodeInvalidUTF8, Message: "the text is not valid UTF-8"}
	case strings.TrimSpace(text) == "":
		return &runtime.Error{Code: runtime.CodeEmptyText, Message: "the text is empty: there is nothing to classify"}
	}
	return nil
}

// scoreAll gives each job its result. It is false where the caller left before all had
// one.
func (b *Backend) scoreAll(ctx context.Context, jobs []*job, yields bool) bool {
	class := interactive
	if yields {
		class = bulk
	}
	var (
		admitted = time.Now()
		down     = b.ask.Heal(ctx, func(ctx context.Context) error { return b.probe.Within(ctx, b.server.look, healKept) })
		next     atomic.Int64
		left     atomic.Bool
		wg       sync.WaitGroup
	)
	for range min(b.door.slots, len(jobs)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)); i = next.Add(1) - 1 {
				j := jobs[i]
				b.score(ctx, j, class, admitted, down)
				left.CompareAndSwap(false, j.outcome == cancelled)
				b.door.settle(j.outcome, len(j.at))
			}
		})
	}
	wg.Wait()
	return !left.Load()
}

// score gives one job its result and outcome.
func (b *Backend) score(ctx context.Context, j *job, class int, admitted time.Time, down error) {
	err := down
	if err == nil {
		err = b.door.enter(ctx, class)
	}
	if err == nil {
		start := time.Now()
		var v verdict
		v, err = b.question(ctx, j.text)
		took := time.Since(start)
		b.door.leave(took)
		j.result = runtime.Result{Distribution: v.dist, Unresolved: v.unresolved, LabelOnly: b.terms.now().alternatives() == 0, Queue: start.Sub(admitted), Compute: took}
	}
	switch {
	case err == nil:
		j.outcome = answered
	case ctx.Err() != nil:
		j.outcome = cancelled
	default:
		j.outcome = failed
		j.result.Err = failure(err)
	}
}

func contextError(ctx context.Context) *runtime.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &runtime.Error{Code: runtime.CodeDeadline, Message: "the deadline passed before the answer", Cause: context.Cause(ctx)}
	}
	return &runtime.Error{Code: runtime.CodeCanceled, Message: "the caller left before the answer", Cause: context.Cause(ctx)}
}
