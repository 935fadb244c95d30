// Package models says what a model on disk is: the folder with its manifest,
// the store of such folders, and what opens them.
package models

import (
	"errors"

	"cubby/labels"
)

// ManifestName is the manifest's file name inside a model folder.
const ManifestName = "cubby.json"

// SchemaVersion is the manifest schema this program writes and reads.
const SchemaVersion = 1

// Scoring is the way a distribution comes from a model's outputs.
type Scoring string

const (
	// Constrained multiplies, along each label's tokens, the probabilities
	// renormalised among the label trie's children: what grammar-constrained
	// decoding would sample from.
	Constrained Scoring = "constrained"
	// Likelihood normalises the plain sequence probability of each label.
	Likelihood Scoring = "likelihood"
	// Head is the softmax of a sequence-classification head's scores.
	Head Scoring = "head"
)

// AnswerForm is how the model was trained to write a label.
type AnswerForm string

const (
	Bare   AnswerForm = "bare"   // label
	Tagged AnswerForm = "tagged" // <output>label</output>
	JSON   AnswerForm = "json"   // {"label": "label"}
	None   AnswerForm = "none"   // nothing is written: a classification head
)

// Manifest describes one model folder. Its canonical JSON bytes, hashed, are
// the artifact digest that every answer names.
type Manifest struct {
	Schema      int                 `json:"schema"`
	Name        string              `json:"name"`
	Labels      []labels.Label      `json:"labels"`
	Prompt      Prompt              `json:"prompt"`
	Answer      Answer              `json:"answer"`
	Scoring     Scoring             `json:"scoring"`
	Calibration *labels.Calibration `json:"calibration,omitempty"`
	Policy      *labels.Policy      `json:"policy,omitempty"`
	Canary      *Canary             `json:"canary,omitempty"`
	Replay      *Replay             `json:"replay,omitempty"`
	// Weights names the GGUF file, or the safetensors file beside which
	// config.json and tokenizer.json lie.
	Weights string `json:"weights"`
	// Adapter names the GGUF file of a LoRA adapter that is computed on top of GGUF
	// weights; empty for none. A tokenizer.json beside them is then the model's.
	Adapter string `json:"adapter,omitempty"`
	Files   []File `json:"files"`
	Source  Source `json:"source"`
}

// Prompt is what stands before and after the text, rendered once at import.
// Special tokens are parsed in both; never in the text between them.
type Prompt struct {
	Prefix string `json:"prefix"`
	Suffix string `json:"suffix"`
}

// Answer is what the model writes: Prefix, the label, escaped where it stands in
// JSON, Suffix, then the End token. All are empty for the form None.
type Answer struct {
	Form   AnswerForm `json:"form"`
	Prefix string     `json:"prefix,omitempty"`
	Suffix string     `json:"suffix,omitempty"`
	End    string     `json:"end,omitempty"` // text of the end-of-answer token
	// ASCII spells what is not ASCII in a label as \u escapes: JSON only.
	ASCII bool `json:"ascii,omitempty"`
}

// ErrCanary is in the chain of errors about a model that does not answer as its
// canary recorded.
var ErrCanary = errors.New("the canary does not pass")

// Canary is a text with the probabilities it had when the model was imported;
// a server that does not reproduce them is not ready.
type Canary struct {
	Text          string    `json:"text"`
	Probabilities []float64 `json:"probabilities"` // uncalibrated, by Scoring, in label order
	// Tolerance is the largest total variation distance that still passes.
	Tolerance float64 `json:"tolerance"`
}

// File is one file of the folder, by its slash-separated path inside it.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 Digest `json:"sha256"` // written as 64 hex digits
}

// Kind is the form of package that a model was made from.
type Kind string

const (
	GGUF               Kind = "gguf"                // one GGUF file
	Merged             Kind = "merged"              // safetensors with the adapter merged in
	SequenceClassifier Kind = "sequence-classifier" // safetensors with a classification head
	Adapted            Kind = "adapter"             // a base model with an adapter kept beside it
	BuiltIn            Kind = "built-in"            // part of the program
)

// Source says where the model came from.
type Source struct {
	Kind Kind   `json:"kind"`
	From string `json:"from"` // base name of the folder or tar that was imported
	Note string `json:"note,omitempty"`
	// Quantized says how the weights were rounded at import; nil where they are as
	// they came.
	Quantized *Quantized `json:"quantized,omitempty"`
}

// Quantized says what a model's weights were rounded from.
type Quantized struct {
	To    string `json:"to"`    // the scheme: "q4_k_m"
	From  string `json:"from"`  // the type of most weights before: "F16"
	Files []File `json:"files"` // the weights before, which are in the folder only where nothing changed
}

// DataFolder is the part of a model folder with what the model was trained and
// tested on. No engine reads it.
const DataFolder = "data"

// DataFile returns the listed file of that name in DataFolder.
func (m Manifest) DataFile(name string) (File, bool) { return m.file(DataFolder + "/" + name) }

// TestSet returns the file with the rows that the model was tested on, false where
// it keeps none.
func (m Manifest) TestSet() (File, bool) {
	for _, name := range []string{"test.jsonl", "test.csv"} {
		if f, ok := m.DataFile(name); ok {
			return f, true
		}
	}
	return File{}, false
}
