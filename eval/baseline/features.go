package baseline

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
)

// maxFeatures is how many terms are kept: the most frequent.
const maxFeatures = 20_000

// vectorizer turns texts into TF-IDF vectors (Spärck Jones, 1972; scikit-learn's smooth
// form): 1 + ln of a term's count, times 1 + ln((1+texts)/(1+texts with it)), scaled to
// length 1.
type vectorizer struct {
	index map[string]int
	idf   []float64
}

// vector is a sparse row of features, in the order of their numbers.
type vector []struct {
	feature int
	value   float64
}

func (v *vectorizer) width() int { return len(v.idf) }

// newVectorizer learns the terms of texts and returns their vectors.
func newVectorizer(texts []string) (*vectorizer, []vector) {
	total, within := map[string]int{}, map[string]int{}
	counted := make([]map[string]int, len(texts))
	for i, text := range texts {
		counted[i] = terms(text)
		for term, n := range counted[i] {
			total[term] += n
			within[term]++
		}
	}
	kept := slices.Sorted(maps.Keys(total))
	slices.SortStableFunc(kept, func(a, b string) int { return cmp.Compare(total[b], total[a]) })
	kept = kept[:min(len(kept), maxFeatures)]
	slices.Sort(kept)
	v := &vectorizer{index: map[string]int{}, idf: make([]float64, len(kept))}
	for i, term := range kept {
		v.index[term] = i
		v.idf[i] = 1 + math.Log(float64(1+len(texts))/float64(1+within[term]))
	}
	vectors := make([]vector, len(texts))
	for i, counts := range counted {
		vectors[i] = v.weigh(counts)
	}
	return v, vectors
}

func (v *vectorizer) vector(text string) vector { return v.weigh(terms(text)) }

func (v *vectorizer) weigh(counts map[string]int) vector {
	var out vector
	for term, n := range counts {
		if i, ok := v.index[term]; ok {
			out = append(out, struct {
				feature int
				value   float64
			}{i, (1 + math.Log(float64(n))) * v.idf[i]})
		}
	}
	slices.SortFunc(out, func(a, b struct {
		feature int
		value   float64
	}) int {
		return cmp.Compare(a.feature, b.feature)
	})
	length := 0.0
	for _, x := range out {
		length += x.value * x.value
	}
	for i := range out {
		out[i].value /= math.Sqrt(length)
	}
	return out
}

// terms counts the words of two characters or more, in lower case, and the pairs of
// neighbours among them.
func terms(text string) map[string]int {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '_'
	})
	words = slices.DeleteFunc(words, func(w string) bool { return len([]rune(w)) < 2 })
	counts := map[string]int{}
	for i, w := range words {
		counts[w]++
		if i > 0 {
			counts[words[i-1]+" "+w]++
		}
	}
	return counts
}
