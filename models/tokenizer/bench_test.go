package tokenizer

import (
	"testing"
)

// BenchmarkEncode is one pass over the golden texts, in tokens per second of
// one core: with the words remembered from earlier passes, and without.
func BenchmarkEncode(b *testing.B) {
	goldens := readGoldens(b)
	b.Run("warm", func(b *testing.B) { benchmarkEncode(b, goldens, false) })
	b.Run("cold", func(b *testing.B) { benchmarkEncode(b, goldens, true) })
}

func benchmarkEncode(b *testing.B, goldens []golden, cold bool) {
	tok := smollm(b)
	b.ReportAllocs()
	tokens := 0
	for b.Loop() {
		if cold {
			tok.words = newWordCache()
		}
		for _, g := range goldens {
			tokens += len(tok.Encode(g.Text))
		}
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkEncodeUncached merges every word anew.
func BenchmarkEncodeUncached(b *testing.B) {
	goldens := readGoldens(b)
	tok := smollm(b)
	tokens := 0
	for b.Loop() {
		for _, g := range goldens {
			tok.pre.split(g.Text, func(word string) {
				tokens += len(tok.model.appendWord(nil, word))
			})
		}
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}

func BenchmarkFromJSON(b *testing.B) {
	data := smollmJSON(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromJSON(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFromVocabulary(b *testing.B) {
	v := readVocabulary(b, packagedGGUF(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromVocabulary(v); err != nil {
			b.Fatal(err)
		}
	}
}
