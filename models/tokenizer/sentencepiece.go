package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// BPE as SentencePiece has it (Kudo & Richardson 2018), for gemma and the first
// Mistral: symbols are characters, a space is written U+2581, nothing cuts a text
// into words, and a character without a token becomes the tokens of its bytes.
//
// Known hole: a piece of which a character has no token of its own is never made;
// SentencePiece's trainer makes no such piece.

// blank is how SentencePiece writes a space, U+2581.
const blank = "\u2581"

// pairMerge is a merge by ids.
type pairMerge struct {
	left, right, result int32
	rank                int
}

// newCharacterModel indexes a SentencePiece vocabulary, without merges.
func newCharacterModel(entries []entry) (model, error) {
	m := model{characters: true, ids: make(map[string]int32, len(entries)), pieces: make([]string, len(entries))}
	for b := range m.bytes {
		m.bytes[b] = -1
	}
	for id, e := range entries {
		m.pieces[id] = e.text
		switch e.kind {
		case oneByte:
			b, ok := byteOf(e.text)
			if !ok {
				return m, fmt.Errorf("token %d (%q) is no byte, written <0x00> to <0xFF>", id, e.text)
			}
			m.bytes[b], m.pieces[id] = int32(id), string([]byte{b})
		case ordinary, userDefined:
			if e.text == "" {
				return m, fmt.Errorf("token %d has no text", id)
			}
			if other, ok := m.ids[e.text]; ok {
				return m, fmt.Errorf("tokens %d and %d are both %q", other, id, e.text)
			}
			m.ids[e.text] = int32(id)
			m.pieces[id] = strings.ReplaceAll(e.text, blank, " ")
		}
	}
	return m, m.checkBytes()
}

// checkBytes wants a token for every byte, so that no text needs an unknown
// token. A character of one byte may have its own instead: gemma's tabulator has.
func (m *model) checkBytes() error {
	for b := range m.bytes {
		if id, ok := m.ids[string(rune(b))]; ok && b < utf8.RuneSelf && m.bytes[b] < 0 {
			m.bytes[b] = id
		}
		if m.bytes[b] < 0 {
			return fmt.Errorf("byte %#02x has no token, and byte_fallback needs one for each", b)
		}
	}
	return nil
}

// byteOf reads <0x0A>.
func byteOf(text string) (byte, bool) {
	var b byte
	if n, err := fmt.Sscanf(text, "<0x%02X>", &b); err != nil || n != 1 || text != byteText(b) {
		return 0, false
	}
	return b, true
}

func byteText(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// characterSymbols appends the token of each character, or those of its bytes.
func (m *model) characterSymbols(ids []int32, word string) []int32 {
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRuneInString(word[i:])
		if id, ok := m.ids[word[i:i+n]]; ok {
			ids = append(ids, id)
		} else {
			for _, b := range []byte(word[i : i+n]) {
				ids = append(ids, m.bytes[b])
			}
		}
		i += n
	}
	return ids
}

// putMerges fills the merge table.
func (m *model) putMerges(merges []pairMerge) {
	m.merges = newPairTable(len(merges))
	for _, p := range merges {
		m.merges.put(p.left, p.right, p.rank, p.result)
	}
}

// sentencePieceKinds are the token types of llama.cpp.
var sentencePieceKinds = map[int32]kind{1: ordinary, 2: added, 3: added, 4: userDefined, 5: unused, 6: oneByte}

// sentencePiece builds the tokenizer of a GGUF file that was made of a
// SentencePiece model.
func (v *Vocabulary) sentencePiece() (*Tokenizer, error) {
	entries, err := v.entries(sentencePieceKinds)
	if err != nil {
		return nil, err
	}
	if len(v.Scores) != len(v.Tokens) {
		return nil, errors.New("tokenizer.ggml.scores does not give every token its score, so the order of merges is unknown: convert the model again")
	}
	for id, e := range entries {
		if e.kind == userDefined { // the converter writes their spaces as such
			entries[id].text = strings.ReplaceAll(e.text, " ", blank)
		}
	}
	t, err := newSentencePiece(entries)
	if err != nil {
		return nil, err
	}
	t.form = escapedAfterSpace
	if v.NoSpace {
		t.form = escaped
	}
	merges, err := t.model.mergesByScore(entries, v.Scores)
	if err != nil {
		return nil, err
	}
	t.model.putMerges(merges)
	for id, e := range entries {
		if e.kind == userDefined {
			t.added.all.normalized.add(e.text, int32(id))
			t.added.user.normalized.add(e.text, int32(id))
		}
		if e.kind != added {
			continue
		}
		if err := t.added.add(e.text, int32(id)); err != nil {
			return nil, err
		}
		t.added.all.literal.add(e.text, int32(id))
	}
	return t, nil
}

func newSentencePiece(entries []entry) (*Tokenizer, error) {
	if len(entries) == 0 {
		return nil, errNoTokens
	}
	if len(entries) > maxTokens {
		return nil, fmt.Errorf("%d token ids: at most %d are supported", len(entries), maxTokens)
	}
	m, err := newCharacterModel(entries)
	if err != nil {
		return nil, err
	}
	return &Tokenizer{model: m, words: newWordCache(), added: newAddedTokens()}, nil
}

// mergesByScore lists every way to make an ordinary piece of two others. Those of
// one score have one rank, so that the leftmost goes first. Pieces that a user
// defined are cut out before any merge.
func (m *model) mergesByScore(entries []entry, scores []float64) ([]pairMerge, error) {
	var order []int32
	for id, e := range entries {
		if e.kind == ordinary {
			order = append(order, int32(id))
		}
		if math.IsNaN(scores[id]) {
			return nil, fmt.Errorf("token %d (%q) has a score that is no number", id, e.text)
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(a, b))
	})
	var list []pairMerge
	rank := 0
	for i, id := range order {
		if i > 0 && scores[id] != scores[order[i-1]] {
			rank++
		}
		text := entries[id].text
		for cut := range text {
			left, ok := m.ids[text[:cut]]
			if !ok || cut == 0 {
				continue
			}
			if right, ok := m.ids[text[cut:]]; ok {
				list = append(list, pairMerge{left, right, id, rank})
			}
		}
	}
	return list, nil
}

// buildSentencePiece builds the tokenizer of a tokenizer.json with byte_fallback.
func (f *file) buildSentencePiece() (*Tokenizer, error) {
	form, err := readEscape(f.Normalizer)
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if err := checkNoPreTokenizer(f.PreTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if err := checkUnescape(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if f.Model.IgnoreMerges {
		return nil, errors.New("model: ignore_merges is not supported together with byte_fallback")
	}
	entries, err := f.entries()
	if err != nil {
		return nil, err
	}
	f.markSentencePiece(entries)
	t, err := newSentencePiece(entries)
	if err != nil {
		return nil, err
	}
	t.form = form
	if err := t.model.indexMerges(entries, f.Model.Merges); err != nil {
		return nil, err
	}
	return t, f.addTokens(t)
}

// markSentencePiece tells the pieces apart that are bytes, and those that were
// added without being special: they are plain text.
func (f *file) markSentencePiece(entries []entry) {
	for _, a := range f.AddedTokens {
		if !a.Special {
			entries[a.Id].kind = userDefined
		}
	}
	for id, e := range entries {
		if _, ok := byteOf(e.text); ok && e.kind == ordinary {
			entries[id].kind = oneByte
		}
	}
}

// readEscape reads the normaliser that writes spaces as U+2581, with or without
// one before the text.
func readEscape(raw json.RawMessage) (form, error) {
	if isNull(raw) {
		return 0, errors.New("missing: byte_fallback is supported with the one that writes spaces as U+2581")
	}
	var top part
	if err := strict(raw, &top); err != nil {
		return 0, err
	}
	parts, form := []part{top}, escaped
	if top.Type == "Sequence" {
		parts = top.Normalizers
	}
	if len(parts) > 0 && parts[0].Type == "Prepend" && parts[0].Prepend == blank {
		parts, form = parts[1:], escapedAfterSpace
	}
	if len(parts) != 1 || !parts[0].replaces(" ", blank) {
		return 0, errors.New("only Replace of a space by U+2581 is supported with byte_fallback, alone or behind Prepend of U+2581")
	}
	return form, nil
}

func (c *part) replaces(from, to string) bool {
	return c.Type == "Replace" && c.Pattern != nil && c.Pattern.String == from && c.Content == to
}

// checkNoPreTokenizer accepts none, and gemma's, which cuts at spaces that the
// normaliser has replaced before.
func checkNoPreTokenizer(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var p part
	if err := strict(raw, &p); err != nil {
		return err
	}
	if p.Type != "Split" || p.Pattern == nil || p.Pattern.String != " " {
		return fmt.Errorf("type %q is not supported with byte_fallback: only none and Split at spaces are", p.Type)
	}
	return nil
}

// checkUnescape accepts the decoder that undoes the above.
func checkUnescape(raw json.RawMessage) error {
	var d part
	if isNull(raw) {
		return errors.New("missing: a Sequence with ByteFallback is supported")
	}
	if err := strict(raw, &d); err != nil {
		return err
	}
	fallback := false
	for _, p := range d.Decoders {
		fallback = fallback || p.Type == "ByteFallback"
		if p.Type == "Replace" && !p.replaces(blank, " ") {
			return errors.New("only Replace of U+2581 by a space is supported")
		}
	}
	if d.Type != "Sequence" || !fallback {
		return errors.New("only a Sequence with ByteFallback is supported with byte_fallback")
	}
	return nil
}
