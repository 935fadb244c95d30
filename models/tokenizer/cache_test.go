package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestWordCacheIsBounded(t *testing.T) {
	tok := madeFamilies(t)["qwen2"].mustLoad(t)
	var text strings.Builder
	for i := range 3 * wordSlots {
		fmt.Fprintf(&text, " %s%s", strings.Repeat("x", i%60), letters(i))
	}
	tok.Encode(text.String())
	if len(tok.words.slots) != wordSlots {
		t.Errorf("%d slots", len(tok.words.slots))
	}
	used := 0
	for i := range tok.words.slots {
		w := tok.words.slots[i].Load()
		if w == nil {
			continue
		}
		used++
		if len(w.word) > maxCachedWord || cap(w.ids) > 2*maxCachedWord {
			t.Errorf("%q is remembered with room for %d ids", w.word, cap(w.ids))
		}
	}
	if used < wordSlots/2 {
		t.Errorf("%d words remembered of %d slots", used, wordSlots)
	}
}

// letters writes a number as a word.
func letters(i int) string {
	word := []byte{}
	for ; i > 0; i /= 26 {
		word = append(word, byte('a'+i%26))
	}
	return string(word)
}

// TestConcurrentUse is for the race detector, and checks that callers may
// change what they were given.
func TestConcurrentUse(t *testing.T) {
	f := madeFamilies(t)["llama-bpe"]
	tok := f.mustLoad(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				for i, text := range f.texts {
					got := tok.EncodeSpecial(text)
					if !slices.Equal(got, f.IDs[i]) {
						t.Errorf("%q\n got %v\nwant %v", text, got, f.IDs[i])
					}
					clear(got)
				}
			}
		})
	}
	wg.Wait()
}
