package chat

import "sync/atomic"

// Usage is what the server says that the questions took, for figures of cost. It
// counts every answer, also those that were no label and the one that Open asked for;
// tries that brought no answer are not told, though a server may charge for them.
type Usage struct {
	Answers          uint64 // that came
	Untold           uint64 // of those, without a count of tokens
	PromptTokens     uint64 // cached ones included
	CachedTokens     uint64 // of the prompt, not computed anew
	CompletionTokens uint64
}

type spent struct{ answers, untold, prompt, cached, completion atomic.Uint64 }

func (s *spent) add(r *reply) {
	s.answers.Add(1)
	if r.Usage == nil {
		s.untold.Add(1)
		return
	}
	s.prompt.Add(r.Usage.Prompt)
	s.completion.Add(r.Usage.Completion)
	if r.Usage.Details != nil {
		s.cached.Add(r.Usage.Details.Cached)
	}
}

// Usage returns the totals until now ("usage" of the answers).
func (b *Backend) Usage() Usage {
	s := &b.spent
	return Usage{s.answers.Load(), s.untold.Load(), s.prompt.Load(), s.cached.Load(), s.completion.Load()}
}
