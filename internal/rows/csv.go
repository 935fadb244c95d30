package rows

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// csvSource reads RFC 4180 CSV whose first record names the columns.
type csvSource struct {
	csv    *csv.Reader
	guard  *guard
	line   int // where the record read last begins
	need   Need
	text   int  // column of the text
	chat   bool // it holds messages as JSON, the label among them
	answer int  // column of the label; -1 where none is asked for
}

func newCSV(br *bufio.Reader, need Need) (*csvSource, error) {
	g := &guard{r: br}
	s := &csvSource{csv: csv.NewReader(g), guard: g, need: need, answer: -1}
	s.csv.ReuseRecord = true
	header, err := s.record()
	if err != nil {
		return nil, err
	}
	if err := s.columns(header, need); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *csvSource) columns(header []string, need Need) error {
	at := map[string]int{}
	var texts []string
	for i, name := range header {
		role := column(name)
		if role == "" {
			continue
		}
		if _, ok := at[role]; ok {
			return lineError(s.line, "two columns are called %q", role)
		}
		at[role] = i
		if role != answerKey {
			texts = append(texts, role)
		}
	}
	if len(texts) > 1 {
		return lineError(s.line, "more than one text column: %s; keep one", strings.Join(texts, ", "))
	}
	if len(texts) == 0 {
		return lineError(s.line, "no text column: found %s; expected one of %s, or %s%s",
			list(header), strings.Join(textKeys, ", "), messagesKey, separatorHint(header))
	}
	s.text, s.chat = at[texts[0]], texts[0] == messagesKey
	if need == Text {
		return nil
	}
	answer, ok := at[answerKey]
	if s.chat && ok {
		return lineError(s.line, "columns %s and %s: keep one", messagesKey, answerKey)
	}
	if s.chat {
		return nil
	}
	s.answer = answer
	if !ok {
		return lineError(s.line, "no column %q: found %s; each row needs its label", answerKey, list(header))
	}
	return nil
}

func (s *csvSource) read() (Row, error) {
	record, err := s.record()
	if err != nil {
		return Row{}, err
	}
	if s.chat {
		return s.conversation([]byte(record[s.text]))
	}
	row := Row{Line: s.line, Text: strings.Clone(record[s.text])}
	if s.answer < 0 {
		return row, nil
	}
	if row.Answer = strings.Clone(record[s.answer]); row.Answer == "" {
		return Row{}, lineError(s.line, "column %q is empty; each row needs its label", answerKey)
	}
	return row, nil
}

// conversation is a row whose text and label are messages.
func (s *csvSource) conversation(cell []byte) (Row, error) {
	if !json.Valid(cell) {
		return Row{}, lineError(s.line, "column %q: %v", messagesKey, invalidJSON(cell))
	}
	row, err := rowOfMessages(map[string]json.RawMessage{messagesKey: cell}, s.need)
	if err != nil {
		return Row{}, lineError(s.line, "%v", err)
	}
	row.Line = s.line
	return row, nil
}

// record reads one record of valid UTF-8; it is valid until the next call.
func (s *csvSource) record() ([]string, error) {
	s.guard.limit = s.csv.InputOffset() + MaxRow + bufferSize
	record, err := s.csv.Read()
	if err != nil {
		return nil, s.explain(err, len(record))
	}
	s.line, _ = s.csv.FieldPos(0)
	for i, field := range record {
		if !utf8.ValidString(field) {
			at, _ := s.csv.FieldPos(i)
			return nil, lineError(at, "column %d is not valid UTF-8; save the file as UTF-8", i+1)
		}
	}
	return record, nil
}

// explain puts what encoding/csv found into the reader's own form; columns is
// the length of the record at fault.
func (s *csvSource) explain(err error, columns int) error {
	if err == errRowTooLong {
		return lineError(s.line, "the row after this line is longer than %d MiB, or a quote is not closed", MaxRow>>20)
	}
	p, ok := errors.AsType[*csv.ParseError](err)
	switch {
	case !ok:
		return err
	case errors.Is(p.Err, csv.ErrFieldCount):
		return lineError(p.StartLine, "has %d columns; the header has %d", columns, s.csv.FieldsPerRecord)
	case errors.Is(p.Err, csv.ErrQuote), errors.Is(p.Err, csv.ErrBareQuote):
		return lineError(p.StartLine, `stray or unclosed quote; a cell with quotes is written "like ""this"""`)
	}
	return lineError(p.StartLine, "%v", p.Err)
}

// list shows a header, cut to a length an error can carry.
func list(header []string) string {
	const most = 200
	s := fmt.Sprintf("%q", header)
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func separatorHint(header []string) string {
	if len(header) == 1 && strings.ContainsAny(header[0], ";\t|") {
		return "; columns are separated by commas"
	}
	return ""
}

// guard fails a read that would go past limit, so that an unclosed quote
// cannot take the whole file into memory.
type guard struct {
	r     io.Reader
	n     int64 // bytes read so far
	limit int64
}

var errRowTooLong = errors.New("row too long")

func (g *guard) Read(p []byte) (int, error) {
	if g.n >= g.limit {
		return 0, errRowTooLong
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.limit-g.n)])
	g.n += int64(n)
	return n, err
}
