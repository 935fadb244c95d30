package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cubby/labels"
	"cubby/runtime"
	"cubby/runtime/remote"
)

// verdict is what an answer says of a text.
type verdict struct {
	dist       labels.Distribution
	unresolved float64
}

// question asks about one text. Where the server refuses what is asked for beside the
// text, it asks with less, and remembers that once it brought an answer: a refusal may
// have named the wrong thing.
func (b *Backend) question(ctx context.Context, text string) (verdict, error) {
	messages := append(slices.Clone(b.messages), message{"user", text})
	t := b.terms.now()
	for {
		r, err := b.put(ctx, messages, t)
		if err == nil {
			b.terms.settle(t)
			return b.judge(r, t)
		}
		e, said := errors.AsType[*remote.Error](err)
		if !said {
			return verdict{}, err
		}
		if tooLong(e) {
			return verdict{}, &unusable{runtime.CodeTextTooLong, "the text is too long for the model", e}
		}
		less, any := t.without(e)
		if !any {
			return verdict{}, err
		}
		t = less
	}
}

// put asks one question, again where that may help.
func (b *Backend) put(ctx context.Context, messages []message, t terms) (r *reply, err error) {
	err = b.ask.Ask(ctx, func(ctx context.Context) (err error) {
		r, err = b.server.complete(ctx, messages, t)
		return err
	})
	if err == nil {
		b.spent.add(r)
	}
	return r, err
}

// judge reads the label and its probabilities.
func (b *Backend) judge(r *reply, t terms) (verdict, error) {
	c := &r.Choices[0]
	content, err := c.content()
	if err != nil {
		return verdict{}, err
	}
	a, err := read(content, b.set, t.bare())
	if err != nil {
		return verdict{}, &unusable{runtime.CodeEngineFailed, "the server answered with none of the labels",
			fmt.Errorf("%w: %d bytes; the model may be too small for the task, or examples may help it", err, len(content))}
	}
	told := c.positions()
	if len(told) == 0 {
		if t.alternatives() > 0 {
			b.terms.settle(t.withoutLogprobs())
		}
		return b.certain(a, 0), nil
	}
	dist, unresolved, ok := distribute(content, a, b.set, told)
	if !ok { // the label stands, but nothing is known of the others
		return b.certain(a, 1), nil
	}
	return verdict{dist, unresolved}, nil
}

// certain is a label without probabilities.
func (b *Backend) certain(a answer, unresolved float64) verdict {
	v := verdict{make(labels.Distribution, b.set.Len()), unresolved}
	v.dist[a.label] = 1
	return v
}

// content is what the model said, if it said it to the end.
func (c *choice) content() (string, error) {
	switch {
	case c.Message.Refusal != "":
		return "", &unusable{runtime.CodeEngineFailed, "the model refused to answer about this text", errors.New("the answer is a refusal (message.refusal): another model may take the text")}
	case c.Finish == "length":
		return "", &unusable{runtime.CodeEngineFailed, "the server's answer was cut off before its end",
			errors.New("finish_reason is length: let the model say more, if it thinks before it answers")}
	case c.Finish == "content_filter":
		return "", &unusable{runtime.CodeEngineFailed, "the server withheld its answer about this text", errors.New("finish_reason is content_filter: the server's filter found something in the text or the answer")}
	case c.Message.Content == nil:
		return "", &unusable{runtime.CodeEngineFailed, "the server's answer has no text", fmt.Errorf("message.content is null, and finish_reason %.40q", c.Finish)}
	}
	return *c.Message.Content, nil
}

// unusable is an answer without a label, and so this text's own failure.
type unusable struct {
	code    runtime.Code
	message string
	cause   error
}

func (u *unusable) Error() string { return u.message + ": " + u.cause.Error() }

func (u *unusable) Unwrap() error { return u.cause }

// unavailableRetry is when to ask again while the server is away and does not say.
const unavailableRetry = 5 * time.Second

// failure makes a text's error of what went wrong.
func failure(err error) *runtime.Error {
	if u, ok := errors.AsType[*unusable](err); ok {
		return &runtime.Error{Code: u.code, Message: u.message, Cause: u.cause}
	}
	if e, ok := errors.AsType[*remote.Error](err); ok {
		switch e.Fault {
		case remote.Unreachable, remote.Busy, remote.Broken, remote.Slow, remote.Memory:
			return &runtime.Error{Code: runtime.CodeUnavailable, Message: "the chat server gives no answer at the moment",
				RetryAfter: min(max(e.After, unavailableRetry), longestWait), Cause: e}
		}
	}
	return &runtime.Error{Code: runtime.CodeEngineFailed, Message: "the chat server gives no answer that can be used", Cause: err}
}
