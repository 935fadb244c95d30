// Package tokenizer is exact BPE, byte-level or in the form of SentencePiece: the
// ids it gives are those of Hugging Face's tokenizers for the same tokenizer.json,
// and those of SentencePiece for a GGUF file made of its model.
//
// The parts are those of github.com/sugarme/tokenizer's pipeline: normaliser,
// pre-tokeniser, model, decoder. They stand behind its interfaces, and Pipeline
// assembles them. Four of that library's own parts are not exact, so ours take
// their place:
//   - its BPE does not merge pairs of equal rank leftmost first;
//   - its byte-level pre-tokeniser lacks `\s+(?!\S)`, the rule that leaves the
//     last white space of a run to the word behind it;
//   - its NFC normaliser decomposes;
//   - its added vocabulary misses a token that comes before one listed earlier.
//
// Encode and EncodeSpecial call the parts directly, because the pipeline tracks
// the offset of every byte, which costs far more than the merging itself.
//
// Known holes. The classes \p{L} and \p{N} are those of package unicode
// (Unicode 15); Hugging Face's current build knows Unicode 16, so a character
// that is younger than 15 may end a piece elsewhere. Truncation, padding and
// post-processors of a tokenizer.json (which wrap a text in special tokens) are
// not applied: prompts are literal here.
package tokenizer

import (
	"strings"
)

// Tokenizer turns text into the token ids of one vocabulary and back. It is
// safe for concurrent use.
type Tokenizer struct {
	model model
	pre   preTokenizer
	form  form
	added addedTokens
	words wordCache
}

// Encode returns the ids of text, which is taken as plain characters: it never
// yields an added token, whatever the text spells. A byte that has no token of
// its own is left out, as Hugging Face does where unk_token is null; its
// neighbours then merge as if they touched. Invalid UTF-8 is encoded byte by byte.
//
// In a SentencePiece vocabulary pieces that the model's makers defined beside the
// merges are plain text: gemma's line ends are such pieces. Those marked special
// are not.
func (t *Tokenizer) Encode(text string) []int32 { return t.encode(text, &t.added.user) }

// EncodeSpecial is Encode with the added tokens parsed: at each place the
// longest one that matches is taken, scanning from the left. It is meant for
// prompts, never for text from users.
func (t *Tokenizer) EncodeSpecial(text string) []int32 { return t.encode(text, &t.added.all) }

func (t *Tokenizer) encode(text string, m *matchers) []int32 {
	ids := make([]int32, 0, len(text)/4+1)
	m.literal.split(text, func(id int32, rest string) {
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		m.normalized.split(t.normalize(rest), func(id int32, rest string) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			ids = t.appendPieces(ids, rest)
		})
	})
	return ids
}

// Decode joins the bytes of the tokens. The result may cut a character, and
// ids outside the vocabulary add nothing. Where encoding puts a space before a
// text, one that the result begins with is taken away.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.model.pieces) {
			b.WriteString(t.model.pieces[id])
		}
	}
	if t.form == escapedAfterSpace {
		return strings.TrimPrefix(b.String(), " ")
	}
	return b.String()
}

// Special returns the id of an added token that plain text cannot yield
// (control, unknown, and in a byte-level GGUF user-defined) by its text.
func (t *Tokenizer) Special(piece string) (int32, bool) {
	id, ok := t.added.ids[piece]
	return id, ok
}

// Len is the number of ids, added tokens and holes included: every id is below it.
func (t *Tokenizer) Len() int { return len(t.model.pieces) }

// form is how a text is normalised before it is cut.
type form uint8

const (
	asItIs            form = iota
	composed               // NFC
	escaped                // spaces written as U+2581, as SentencePiece does
	escapedAfterSpace      // likewise, with a space before the text
)

func (t *Tokenizer) normalize(text string) string {
	switch t.form {
	case composed:
		return nfc(text)
	case escaped:
		return strings.ReplaceAll(text, " ", blank)
	case escapedAfterSpace:
		return blank + strings.ReplaceAll(text, " ", blank)
	}
	return text
}

func (t *Tokenizer) appendPieces(ids []int32, text string) []int32 {
	t.pre.split(text, func(piece string) {
		ids = t.appendWord(ids, piece)
	})
	return ids
}

func (t *Tokenizer) appendWord(ids []int32, word string) []int32 {
	if len(word) > maxCachedWord {
		return t.model.appendWord(ids, word)
	}
	if known, ok := t.words.get(word); ok {
		return append(ids, known...)
	}
	start := len(ids)
	ids = t.model.appendWord(ids, word)
	t.words.put(word, ids[start:])
	return ids
}
