package tokenizer

import (
	"errors"
	"maps"

	sugarme "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/normalizer"
)

// Pipeline assembles sugarme's tokenizer from these parts, for callers that want
// its encodings: offsets, words, masks. Its ids are those of Encode; it knows no
// added tokens in texts, since sugarme's added vocabulary cannot be replaced and
// misses some. It is some hundred times slower than Encode, and it fails where a
// word has no token at all. It is for byte-level vocabularies, and nil for others.
func (t *Tokenizer) Pipeline() *sugarme.Tokenizer {
	if t.model.characters {
		return nil
	}
	p := sugarme.NewTokenizer(pipelineModel{t})
	p.WithPreTokenizer(pipelinePreTokenizer{t})
	p.WithDecoder(pipelineDecoder{})
	if t.form == composed {
		p.WithNormalizer(pipelineNFC{})
	}
	return p
}

// pipelineModel is the BPE model behind sugarme's Model. Tokens are text in the
// byte alphabet there.
type pipelineModel struct{ t *Tokenizer }

// Tokenize implements sugarme.Model for one word in the byte alphabet.
func (m pipelineModel) Tokenize(word string) ([]sugarme.Token, error) {
	raw, ok := appendBytes(nil, word)
	if !ok {
		return nil, errors.New("bpe: the word holds characters outside the byte alphabet")
	}
	var tokens []sugarme.Token
	end := 0
	for _, id := range m.t.model.appendWord(nil, string(raw)) {
		text, _ := m.IdToToken(int(id))
		start := end
		end += len(text)
		tokens = append(tokens, sugarme.NewToken(int(id), text, []int{start, end}))
	}
	return tokens, nil
}

// TokenToId implements sugarme.Model. Added tokens are part of the vocabulary.
func (m pipelineModel) TokenToId(token string) (int, bool) {
	id, ok := m.t.model.ids[token]
	if !ok {
		id, ok = m.t.added.ids[token]
	}
	return int(id), ok
}

// IdToToken implements sugarme.Model.
func (m pipelineModel) IdToToken(id int) (string, bool) {
	if id < 0 || id >= len(m.t.model.pieces) || m.t.model.pieces[id] == "" {
		return "", false
	}
	piece := m.t.model.pieces[id]
	text := string(appendLetters(nil, piece))
	if known, ok := m.t.model.ids[text]; ok && int(known) == id {
		return text, true
	}
	return piece, true
}

// GetVocab implements sugarme.Model.
func (m pipelineModel) GetVocab() map[string]int {
	vocab := make(map[string]int, len(m.t.model.ids)+len(m.t.added.ids))
	for _, ids := range []map[string]int32{m.t.model.ids, m.t.added.ids} {
		for text, id := range maps.All(ids) {
			vocab[text] = int(id)
		}
	}
	return vocab
}

// GetVocabSize implements sugarme.Model.
func (m pipelineModel) GetVocabSize() int { return m.t.Len() }

// Save implements sugarme.Model by refusing: the source of the vocabulary stays
// its only copy.
func (m pipelineModel) Save(string, ...string) error {
	return errors.New("bpe: saving is not supported: keep the tokenizer.json or GGUF it came from")
}

// pipelinePreTokenizer is the pre-tokeniser behind sugarme's interface. It also
// writes the words in the byte alphabet, within Split: sugarme's own Normalize
// loses the pieces that already have tokens.
type pipelinePreTokenizer struct{ t *Tokenizer }

// PreTokenize implements sugarme.PreTokenizer.
func (p pipelinePreTokenizer) PreTokenize(text *sugarme.PreTokenizedString) (*sugarme.PreTokenizedString, error) {
	return text.Split(func(_ int, s *normalizer.NormalizedString) []sugarme.SplitIdx {
		if p.t.pre.prefixSpace {
			return p.loose(s)
		}
		var words []sugarme.SplitIdx
		start := 0
		p.t.pre.split(s.GetNormalized(), func(piece string) {
			end := start + len(piece)
			word := s.Slice(normalizer.NewRange(start, end, normalizer.NormalizedTarget))
			words = append(words, sugarme.SplitIdx{Normalized: spell(word)})
			start = end
		})
		return words
	}), nil
}

// loose gives the words without offsets into the text, which the spaces put
// before them would shift.
func (p pipelinePreTokenizer) loose(s *normalizer.NormalizedString) []sugarme.SplitIdx {
	var words []sugarme.SplitIdx
	p.t.pre.split(s.GetNormalized(), func(piece string) {
		words = append(words, sugarme.SplitIdx{Normalized: spell(normalizer.NewNormalizedFrom(piece))})
	})
	return words
}

// spell writes a word in the byte alphabet; a character's later bytes count as
// inserted behind its first.
func spell(word *normalizer.NormalizedString) *normalizer.NormalizedString {
	var changes []normalizer.ChangeMap
	for _, r := range word.GetNormalized() {
		for i, b := range []byte(string(r)) {
			changes = append(changes, normalizer.ChangeMap{RuneVal: string(alphabet[b]), Changes: min(i, 1)})
		}
	}
	return word.Transform(changes, 0)
}

// pipelineDecoder turns tokens in the byte alphabet back into text.
type pipelineDecoder struct{}

// Decode implements sugarme.Decoder.
func (d pipelineDecoder) Decode(tokens []string) string {
	var text []byte
	for _, piece := range d.DecodeChain(tokens) {
		text = append(text, piece...)
	}
	return string(text)
}

// DecodeChain implements sugarme.Decoder. A token outside the byte alphabet is
// an added one, and literal.
func (pipelineDecoder) DecodeChain(tokens []string) []string {
	pieces := make([]string, len(tokens))
	for i, token := range tokens {
		pieces[i] = token
		if raw, ok := appendBytes(nil, token); ok {
			pieces[i] = string(raw)
		}
	}
	return pieces
}

// pipelineNFC is the NFC normaliser behind sugarme's interface. Offsets then
// refer to the normalised text.
type pipelineNFC struct{}

// Normalize implements normalizer.Normalizer.
func (pipelineNFC) Normalize(s *normalizer.NormalizedString) (*normalizer.NormalizedString, error) {
	return normalizer.NewNormalizedFrom(nfc(s.GetNormalized())), nil
}
