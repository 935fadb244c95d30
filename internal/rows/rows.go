// Package rows reads the texts people hand in: labelled or bare, as CSV with a
// header or as JSONL, one row at a time in constant memory.
//
// Goal: no row is silently lost or changed. Rule: whatever is not understood
// is an error that names the file, the line, what was found and what would
// have been right. Known hole: encoding/csv skips blank lines and turns CRLF
// inside a quoted cell into LF.
package rows

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MaxRow is the most bytes one CSV record or JSONL line may have: far above
// any text a model reads, and small enough to hold.
const MaxRow = 16 << 20

// Stdin is the path that means standard input.
const Stdin = "-"

// textKeys are the column or key names a text may stand under, and answerKey
// is that of its label; letter case and surrounding space do not matter.
var textKeys = []string{"question", "text", "context", "input"}

const (
	answerKey   = "answer"
	messagesKey = "messages"
)

// Row is one text, and its label where the rows are labelled.
type Row struct {
	Line   int    // line of the file it begins on, from 1
	Text   string // valid UTF-8; may be empty
	Answer string // not empty where a label was asked for, else always empty
}

// Need says what every row must have.
type Need int

const (
	Text    Need = iota // a text; labels are ignored
	Labeled             // a text and its label
)

// Error is a row or file that cannot be read.
type Error struct {
	Name    string // of the file
	Line    int    // from 1; 0 where the whole file is meant
	Message string
	Cause   error // of a failed read, else nil
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Name, e.Message)
	}
	return fmt.Sprintf("%s:%d: %s", e.Name, e.Line, e.Message)
}

func (e *Error) Unwrap() error { return e.Cause }

// Reader yields rows in file order.
type Reader struct {
	name  string
	inner source
	close func() error
	err   error // the first error, which every later Read repeats
}

// source is one file format. Its errors need no file name.
type source interface {
	read() (Row, error)
}

// Open opens the file at path, or stdin for Stdin. The format follows from the
// extension (.csv, .jsonl, .ndjson, .json), else from the first byte.
func Open(path string, stdin io.Reader, need Need) (*Reader, error) {
	if path == Stdin {
		return New(stdin, "standard input", need)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names the path and the reason
	}
	r, err := New(f, path, need)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.close = f.Close
	return r, nil
}

// New reads rows from r; name stands in errors, and its extension may choose
// the format. It reads the beginning, so an unfit header fails here.
func New(r io.Reader, name string, need Need) (*Reader, error) {
	br := bufio.NewReaderSize(r, bufferSize)
	jsonl, err := sniff(br, name)
	if err != nil {
		return nil, named(name, err)
	}
	if jsonl {
		return &Reader{name: name, inner: newJSONL(br, need)}, nil
	}
	c, err := newCSV(br, need)
	if err != nil {
		return nil, named(name, err)
	}
	return &Reader{name: name, inner: c}, nil
}

// Read returns the next row, or io.EOF after the last. Any other error is
// final.
func (r *Reader) Read() (Row, error) {
	if r.err != nil {
		return Row{}, r.err
	}
	row, err := r.inner.read()
	if err != nil {
		r.err = named(r.name, err)
		return Row{}, r.err
	}
	return row, nil
}

// All yields the rows that are left; an error ends it.
func (r *Reader) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			row, err := r.Read()
			if err == io.EOF || !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// ReadAll returns the rows that are left; none is an error.
func (r *Reader) ReadAll() ([]Row, error) {
	var all []Row
	for row, err := range r.All() {
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	if len(all) == 0 {
		return nil, &Error{Name: r.name, Message: "holds no rows"}
	}
	return all, nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// bufferSize is how far the format is looked for, and how far a reader may run
// ahead of the row it parses.
const bufferSize = 64 << 10

var utf8BOM = []byte("\xef\xbb\xbf")

// sniff tells JSONL from CSV and skips a byte order mark.
func sniff(br *bufio.Reader, name string) (jsonl bool, err error) {
	head, err := peek(br)
	if err != nil {
		return false, err
	}
	if bytes.HasPrefix(head, utf8BOM) {
		br.Discard(len(utf8BOM)) //nolint:errcheck // it was peeked
		head = head[len(utf8BOM):]
	}
	if err := refuse(head); err != nil {
		return false, err
	}
	first := bytes.TrimLeft(head, " \t\r\n")
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return false, nil
	case ".jsonl", ".ndjson", ".json":
		jsonl = true
	default:
		jsonl = len(first) > 0 && (first[0] == '{' || first[0] == '[')
	}
	if jsonl && len(first) > 0 && first[0] == '[' {
		return false, errors.New("is a JSON array; expected JSONL, one object a line")
	}
	return jsonl, nil
}

// peek returns what has arrived, at least up to the first byte that is no
// space: it does not wait for a slow writer to fill the buffer.
func peek(br *bufio.Reader) ([]byte, error) {
	for n := 4; ; n = br.Buffered() + 1 {
		_, err := br.Peek(n)
		head, _ := br.Peek(br.Buffered())
		blank := len(bytes.TrimSpace(bytes.TrimPrefix(head, utf8BOM))) == 0
		if err == io.EOF || err == nil && (!blank || len(head) == bufferSize) {
			return head, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// refuse names the beginnings that are no text of ours.
func refuse(head []byte) error {
	switch {
	case len(bytes.TrimSpace(head)) == 0:
		return errors.New("is empty; expected CSV with a header, or JSONL")
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return errors.New("is compressed with gzip; unpack it first")
	case bytes.HasPrefix(head, []byte{'P', 'K', 3, 4}):
		return errors.New("is a zip archive or spreadsheet; save it as CSV")
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return errors.New("is UTF-16; save it as UTF-8")
	}
	return nil
}

// column returns the role a column or key name plays: one of textKeys,
// answerKey, messagesKey, or "" for one that is ignored.
func column(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == answerKey || name == messagesKey || slices.Contains(textKeys, name) {
		return name
	}
	return ""
}

// lineError is an error at a line of the file at hand.
func lineError(line int, format string, args ...any) *Error {
	return &Error{Line: line, Message: fmt.Sprintf(format, args...)}
}

// named gives an error the file's name.
func named(name string, err error) error {
	if err == io.EOF {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Name = name
		return e
	}
	return &Error{Name: name, Message: err.Error(), Cause: err}
}
