package load

import (
	"context"

	"cubby/runtime"
	"cubby/runtime/engine"
	"cubby/runtime/native"
	"cubby/runtime/residency"
)

// Shared is what the models of one process have in common: the threads that
// compute, and where they are bounded, the memory of their weights and the
// answers that are kept. The zero value shares nothing.
type Shared struct {
	pool   *native.Pool
	budget *residency.Budget // nil: all models stay loaded
	cache  *runtime.Cache    // nil: no answers are kept
}

// Share starts the threads, 0 for one a physical core. Memory and cache are
// bounds in bytes; 0 for no bound on memory, and for no cache.
func Share(threads int, memory, cache int64) (*Shared, error) {
	pool, err := native.NewPool(threads)
	if err != nil {
		return nil, err
	}
	s := &Shared{pool: pool}
	if memory > 0 {
		s.budget = residency.NewBudget(memory)
	}
	if cache > 0 {
		s.cache = runtime.NewCache(cache)
	}
	return s, nil
}

// Cache returns the answers that are kept, nil where none are.
func (s *Shared) Cache() *runtime.Cache { return s.cache }

// Close stops the threads. Models that are still open compute on one.
func (s *Shared) Close() { s.pool.Close() }

// threads is how many compute, of those asked for.
func (s *Shared) threads(asked int) int {
	switch {
	case s.pool != nil:
		return s.pool.Threads()
	case asked > 0:
		return asked
	}
	return native.DefaultThreads()
}

// engine loads an engine, on demand where memory is bounded.
func (s *Shared) engine(source residency.Source) (engine.Engine, error) {
	if s.budget == nil {
		return source.Load()
	}
	e, err := s.budget.Open(context.Background(), source)
	if err != nil {
		return nil, err
	}
	return e, nil
}
