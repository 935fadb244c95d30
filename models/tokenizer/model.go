package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// kind says what may yield a token.
type kind uint8

const (
	absent   kind = iota // a hole in the ids
	ordinary             // any text
	added                // EncodeSpecial only
	unused               // nothing: padding of the vocabulary

	// Of SentencePiece vocabularies only:
	userDefined // text that spells it, before any merge
	oneByte     // a byte of a character without a token
)

// maxTokens bounds the ids of a vocabulary: the largest in use hold about
// 262,000 tokens.
const maxTokens = 1 << 20

// entry is one id of a vocabulary: an ordinary token in the byte alphabet,
// another kind as its literal text.
type entry struct {
	text string
	kind kind
}

// model is the BPE model. Its symbols are bytes, or in a SentencePiece vocabulary
// characters.
type model struct {
	characters   bool
	ids          map[string]int32 // ordinary tokens, spelt in the byte alphabet, or as they are
	pieces       []string         // the bytes each id stands for
	bytes        [256]int32       // the token of one byte; -1 where there is none
	merges       pairTable
	ignoreMerges bool // a word that is a token is that token, merges or not
}

func newModel(entries []entry, merges [][2]string, ignoreMerges bool) (model, error) {
	m := model{ignoreMerges: ignoreMerges}
	if err := m.indexTokens(entries); err != nil {
		return m, err
	}
	for b := range m.bytes {
		m.bytes[b] = -1
		if id, ok := m.ids[string(alphabet[b])]; ok {
			m.bytes[b] = id
		}
	}
	return m, m.indexMerges(entries, merges)
}

// indexTokens fills ids and pieces. Pieces that are spelt as in the vocabulary
// share its text, the others are cut from one block.
func (m *model) indexTokens(entries []entry) error {
	m.ids = make(map[string]int32, len(entries))
	m.pieces = make([]string, len(entries))
	var block []byte
	cuts := make([]int, len(entries)+1)
	for id, e := range entries {
		m.pieces[id] = e.text
		if e.kind == ordinary {
			if other, ok := m.ids[e.text]; ok {
				return fmt.Errorf("tokens %d and %d are both %q", other, id, e.text)
			}
			m.ids[e.text] = int32(id)
			if raw, ok := appendBytes(block, e.text); ok {
				block = raw
			}
		}
		cuts[id+1] = len(block)
	}
	all := string(block)
	for id := range entries {
		if raw := all[cuts[id]:cuts[id+1]]; raw != "" && raw != m.pieces[id] {
			m.pieces[id] = raw
		}
	}
	return nil
}

// indexMerges fills the merge table. A merge that makes an added token is left
// out: plain text must not yield one.
func (m *model) indexMerges(entries []entry, merges [][2]string) error {
	others := map[string]bool{}
	for _, e := range entries {
		if e.kind == added || e.kind == unused || e.kind == oneByte {
			others[e.text] = true
		}
	}
	m.merges = newPairTable(len(merges))
	var buf []byte
	for rank, merge := range merges {
		left, okLeft := m.ids[merge[0]]
		right, okRight := m.ids[merge[1]]
		buf = append(append(buf[:0], merge[0]...), merge[1]...)
		result, okResult := m.ids[string(buf)]
		if okLeft && okRight && okResult {
			m.merges.put(left, right, rank, result)
			continue
		}
		for _, s := range [...]string{merge[0], merge[1], string(buf)} {
			if _, ok := m.ids[s]; !ok && !others[s] {
				return fmt.Errorf("merge %d (%q + %q): %q is not in the vocabulary", rank, merge[0], merge[1], s)
			}
		}
	}
	return nil
}

// cutMerge reads a merge written as two tokens with a space between.
func cutMerge(line string) ([2]string, error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return [2]string{}, fmt.Errorf("merge %q is not two tokens with a space between", line)
	}
	return [2]string{left, right}, nil
}

var errNoTokens = errors.New("the vocabulary is empty")

func newTokenizer(entries []entry, merges [][2]string, ignoreMerges bool) (*Tokenizer, error) {
	if len(entries) == 0 {
		return nil, errNoTokens
	}
	if len(entries) > maxTokens {
		return nil, fmt.Errorf("%d token ids: at most %d are supported", len(entries), maxTokens)
	}
	m, err := newModel(entries, merges, ignoreMerges)
	if err != nil {
		return nil, err
	}
	return &Tokenizer{model: m, words: newWordCache(), added: newAddedTokens()}, nil
}
