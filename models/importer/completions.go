package importer

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path"

	"cubby/models/predictions"
)

// rowNames are those of the files that a model was trained and tested on, in a
// package or beside it.
var rowNames = []string{"train.jsonl", "test.jsonl", "train.csv", "test.csv"}

// Bounds on what is read of such a file.
const (
	maxCompletions = 200
	maxLine        = 4 << 20
)

// predicted returns what the platform's model wrote on its test set: in the named
// file, or in the one in the package or beside it. One that is not in order shows
// nothing here.
func (p *pack) predicted(file string) []string {
	if file == "" {
		file = p.document(predictionsName)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	rows, _, err := predictions.Read(f)
	if err != nil {
		return nil
	}
	var list []string
	for _, row := range rows {
		list = append(list, row.Written)
	}
	return list
}

// completions returns the first answers of the rows, as they are written. A file or
// row that is not in order shows nothing here.
func (p *pack) completions() []string {
	var list []string
	for _, name := range rowNames {
		f, err := os.Open(p.document(name))
		if err != nil {
			continue
		}
		if path.Ext(name) == ".csv" {
			list = csvCompletions(f, list)
		} else {
			list = jsonCompletions(f, list)
		}
		_ = f.Close() // it was only read
	}
	return list
}

func csvCompletions(r io.Reader, list []string) []string {
	c := csv.NewReader(io.LimitReader(r, maxLine))
	c.FieldsPerRecord = -1
	column := -1
	for n := 0; n < maxCompletions; n++ {
		record, err := c.Read()
		if err != nil {
			return list
		}
		if n == 0 {
			for i, name := range record {
				if name == "answer" {
					column = i
				}
			}
			continue
		}
		if column >= 0 && column < len(record) {
			list = append(list, record[column])
		}
	}
	return list
}

func jsonCompletions(r io.Reader, list []string) []string {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 0; n < maxCompletions && s.Scan(); n++ {
		var row struct {
			Answer   string
			Messages []struct{ Role, Content string }
		}
		if json.Unmarshal(s.Bytes(), &row) != nil {
			continue
		}
		if n := len(row.Messages); n > 0 && row.Messages[n-1].Role == "assistant" {
			row.Answer = row.Messages[n-1].Content
		}
		if row.Answer != "" {
			list = append(list, row.Answer)
		}
	}
	return list
}
