package chat

import (
	"math"
	"slices"
	"strings"

	"cubby/labels"
)

// distribute turns the log probabilities of the generated tokens into a distribution
// over all labels.
//
// What was generated up to the label's value, then the value as JSON spells it with
// its closing quote, is the answer A(i) of label i. At position t the server tells p(a)
// of the token a that was chosen and of some alternatives. With G the text generated
// before it, M(a) is the set of labels among those still possible, L, for which G+a is
// a beginning of A(i), or A(i) one of G+a: those to which a leads. Tokens that lead to
// none are what a grammar would forbid; the others share the probability, as in
// constrained scoring:
//
//	Z     = Σ p(a) over the told tokens with M(a) not empty, + U
//	U     = min(n · least, max(1 − Σ p of all told tokens, 10⁻⁶))
//	        where n labels of L are in no M(a), and least is the least told p(a):
//	        what is not told is no likelier than that, nor all of it than what is left
//	stay  = Σ p(a) over those that lead where the chosen token x does, M(a) = M(x):
//	        other tokens for the same letters say nothing of the labels
//
// Of path, the probability to have come so far, the part p(a)/Z is shared out evenly
// among M(a) for every other a, U/Z among the n labels, and stay/Z goes on with
// L = M(x), until one label is left. So nothing is lost or made, and the sum is 1.
//
// unresolved is all that was shared out among several labels, because what told them
// apart lies behind a token that was not generated or not told. No probability is off
// by more, if the server's numbers are those of the text behind the messages: a path
// not generated is taken to be as likely as its first token, and one label to be
// spelled in one way.
//
// A bare label ends where the model ended the answer. Servers that do not tell that
// last token leave open how sure it was that nothing more comes; it was the likeliest
// of all, so of k labels that begin so the said one has at least 1/k.
//
// It is false where the tokens are not those of the content, or the numbers no log
// probabilities.
func distribute(content string, a answer, set *labels.Set, told []position) (dist labels.Distribution, unresolved float64, ok bool) {
	w, ok := newWalk(content, a, set, told)
	if !ok {
		return nil, 0, false
	}
	for _, p := range told {
		if w.at > w.end || len(w.live) == 1 {
			break
		}
		if !w.step(&p) {
			return nil, 0, false
		}
	}
	w.finish()
	return w.dist, min(w.unresolved, 1), true
}

const (
	// absent is the log probability by which servers say that they do not tell it.
	absent = -9000
	// rounding is how far told probabilities may add up past 1.
	rounding = 1e-3
	// unsure is the least that is left for what is not told: what is missing of 1
	// drowns in the rounding of the told.
	unsure = 1e-6
	// tieBreak makes the label that was said the best of equals.
	tieBreak = 1e-12
)

// walk is how far the generated tokens were followed.
type walk struct {
	answer     answer
	spelled    [][]string // of each label, the ways to write it
	generated  string     // all tokens, whatever else there is around the content
	start, end int        // of the label in it
	at         int        // where the next token begins
	live       []int      // labels that are still possible
	path       float64
	dist       labels.Distribution
	unresolved float64
}

func newWalk(content string, a answer, set *labels.Set, told []position) (*walk, bool) {
	var all strings.Builder
	for i := range told {
		all.WriteString(told[i].spelling())
	}
	w := &walk{answer: a, generated: all.String(), path: 1, dist: make(labels.Distribution, set.Len())}
	begin := strings.LastIndex(w.generated, content)
	if begin < 0 {
		return nil, false
	}
	w.start, w.end = begin+a.from, begin+a.to
	for i := range set.Len() {
		w.live = append(w.live, i)
		name := set.Name(i)
		switch {
		case a.bare:
			w.spelled = append(w.spelled, []string{name})
		case i == a.label:
			w.spelled = append(w.spelled, []string{content[a.from:a.to]})
		default:
			w.spelled = append(w.spelled, slices.Compact([]string{quote(name), ascii(name)}))
		}
	}
	return w, true
}

// way is a told token that leads to labels.
type way struct {
	p      float64
	to     []int
	same   bool // leads where the chosen one does
	chosen bool
}

// step takes in one position.
func (w *walk) step(p *position) bool {
	chosen := p.spelling()
	if chosen == "" && !(w.answer.bare && w.at == w.end) {
		return true // a piece of a character that comes whole with another token
	}
	x := w.leads(&p.token)
	if !slices.Contains(x, w.answer.label) {
		ended := w.at == w.end // with something that the server cut off the content
		w.at = w.end + 1
		return ended
	}
	ways, sum, least, ok := w.ways(p, x)
	if !ok {
		return false
	}
	untold := w.untold(ways, x)
	u := min(float64(len(untold))*least, max(1-sum, unsure))
	if len(untold) == 0 {
		u = 0
	}
	guessed := !slices.ContainsFunc(ways, func(v way) bool { return v.chosen })
	if guessed { // it is one of those that are not told
		ways = append(ways, way{p: min(least, max(1-sum, unsure)), to: x, same: true, chosen: true})
	}
	w.part(ways, untold, u, x, guessed)
	w.at += len(chosen)
	return true
}

// ways lists the told tokens that lead to a label, the sum of all, and the least of
// the alternatives.
func (w *walk) ways(p *position, x []int) (list []way, sum, least float64, ok bool) {
	least = 1
	listed := false
	take := func(t *token) {
		prob := math.Exp(min(*t.LogP, 0))
		sum += prob
		ok = ok && *t.LogP <= rounding
		if to := w.leads(t); len(to) > 0 {
			here := t.spelling() == p.spelling()
			listed = listed || here
			list = append(list, way{prob, to, slices.Equal(to, x), here})
		}
	}
	ok = true
	for i := range p.Top {
		if a := &p.Top[i]; tells(a) {
			take(a)
			least = min(least, math.Exp(min(*a.LogP, 0)))
		}
	}
	if !listed && tells(&p.token) {
		take(&p.token)
	}
	return list, sum, least, ok && sum <= 1+rounding
}

// untold lists the possible labels that no told token leads to. Those of the chosen
// token were told by it.
func (w *walk) untold(ways []way, x []int) []int {
	reached := make(map[int]bool, len(w.live))
	for _, i := range x {
		reached[i] = true
	}
	for _, v := range ways {
		for _, i := range v.to {
			reached[i] = true
		}
	}
	var list []int
	for _, i := range w.live {
		if !reached[i] {
			list = append(list, i)
		}
	}
	return list
}

// part divides the path.
func (w *walk) part(ways []way, untold []int, u float64, x []int, guessed bool) {
	z, stay := u, 0.0
	for _, v := range ways {
		z += v.p
		if v.same {
			stay += v.p
		}
	}
	if z > 0 {
		for _, v := range ways {
			if !v.same {
				w.share(v.to, w.path*v.p/z)
			}
		}
		w.share(untold, w.path*u/z)
		if len(untold) == 1 {
			w.unresolved += w.path * u / z // not shared, but a bound
		}
		w.path *= stay / z
		if guessed && stay < z {
			w.unresolved += w.path
		}
	}
	w.live = x
}

// share gives labels equal parts.
func (w *walk) share(to []int, p float64) {
	for _, i := range to {
		w.dist[i] += p / float64(len(to))
	}
	if len(to) > 1 {
		w.unresolved += p
	}
}

// finish gives what is left of the path to the label that was said.
func (w *walk) finish() {
	k := float64(len(w.live))
	w.dist[w.answer.label] += w.path + tieBreak
	w.unresolved += w.path * (1 - 1/k)
	sum := 0.0
	for _, p := range w.dist {
		sum += p
	}
	for i := range w.dist {
		w.dist[i] /= sum
	}
}

// tells says whether there is a probability.
func tells(t *token) bool { return t.LogP != nil && *t.LogP > absent }
