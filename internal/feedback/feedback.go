// Package feedback keeps what people say of answers, as lines of JSON in one file, and
// turns it into training rows.
package feedback

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"cubby/internal/journal"
)

// maxLine bounds a line of the file, in bytes.
const maxLine = 16 << 20

// Feedback is what a person, or another system, says of an answer.
type Feedback struct {
	Time        time.Time `json:"time"`
	ID          string    `json:"id"`
	Model       string    `json:"model"`
	Artifact    string    `json:"artifact"`
	Label       string    `json:"label"`               // the true one
	Predicted   string    `json:"predicted,omitempty"` // empty where the answer is not remembered
	Probability float64   `json:"probability,omitempty"`
	Text        string    `json:"text,omitempty"` // where the sender gave it, as a row to train with
}

// File is a file of feedback that is written to.
type File struct{ lines *journal.File }

// Open opens a file for appending, or makes it, for its owner alone. See journal.Open.
func Open(name string) (*File, error) {
	lines, err := journal.Open(name, 0o600, nil)
	if err != nil {
		return nil, err
	}
	return &File{lines}, nil
}

// Keep appends feedback and makes it durable. Where it fails none of it is kept; of a
// process that is killed in it the first lines may be.
func (f *File) Keep(list []Feedback) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, x := range list {
		if err := e.Encode(x); err != nil {
			return err
		}
	}
	_, err := f.lines.Write(b.Bytes())
	return err
}

// Close closes the file.
func (f *File) Close() error { return f.lines.Close() }

// Formats of training rows: those that distil labs' platform has taken over the years.
const (
	Messages = "messages" // {"messages": [user, assistant]}
	Flat     = "question" // {"question", "answer"}
	Traces   = "traces"   // {"messages": [user, assistant]}, as logged traffic, without what strays in a line
)

// Export writes the feedback of a model that came with its text as training rows, and
// returns how many there were with and without. Of an id, the label that was said last
// counts, and the last text.
func Export(w io.Writer, r io.Reader, model, format string) (written, textless int, err error) {
	if _, err := row(format, Feedback{}); err != nil {
		return 0, 0, err
	}
	list, err := read(r, model)
	if err != nil {
		return 0, 0, err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, f := range list {
		if strings.TrimSpace(f.Text) == "" {
			textless++
			continue
		}
		row, err := row(format, f)
		if err == nil {
			err = e.Encode(row)
		}
		if err != nil {
			return written, textless, err
		}
		written++
	}
	return written, textless, nil
}

// read returns the last feedback of each id, in the order in which the ids came.
func read(r io.Reader, model string) ([]Feedback, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	var list []Feedback
	place := map[string]int{}
	for n := 1; in.Scan(); n++ {
		var f Feedback
		if err := json.Unmarshal(in.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if f.ID == "" || f.Label == "" {
			return nil, fmt.Errorf("line %d: no feedback: it has no id or no label", n)
		}
		if model != "" && f.Model != model {
			continue
		}
		key := f.Model + "\n" + f.ID
		if i, ok := place[key]; ok {
			f.Text = cmp.Or(f.Text, list[i].Text)
			list[i] = f
			continue
		}
		place[key] = len(list)
		list = append(list, f)
	}
	return list, in.Err()
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type conversation struct {
	Messages []message `json:"messages"`
}

func row(format string, f Feedback) (any, error) {
	switch format {
	case Messages:
		return conversation{[]message{{"user", f.Text}, {"assistant", f.Label}}}, nil
	case Traces:
		return conversation{[]message{{"user", plain(f.Text)}, {"assistant", f.Label}}}, nil
	case Flat:
		return struct {
			Question string `json:"question"`
			Answer   string `json:"answer"`
		}{f.Text, f.Label}, nil
	}
	return nil, fmt.Errorf("there is no format %q: there are %s, %s and %s", format, Messages, Flat, Traces)
}

// plain takes out what the platform refuses in traces: control characters but tabs and
// line feeds, and the Unicode line and paragraph separators.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, s)
}
