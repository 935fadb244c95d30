package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"cubby/eval"
	"cubby/labels"
)

// answerColumns are what the column of a file of answers may be called, and placeColumns
// that which tells the row: by its number from 0, or by its line.
var (
	answerColumns = []string{"answer", "prediction", "label"}
	placeColumns  = []string{"row", "line"}
)

// readAnswers reads a CSV file with one label for each row: in the rows' order, or with
// their numbers. What is no label of the set is an error of that row.
func readAnswers(name string, set *labels.Set, rows []eval.Row) (answers []eval.Answer, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	in := csv.NewReader(f)
	header, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("it has no header: %w", err)
	}
	at := func(names []string) int {
		return slices.IndexFunc(header, func(h string) bool { return slices.Contains(names, h) })
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	answer, place := at(answerColumns), at(placeColumns)
	if answer < 0 {
		return nil, fmt.Errorf("its header has none of the columns %q", answerColumns)
	}
	answers = make([]eval.Answer, len(rows))
	given := make([]bool, len(rows))
	for n := 0; ; n++ {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		i := n
		if place >= 0 {
			i = rowAt(header[place], record[place], rows)
		}
		if i < 0 || i >= len(rows) || given[i] {
			line, _ := in.FieldPos(0)
			return nil, fmt.Errorf("line %d: it answers no row of the data, or one that has an answer", line)
		}
		given[i], answers[i] = true, labelled(set, record[answer])
	}
	if i := slices.Index(given, false); i >= 0 {
		return nil, fmt.Errorf("it has no answer to the row of line %d", rows[i].Line)
	}
	return answers, nil
}

// rowAt is the index of a row, or -1.
func rowAt(column, value string, rows []eval.Row) int {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return -1
	case column == placeColumns[0]:
		return n
	}
	return slices.IndexFunc(rows, func(r eval.Row) bool { return r.Line == n })
}

// labelled is an answer without probabilities.
func labelled(set *labels.Set, label string) eval.Answer {
	i, ok := set.Index(label)
	if !ok {
		return eval.Answer{Err: fmt.Errorf("%.100q is none of the labels", label)}
	}
	d := make(labels.Distribution, set.Len())
	d[i] = 1
	return eval.Answer{Distribution: d, LabelOnly: true}
}
