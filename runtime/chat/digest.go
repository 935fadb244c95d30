package chat

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"cubby/labels"
)

// digest stands for an artefact. It covers all that decides an answer on this side: the
// address without the key, the model's name there, the messages before a text, the
// labels, and what is asked for beside them. What the server runs behind that name,
// nobody here can know.
func digest(s *server, opt Options, messages []message) string {
	data, err := json.Marshal(struct {
		Protocol  string
		URL       string
		Model     string
		Messages  []message
		Labels    []labels.Label
		MaxTokens int
		Asked     [termCount][]string
		Format    json.RawMessage
	}{"openai chat completions, cubby 1", s.base.String(), s.model, messages, opt.Labels.Labels(), s.maxTokens, steps, s.formats[0]})
	if err != nil {
		panic(err) // strings and numbers have JSON
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}
