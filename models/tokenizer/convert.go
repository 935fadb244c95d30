package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	sugarme "github.com/sugarme/tokenizer"
)

// The token types of llama.cpp.
const (
	typeNormal      = 1
	typeUnknown     = 2
	typeControl     = 3
	typeUserDefined = 4
	typeUnused      = 5
	typeByte        = 6
)

// VocabularyFromJSON writes the tokenizer of a tokenizer.json, for a model whose
// embedding has that many rows, as a GGUF file stores it: FromVocabulary then
// gives the ids that FromJSONWithin gives. Ids without a token are unused ones.
// What llama.cpp has no name for is refused, and so is what FromJSON refuses.
func VocabularyFromJSON(data []byte, rows int) (Vocabulary, error) {
	v, err := vocabularyFromJSON(data, rows)
	if err != nil {
		return v, fmt.Errorf("tokenizer.json: %w", err)
	}
	return v, nil
}

func vocabularyFromJSON(data []byte, rows int) (Vocabulary, error) {
	f, err := readFile(data, rows)
	if err != nil {
		return Vocabulary{}, err
	}
	t, err := f.build()
	if err != nil {
		return Vocabulary{}, err
	}
	if t.Len() > rows {
		return Vocabulary{}, fmt.Errorf("it has %d ids, and the embedding %d rows", t.Len(), rows)
	}
	entries, err := f.entries()
	if err != nil {
		return Vocabulary{}, err
	}
	entries = append(entries, make([]entry, rows-len(entries))...)
	if f.Model.ByteFallback {
		return f.pieces(t, entries)
	}
	return f.byteLevel(t, entries)
}

func (f *file) byteLevel(t *Tokenizer, entries []entry) (Vocabulary, error) {
	pre, ok := preName(t, f.Model.IgnoreMerges)
	if !ok {
		return Vocabulary{}, errors.New("llama.cpp has no name for its pre-tokeniser together with its normaliser and ignore_merges")
	}
	v := Vocabulary{Model: "gpt2", Pre: pre, Merges: make([]string, len(f.Model.Merges))}
	v.list(entries, f.AddedTokens)
	for i, m := range f.Model.Merges {
		if strings.Contains(m[0]+m[1], " ") {
			return v, fmt.Errorf("merge %q has a space in a token, which a GGUF file cannot write", m)
		}
		v.Merges[i] = m[0] + " " + m[1]
	}
	return v, nil
}

// preName finds the name of what cuts texts into words. Of two that are the same,
// it is the one that comes last in the alphabet.
func preName(t *Tokenizer, ignoreMerges bool) (string, bool) {
	steps := t.pre.steps
	if n := len(steps) - 1; n > 0 && steps[n] == stepAll {
		steps = steps[:n]
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(families))) {
		f := families[name]
		if slices.Equal(f.steps, steps) && f.ignoreMerges == ignoreMerges && f.nfc == (t.form == composed) && !t.pre.prefixSpace {
			return name, true
		}
	}
	return "", false
}

// list writes the tokens with their types. An id without a token gets a text of
// its own, because llama.cpp looks tokens up by their text.
func (v *Vocabulary) list(entries []entry, added []sugarme.TokenConfig) {
	v.Tokens, v.Types = make([]string, len(entries)), make([]int32, len(entries))
	for id, e := range entries {
		v.Tokens[id], v.Types[id] = e.text, typeNormal
		if e.kind == absent {
			v.Tokens[id], v.Types[id] = fmt.Sprintf("[PAD%d]", id), typeUnused
		}
	}
	for _, a := range added {
		v.Types[a.Id] = typeUserDefined
		if a.Special {
			v.Types[a.Id] = typeControl
		}
	}
}

// pieces writes a SentencePiece vocabulary. The file has merges by rank; a GGUF has
// scores, and what makes the piece of the best score is merged first.
func (f *file) pieces(t *Tokenizer, entries []entry) (Vocabulary, error) {
	f.markSentencePiece(entries)
	v := Vocabulary{Model: "llama", Pre: "default", NoSpace: t.form == escaped, Scores: make([]float64, len(entries))}
	v.list(entries, f.AddedTokens)
	for id, e := range entries {
		switch e.kind {
		case userDefined:
			v.Tokens[id] = strings.ReplaceAll(e.text, blank, " ")
		case oneByte:
			v.Types[id] = typeByte
		}
	}
	if f.Model.UnkToken != nil {
		if id := slices.Index(v.Tokens, *f.Model.UnkToken); id >= 0 {
			v.Types[id] = typeUnknown
		}
	}
	return v, f.score(t, v.Scores, entries)
}

// score gives each piece minus the rank of the first merge that makes it, and
// checks that scores say all that the merges say.
func (f *file) score(t *Tokenizer, scores []float64, entries []entry) error {
	for id := range scores {
		scores[id] = -float64(len(f.Model.Merges) + 1)
	}
	listed := make(map[[2]int32]bool, len(f.Model.Merges))
	last := int32(-1)
	done := map[int32]bool{}
	for rank, m := range f.Model.Merges {
		left, okLeft := t.model.ids[m[0]]
		right, okRight := t.model.ids[m[1]]
		result, okResult := t.model.ids[m[0]+m[1]]
		if !okLeft || !okRight || !okResult || entries[result].kind != ordinary {
			continue
		}
		listed[[2]int32{left, right}] = true
		if result == last {
			continue
		}
		if done[result] {
			return fmt.Errorf("merge %d makes %q again, behind merges of other pieces: a GGUF file cannot say that", rank, m[0]+m[1])
		}
		done[result], last = true, result
		scores[result] = -float64(rank)
	}
	ways, err := t.model.mergesByScore(entries, scores)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(ways, func(w pairMerge) bool { return !listed[[2]int32{w.left, w.right}] }); i >= 0 {
		w := ways[i]
		return fmt.Errorf("%q and %q make a piece, but no merge says so: a GGUF file cannot say that", entries[w.left].text, entries[w.right].text)
	}
	return nil
}
