package quantize

import (
	"fmt"
	"slices"

	"cubby/models/gguf"
)

// Plan says which type each tensor of a file gets.
type Plan struct {
	file   *gguf.File
	scheme Scheme
	types  map[string]gguf.Type
}

// NewPlan plans the rounding of a file, whose bytes must outlive the plan. A file
// that is of smaller types already is refused with a *RaiseError: what was rounded
// away does not come back.
func NewPlan(f *gguf.File, s Scheme) (*Plan, error) {
	p := &Plan{file: f, scheme: s, types: map[string]gguf.Type{}}
	tensors := f.Tensors()
	slices.SortFunc(tensors, byLayer)
	r := newRecipe(f, s)
	for _, t := range tensors {
		p.types[t.Name] = t.Type
		if !rounded(t) {
			continue
		}
		to, err := r.choose(t)
		if err != nil {
			return nil, err
		}
		if err := check(t, to, s); err != nil {
			return nil, err
		}
		p.types[t.Name] = to
	}
	return p, nil
}

// check refuses what cannot be read, and what would gain bits.
func check(t gguf.Tensor, to gguf.Type, s Scheme) error {
	if t.Type == to {
		return nil
	}
	if t.Type != gguf.F32 && t.Type != gguf.F16 && t.Type != gguf.BF16 && bitsOf(t.Type) <= bitsOf(to) {
		return &RaiseError{Tensor: t.Name, From: t.Type, To: to, Scheme: s}
	}
	if !t.Type.Known() {
		return fmt.Errorf("tensor %q is of type %s, which cannot be rounded to another one", t.Name, t.Type)
	}
	return nil
}

// RaiseError refuses to give more bits to what has been rounded to fewer.
type RaiseError struct {
	Tensor   string
	From, To gguf.Type
	Scheme   Scheme
}

// Error says what to do instead.
func (e *RaiseError) Error() string {
	return fmt.Sprintf("the weights are rounded already: %s is %s (%.3g bits a weight) and %s wants %s (%.3g); keep them as they are, take a smaller type, or begin with unrounded weights",
		e.Tensor, e.From, bitsOf(e.From), e.Scheme, e.To, bitsOf(e.To))
}

// bitsOf is the number of bits that a value takes.
func bitsOf(t gguf.Type) float64 {
	n := t.BlockSize()
	return float64(8*t.RowSize(n)) / float64(n)
}

// Changes reports whether any tensor gets another type.
func (p *Plan) Changes() bool {
	return slices.ContainsFunc(p.file.Tensors(), func(t gguf.Tensor) bool { return p.types[t.Name] != t.Type })
}

// StoredAs is the type of most of a file's values that would be rounded.
func StoredAs(f *gguf.File) gguf.Type {
	counts := map[gguf.Type]uint64{}
	var most gguf.Type
	for _, t := range f.Tensors() {
		if !rounded(t) {
			continue
		}
		counts[t.Type] += t.Shape[0] * rowsOf(t)
		if counts[t.Type] > counts[most] {
			most = t.Type
		}
	}
	return most
}

// rowsOf is the number of rows of a tensor.
func rowsOf(t gguf.Tensor) uint64 {
	return uint64(len(t.Data)) / uint64(t.Type.RowSize(int(t.Shape[0])))
}
