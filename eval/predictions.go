package eval

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"cubby/labels"
)

// predictionsFormat names the first line of a file of predictions, and its version.
const predictionsFormat = "cubby-predictions-1"

// maxPrediction bounds a line of a file of predictions, in bytes.
const maxPrediction = 16 << 20

// PredictionsHeader is the first line of a file of predictions: what answered which
// rows. Two runs whose headers are equal answer alike.
type PredictionsHeader struct {
	Format   string   `json:"format"`
	Model    string   `json:"model"`
	Artifact string   `json:"artifact"`
	Engine   string   `json:"engine"`
	Scoring  string   `json:"scoring"`
	Dataset  string   `json:"dataset"` // see DatasetDigest
	Rows     int      `json:"rows"`
	Labels   []string `json:"labels"`
}

// DatasetDigest is the SHA-256 of texts and labels, "sha256:" and 64 hex digits: the
// same whichever format the file of the rows has.
func DatasetDigest(rows []Row) string {
	h := sha256.New()
	for _, r := range rows {
		fmt.Fprintf(h, "%d %s%d %s", len(r.Text), r.Text, len(r.Answer), r.Answer)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// prediction is a line of the file behind its header.
type prediction struct {
	Line          int             `json:"line"`
	Answer        string          `json:"answer"` // the true label
	Label         string          `json:"label,omitempty"`
	Probabilities json.RawMessage `json:"probabilities,omitempty"` // an object, in the order of the labels
	Review        bool            `json:"review,omitempty"`
	Tokens        int             `json:"tokens,omitempty"`
	Truncated     int             `json:"truncated,omitempty"`
	LabelOnly     bool            `json:"label_only,omitempty"`
	Unresolved    float64         `json:"unresolved,omitempty"`
	Error         string          `json:"error,omitempty"`
}

// PredictionsWriter writes a file of predictions: JSON, a line each.
type PredictionsWriter struct {
	w   io.Writer
	set *labels.Set
}

// NewPredictionsWriter writes the header.
func NewPredictionsWriter(w io.Writer, set *labels.Set, h PredictionsHeader) (*PredictionsWriter, error) {
	p := ContinuePredictions(w, set)
	h.Format, h.Labels = predictionsFormat, set.Names()
	return p, p.line(h)
}

// ContinuePredictions writes behind what a file holds already.
func ContinuePredictions(w io.Writer, set *labels.Set) *PredictionsWriter {
	return &PredictionsWriter{w: w, set: set}
}

// Write appends answers to rows, in one call of the writer below.
func (p *PredictionsWriter) Write(rows []Row, answers []Answer) error {
	var all bytes.Buffer
	below := p.w
	p.w = &all
	defer func() { p.w = below }()
	for i, a := range answers {
		if err := p.line(p.prediction(rows[i], a)); err != nil {
			return err
		}
	}
	_, err := below.Write(all.Bytes())
	return err
}

func (p *PredictionsWriter) line(v any) error {
	e := json.NewEncoder(p.w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *PredictionsWriter) prediction(row Row, a Answer) prediction {
	out := prediction{Line: row.Line, Answer: row.Answer}
	if a.Err != nil {
		out.Error = a.Err.Error()
		return out
	}
	best, _ := a.Distribution.Best()
	out.Label, out.Review, out.Tokens, out.Truncated = p.set.Name(best), a.Review, a.Tokens, a.Truncated
	out.LabelOnly, out.Unresolved = a.LabelOnly, a.Unresolved
	object := []byte{'{'}
	for i, q := range a.Distribution {
		if i > 0 {
			object = append(object, ',')
		}
		name, _ := json.Marshal(p.set.Name(i)) // a string
		value, _ := json.Marshal(q)            // of a distribution: finite
		object = append(append(append(object, name...), ':'), value...)
	}
	out.Probabilities = append(object, '}')
	return out
}

// Predictions are what a file of them holds.
type Predictions struct {
	Header  PredictionsHeader
	Set     *labels.Set
	Lines   []int    // of the rows in their file
	Truth   []string // true labels
	Answers []Answer
	// Size is that of the whole lines, in bytes. What a killed writer left behind them
	// is not read.
	Size int64
}

// ReadPredictions reads a file of predictions. The error names the line at fault.
func ReadPredictions(r io.Reader) (*Predictions, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	p := &Predictions{}
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n == 1 {
			err = p.header(line)
		} else if err == nil {
			err = p.add(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		p.Size += int64(len(line))
	}
	if p.Set == nil {
		return nil, errors.New("it is empty: no file of predictions")
	}
	return p, nil
}

// readLine returns a whole line; io.EOF at the end, or in a line without an end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxPrediction {
			return nil, fmt.Errorf("it is longer than %d MiB", maxPrediction>>20)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (p *Predictions) header(line []byte) error {
	if err := json.Unmarshal(line, &p.Header); err != nil || p.Header.Format != predictionsFormat {
		return fmt.Errorf("it is no file of predictions: they begin with {\"format\":%q", predictionsFormat)
	}
	list := make([]labels.Label, len(p.Header.Labels))
	for i, name := range p.Header.Labels {
		list[i].Name = name
	}
	var err error
	p.Set, err = labels.NewSet(list)
	return err
}

func (p *Predictions) add(line []byte) error {
	var x prediction
	if err := json.Unmarshal(line, &x); err != nil {
		return err
	}
	a := Answer{Review: x.Review, Tokens: x.Tokens, Truncated: x.Truncated, LabelOnly: x.LabelOnly, Unresolved: x.Unresolved}
	if x.Error != "" {
		a = Answer{Err: errors.New(x.Error)}
	} else if err := p.distribution(x, &a); err != nil {
		return err
	}
	if a.Err == nil {
		if best, _ := a.Distribution.Best(); p.Set.Name(best) != x.Label {
			return fmt.Errorf("its label %q is not the most probable one", x.Label)
		}
	}
	p.Lines, p.Truth, p.Answers = append(p.Lines, x.Line), append(p.Truth, x.Answer), append(p.Answers, a)
	return nil
}

func (p *Predictions) distribution(x prediction, a *Answer) error {
	var told map[string]float64
	if err := json.Unmarshal(x.Probabilities, &told); err != nil {
		return fmt.Errorf("probabilities: %w", err)
	}
	a.Distribution = make(labels.Distribution, p.Set.Len())
	for i := range a.Distribution {
		q, ok := told[p.Set.Name(i)]
		if !ok || math.IsNaN(q) {
			return fmt.Errorf("no probability for the label %q", p.Set.Name(i))
		}
		a.Distribution[i] = q
	}
	if len(told) != p.Set.Len() {
		return fmt.Errorf("%d probabilities for %d labels", len(told), p.Set.Len())
	}
	return a.Distribution.Check()
}
