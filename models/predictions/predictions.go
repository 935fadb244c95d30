// Package predictions reads what a training platform's own run of a model answered
// on the model's test set, and finds the label in what a model wrote.
//
// Goal: an import can be held against the platform's answers, row by row. Rule: a
// row that is not understood is reported with its line and never guessed at.
package predictions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxRow is the most bytes one line may have.
const maxRow = 16 << 20

// Row is one answer of the platform's model.
type Row struct {
	Line      int    // of the file, from 1
	Text      string // the last user message, or the question
	System    string // the system message; empty where there is none
	HasPrompt bool   // the row holds the messages that were sent
	Turns     int    // messages between the system message and the last user message: examples
	Reference string // what the test set says, as it is written there
	Written   string // what the model wrote
}

// RowError is a line that is no such row.
type RowError struct {
	Line   int
	Reason string
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Read reads a predictions file: JSONL, a row for each text. Rows have "question",
// "answer" and "prediction", or "prompt", a list of messages or that list as a
// JSON string, with "completion" and "prediction", each a string or a message.
// Rows that are neither are returned as errors; a file with none that is one fails.
func Read(r io.Reader) (rows []Row, bad []*RowError, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for line := 1; ; line++ {
		data, err := readLine(br)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", line, err)
		}
		if line == 1 {
			data = bytes.TrimPrefix(data, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(data)) == 0 {
			continue
		}
		row, err := parse(data)
		if err != nil {
			bad = append(bad, &RowError{line, err.Error()})
			continue
		}
		row.Line = line
		rows = append(rows, row)
	}
	switch {
	case len(rows) > 0:
		return rows, bad, nil
	case len(bad) > 0:
		return nil, nil, fmt.Errorf("no row of it is a prediction: %w", bad[0])
	}
	return nil, nil, errors.New("it holds no rows")
}

// readLine returns the next line; io.EOF behind the last.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > maxRow {
			return nil, fmt.Errorf("it is longer than %d MiB", maxRow>>20)
		}
		line = append(line, part...)
		switch {
		case err == nil, err == io.EOF && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func parse(data []byte) (Row, error) {
	if !utf8.Valid(data) {
		return Row{}, errors.New("it is not valid UTF-8")
	}
	var fields struct {
		Question, Answer               *string
		Prompt, Completion, Prediction json.RawMessage
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return Row{}, fmt.Errorf("it is not a JSON object of a prediction: %w", err)
	}
	if missing(fields.Prediction) {
		return Row{}, errors.New("it has no prediction")
	}
	var row Row
	var err error
	switch {
	case !missing(fields.Prompt):
		if row, err = parsePrompt(fields.Prompt); err != nil {
			return row, fmt.Errorf("prompt: %w", err)
		}
		if missing(fields.Completion) {
			return row, errors.New("it has no completion")
		}
		if row.Reference, err = written(fields.Completion); err != nil {
			return row, fmt.Errorf("completion: %w", err)
		}
	case fields.Question != nil && fields.Answer != nil:
		row.Text, row.Reference = *fields.Question, *fields.Answer
	default:
		return row, errors.New("it has neither a prompt nor a question with its answer")
	}
	if row.Written, err = written(fields.Prediction); err != nil {
		return row, fmt.Errorf("prediction: %w", err)
	}
	return row, nil
}

func missing(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// message is one of a conversation.
type message struct {
	Role    *string `json:"role"`
	Content *string `json:"content"`
}

// parsePrompt reads a list of messages, or a JSON string with one.
func parsePrompt(raw json.RawMessage) (Row, error) {
	var inner string
	if json.Unmarshal(raw, &inner) == nil {
		raw = json.RawMessage(inner)
	}
	var list []message
	if err := json.Unmarshal(raw, &list); err != nil {
		return Row{}, errors.New(`it is neither a list of {"role": "…", "content": "…"} nor a string with one`)
	}
	user, first := -1, 0
	for i, m := range list {
		if m.Role == nil || m.Content == nil {
			return Row{}, fmt.Errorf("message %d has no role or no content", i+1)
		}
		if *m.Role == "user" {
			user = i
		}
	}
	if user < 0 {
		return Row{}, errors.New("no message is the user's")
	}
	row := Row{Text: *list[user].Content, HasPrompt: true}
	if *list[0].Role == "system" {
		row.System, first = *list[0].Content, 1
	}
	row.Turns = user - first
	return row, nil
}

// written is the text of an answer: a string, a message, a list that ends with
// one, either of these as a JSON string, or an object {"label": "…"} as it stands.
func written(raw json.RawMessage) (string, error) {
	if text, ok := messageText(raw); ok {
		return text, nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if text, ok := messageText(json.RawMessage(s)); ok {
			return text, nil
		}
		return s, nil
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '{' {
		return string(trimmed), nil
	}
	return "", errors.New("it is neither a string nor a message")
}

// messageText returns the content of a message, or of the last of a list.
func messageText(raw json.RawMessage) (string, bool) {
	var list []message
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		last := list[len(list)-1]
		return text(last)
	}
	var m message
	if json.Unmarshal(raw, &m) != nil {
		return "", false
	}
	return text(m)
}

// text is a message's content, empty where that is null.
func text(m message) (string, bool) {
	switch {
	case m.Role == nil:
		return "", false
	case m.Content == nil:
		return "", true
	}
	return *m.Content, true
}

// key is what texts are matched by: a table may have changed their line ends, and a
// chat template the space around them.
func key(text string) string { return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) }

// Match finds the row of each text, -1 for none: of equal texts the first gets the
// first row, and so on. Unused counts the rows that no text has.
func Match(texts []string, rows []Row) (at []int, unused int) {
	rest := map[string][]int{}
	for i, r := range rows {
		k := key(r.Text)
		rest[k] = append(rest[k], i)
	}
	at = make([]int, len(texts))
	unused = len(rows)
	for i, t := range texts {
		k := key(t)
		if len(rest[k]) == 0 {
			at[i] = -1
			continue
		}
		at[i] = rest[k][0]
		rest[k] = rest[k][1:]
		unused--
	}
	return at, unused
}

// Unwrap takes off what a client puts around a text, where it is there.
func Unwrap(text, before, after string) string {
	if strings.TrimSpace(before+after) == "" {
		return text
	}
	inner, ok := strings.CutPrefix(strings.TrimLeft(text, spaces), strings.TrimLeft(before, spaces))
	if !ok {
		return text
	}
	inner, ok = strings.CutSuffix(strings.TrimRight(inner, spaces), strings.TrimRight(after, spaces))
	if !ok {
		return text
	}
	return inner
}

const spaces = " \t\r\n"
