package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"cubby/labels"
	"cubby/models"
	"cubby/runtime"
)

// response is the body of POST /v1/classify.
type response struct {
	Model    string `json:"model"`
	Artifact string `json:"artifact"`
	Results  []any  `json:"results"` // answered or refused
	Timing   timing `json:"timing"`
}

// answered is the result of a text that got a label.
type answered struct {
	Index       int     `json:"index"`
	ID          *string `json:"id,omitempty"`
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
	Scores      []score `json:"scores"` // best first
	Review      bool    `json:"review"`
	Calibrated  bool    `json:"calibrated"`
	Tokens      int     `json:"tokens"`
	Truncated   int     `json:"truncated"`
	Unresolved  float64 `json:"unresolved,omitempty"`
	LabelOnly   bool    `json:"label_only,omitempty"`
	Cached      bool    `json:"cached,omitempty"`
}

// refused is the result of a text that did not.
type refused struct {
	Index int     `json:"index"`
	ID    *string `json:"id,omitempty"`
	Error failure `json:"error"`
}

type score struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
}

// timing is the longest wait and the longest computation of any text.
type timing struct {
	QueueMS   float64 `json:"queue_ms"`
	ComputeMS float64 `json:"compute_ms"`
}

// classify answers POST /v1/classify. A list is answered with 200 and an error
// for each item that has one; a single string that fails fails the request.
func (s *Server) classify(c *gin.Context) error {
	if _, err := s.backends(); err != nil {
		return err // before the body is read
	}
	body, err := s.body(c)
	if err != nil {
		return err
	}
	start := time.Now()
	req, err := parseRequest(body)
	s.opt.Metrics.parse.Observe(time.Since(start).Seconds())
	if err != nil {
		return err
	}
	backend, info, err := s.choose(req.model)
	if err != nil {
		return err
	}
	c.Set(modelKey, info.Model)
	c.Set(textsKey, len(req.items))
	texts := make([]string, len(req.items))
	for i, it := range req.items {
		texts[i] = it.text
	}
	results, err := backend.Score(c.Request.Context(), runtime.Request{Texts: texts, Scoring: req.scoring, NoTruncate: req.noTruncate})
	if err != nil {
		return err
	}
	s.count(c, results, info)
	s.remember(req, results, info)
	if req.single && results[0].Err != nil {
		return results[0].Err
	}
	return write(c, respond(req, results, info))
}

// count puts the results into the metrics and the log line.
func (s *Server) count(c *gin.Context, results []runtime.Result, info runtime.Info) {
	tokens := 0
	for i := range results {
		r := &results[i]
		tokens += r.Tokens
		label := ""
		if best, _ := r.Distribution.Best(); best >= 0 {
			label = info.Labels.Name(best)
		}
		s.opt.Metrics.text(info.Model, r, label)
	}
	c.Set(tokensKey, tokens)
}

func respond(req *request, results []runtime.Result, info runtime.Info) *response {
	out := &response{Model: info.Model, Artifact: info.Artifact, Results: make([]any, len(results))}
	var queue, compute time.Duration
	for i := range results {
		r := &results[i]
		queue, compute = max(queue, r.Queue), max(compute, r.Compute)
		var id *string
		if req.items[i].hasID {
			id = &req.items[i].id
		}
		if r.Err != nil {
			out.Results[i] = refused{Index: i, ID: id, Error: fromRuntime(r.Err).body().Error}
			continue
		}
		scores := rank(r.Distribution, info.Labels, req.topK)
		out.Results[i] = answered{
			Index: i, ID: id, Label: scores[0].Label, Probability: scores[0].Probability, Scores: scores,
			Review: r.Review, Calibrated: info.Calibrated, Tokens: r.Tokens, Truncated: r.Truncated, Unresolved: r.Unresolved, LabelOnly: r.LabelOnly,
			Cached: r.Cached,
		}
	}
	out.Timing = timing{QueueMS: milliseconds(queue), ComputeMS: milliseconds(compute)}
	return out
}

// rank lists the k most probable labels, or all for 0.
func rank(d labels.Distribution, set *labels.Set, k int) []score {
	if k == 0 {
		k = len(d)
	}
	top := d.Top(k)
	list := make([]score, len(top))
	for i, j := range top {
		list[i] = score{Label: set.Name(j), Probability: d[j]}
	}
	return list
}

// milliseconds keeps three digits after the point.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func write(c *gin.Context, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", buf.Bytes())
	return nil
}

// body reads a request's body within all its limits.
func (s *Server) body(c *gin.Context) ([]byte, error) {
	r := c.Request
	if err := checkHeaders(r); err != nil {
		return nil, err
	}
	size := r.ContentLength
	if size > s.opt.MaxBody {
		linger(c)
		return nil, s.bodyTooLarge()
	}
	if size < 0 {
		size = s.opt.MaxBody
	}
	// An idle server takes any body; beyond that, memory is bounded by refusal.
	// Small bodies are bounded by the number of connections: they get through
	// while others hold back what they have announced.
	if held := s.bodies.Add(size); size > smallBody && held > size && held/bodiesInFlight > s.opt.MaxBody {
		s.bodies.Add(-size)
		return nil, &failure{Code: runtime.CodeOverloaded, Message: "too many request bodies are being read", RetryAfter: busyRetry}
	}
	defer s.bodies.Add(-size)
	body, err := io.ReadAll(http.MaxBytesReader(plainWriter(c), r.Body, s.opt.MaxBody))
	if err != nil {
		return nil, s.bodyError(err)
	}
	return body, nil
}

// plainWriter is net/http's own writer below gin's: only that one learns from
// http.MaxBytesReader that the rest of the body stays unread.
func plainWriter(c *gin.Context) http.ResponseWriter {
	if u, ok := c.Writer.(interface{ Unwrap() http.ResponseWriter }); ok {
		return u.Unwrap()
	}
	return c.Writer
}

// linger lets net/http hold the connection for a moment behind an answer given
// before the body was read. Closed at once, a client that is still sending
// would see a reset instead of the answer. One that waits for "100 Continue"
// is not sending.
func linger(c *gin.Context) {
	if c.GetHeader("Expect") == "" {
		http.MaxBytesReader(plainWriter(c), c.Request.Body, 0).Read(make([]byte, 1))
	}
}

// checkHeaders refuses bodies that are not plain JSON. The type that curl -d
// sends when told nothing is taken for JSON too.
func checkHeaders(r *http.Request) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &failure{Code: codeEncoding, Message: "compressed request bodies are not read"}
	}
	t := r.Header.Get("Content-Type")
	if t == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(t)
	if err == nil {
		switch media {
		case "application/json", "application/x-www-form-urlencoded", "text/plain", "application/octet-stream":
			return nil
		}
	}
	return &failure{Code: codeMediaType, Message: "the Content-Type of the body is not JSON"}
}

func (s *Server) bodyTooLarge() *failure {
	return &failure{Code: codeBodyTooLarge, Message: "the body is larger than the server reads: see -max-body"}
}

func (s *Server) bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		return s.bodyTooLarge()
	case errors.As(err, &timeout) && timeout.Timeout():
		return &failure{Code: codeBodyTimeout, Message: "the body came too slowly", Cause: err}
	}
	return &failure{Code: codeBodyBroken, Message: "the body ended early", Cause: err}
}

// modelInfo is one entry of GET /v1/models.
type modelInfo struct {
	Name          string         `json:"name"`
	Artifact      string         `json:"artifact"`
	Labels        []labels.Label `json:"labels"`
	Scoring       models.Scoring `json:"scoring"`
	Calibrated    bool           `json:"calibrated"`
	Engine        string         `json:"engine"`
	Choice        string         `json:"engine_choice,omitempty"` // why this one
	Device        string         `json:"device"`
	LabelOnly     bool           `json:"label_only,omitempty"` // the engine tells no probabilities
	Kernel        string         `json:"kernel"`
	Precision     string         `json:"precision"`
	Architecture  string         `json:"architecture"`
	Threads       int            `json:"threads"`
	Context       int            `json:"context"`
	MaxTextTokens int            `json:"max_text_tokens"`
	Source        models.Source  `json:"source"`
	Loaded        bool           `json:"loaded"`
	WeightBytes   int64          `json:"weight_bytes"` // while it is loaded
	KVBytes       int64          `json:"kv_bytes"`     // of the prompt's prefix
}

// models answers GET /v1/models, the default first.
func (s *Server) models(c *gin.Context) error {
	list, err := s.backends()
	if err != nil {
		return err
	}
	entries := make([]modelInfo, len(list))
	for n, b := range list {
		i := b.Info()
		entries[n] = modelInfo{
			Name: i.Model, Artifact: i.Artifact, Labels: i.Labels.Labels(), Scoring: i.Scoring, Calibrated: i.Calibrated,
			Engine: i.Engine.Engine, Kernel: i.Engine.Kernel, Precision: i.Engine.Precision, Architecture: i.Engine.Architecture, Threads: i.Engine.Threads,
			Device: i.Engine.Device, Choice: i.Choice, LabelOnly: i.Engine.LabelOnly,
			Context: i.Engine.Context, MaxTextTokens: i.MaxTextTokens, Source: i.Source,
			Loaded: i.Engine.Memory.Loaded, WeightBytes: i.Engine.Memory.Weights, KVBytes: i.Engine.Memory.KV,
		}
	}
	return write(c, map[string][]modelInfo{"models": entries})
}
