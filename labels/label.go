// Package labels says what an answer is: the closed set of labels, the token
// trie that spells them, the distribution over them, its calibration, and the
// policy that turns a probability into "label" or "review".
package labels

// Token is an id in a model's vocabulary.
type Token = int32

// Label is one class of a task.
type Label struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}
