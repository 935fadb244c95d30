package chat

import (
	"bytes"
	"encoding/json"
)

// request is the body of POST /v1/chat/completions.
type request struct {
	Model               string          `json:"model,omitempty"`
	Messages            []message       `json:"messages"`
	MaxTokens           int             `json:"max_tokens,omitempty"`
	MaxCompletionTokens int             `json:"max_completion_tokens,omitempty"`
	Temperature         *float64        `json:"temperature,omitempty"`
	Logprobs            bool            `json:"logprobs,omitempty"`
	TopLogprobs         int             `json:"top_logprobs,omitempty"`
	ResponseFormat      json.RawMessage `json:"response_format,omitempty"`
}

// reply is the body of its answer, as far as it is read.
type reply struct {
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []choice `json:"choices"`
	Usage       *struct {
		Prompt     uint64 `json:"prompt_tokens"`
		Completion uint64 `json:"completion_tokens"`
		Details    *struct {
			Cached uint64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error *struct {
		Code    json.RawMessage `json:"code"`
		Message string          `json:"message"`
	} `json:"error"`
}

type choice struct {
	Message struct {
		Content *string `json:"content"`
		Refusal string  `json:"refusal"`
	} `json:"message"`
	Finish   string          `json:"finish_reason"`
	Logprobs json.RawMessage `json:"logprobs"`
}

// position is one generated token, and what could have stood there.
type position struct {
	token
	Top []token `json:"top_logprobs"`
}

// token is one token with its natural log probability. A token that is a part of a
// character has it only in Bytes; the end of the answer has no bytes.
type token struct {
	Token string   `json:"token"`
	LogP  *float64 `json:"logprob"`
	Bytes []byte   `json:"bytes"`
}

// spelling is the token's bytes.
func (t *token) spelling() string {
	if t.Bytes != nil {
		return string(t.Bytes)
	}
	return t.Token
}

// positions reads the log probabilities; nil where the server tells none.
func (c *choice) positions() []position {
	var told struct {
		Content []position `json:"content"`
	}
	if len(c.Logprobs) == 0 || bytes.Equal(c.Logprobs, []byte("null")) || json.Unmarshal(c.Logprobs, &told) != nil {
		return nil
	}
	return told.Content
}
