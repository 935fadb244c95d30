package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"cubby/internal/feedback"
	"cubby/models"
	"cubby/runtime"
)

// maxID is the longest id, in bytes, whose answer is remembered.
const maxID = 128

// maxRemembered is how many answers with an id are remembered for feedback.
const maxRemembered = 100_000

// remembered is what is kept of an answer with an id, in memory.
type remembered struct {
	label       int
	probability float64
	artifact    string
}

// feedbackRequest is the body of POST /v1/feedback.
type feedbackRequest struct {
	model string
	list  []feedbackItem
}

type feedbackItem struct {
	id, label, text string
	at              int64 // of the label in the body
}

// parseFeedback reads {"model", "feedback": [{"id", "label", "text"}]}.
func parseFeedback(body []byte) (*feedbackRequest, error) {
	if err := checkText(body); err != nil {
		return nil, err
	}
	r, req := newReader(body), &feedbackRequest{}
	err := r.object("the request", func(key string, at int64) (err error) {
		switch key {
		case "model":
			req.model, err = r.string(key)
		case "feedback":
			req.list, err = r.feedback()
		default:
			err = failAt(codeUnknownField, at, `the request has a field that does not exist: known are "model" and "feedback"`)
		}
		return err
	})
	if err == nil && req.list == nil {
		err = &failure{Code: codeMissingField, Message: `the request has no "feedback"`, Hint: `send {"feedback": [{"id": "…", "label": "…"}]}`}
	}
	return req, err
}

func (r *reader) feedback() ([]feedbackItem, error) {
	return readList(r, "feedback", func() (it feedbackItem, err error) {
		start := r.at()
		err = r.object("an item", func(key string, at int64) (err error) {
			switch key {
			case "id":
				it.id, err = r.string(key)
			case "label":
				it.at = r.at()
				it.label, err = r.string(key)
			case "text":
				it.text, err = r.string(key)
			default:
				err = failAt(codeUnknownField, at, `an item has a field that does not exist: known are "id", "label" and "text"`)
			}
			return err
		})
		if err == nil && (it.id == "" || it.label == "") {
			err = failAt(codeMissingField, start, `an item needs an "id" and a "label"`)
		}
		return it, err
	})
}

// feedbackAnswer is the body of the answer.
type feedbackAnswer struct {
	Model   string `json:"model"`
	Right   int    `json:"right"`   // answers that were as it is said now
	Wrong   int    `json:"wrong"`   // and otherwise
	Unknown int    `json:"unknown"` // ids whose answer is not remembered
}

// feedback answers POST /v1/feedback: a bad label refuses all of it.
func (s *Server) feedback(c *gin.Context) error {
	if _, err := s.backends(); err != nil {
		return err
	}
	body, err := s.body(c)
	if err != nil {
		return err
	}
	req, err := parseFeedback(body)
	if err != nil {
		return err
	}
	_, info, err := s.choose(req.model)
	if err != nil {
		return err
	}
	c.Set(modelKey, info.Model)
	c.Set(textsKey, len(req.list))
	for _, it := range req.list {
		if _, ok := info.Labels.Index(it.label); !ok {
			return failAt(codeBadValue, it.at, "it is none of the model's labels: GET /v1/models lists them")
		}
	}
	taken := s.take(info.Model, req.list)
	out, list := feedbackAnswer{Model: info.Model}, make([]feedback.Feedback, len(req.list))
	for i, it := range req.list {
		list[i] = judge(info, it, taken[i], &out)
	}
	if s.opt.Keep != nil {
		if err := s.opt.Keep(list); err != nil {
			s.putBack(info.Model, req.list, taken)
			return &failure{Code: codeInternal, Message: "the feedback cannot be kept, and none of it was counted", Cause: err}
		}
	}
	s.learn(info.Model, list)
	return write(c, out)
}

// take takes the answers that are spoken of out of those remembered, so that none is
// judged twice; nil where one is not remembered.
func (s *Server) take(model string, list []feedbackItem) []*remembered {
	taken := make([]*remembered, len(list))
	for i, it := range list {
		key := model + "\n" + it.id
		if r, ok := s.recent.Get(key); ok && s.recent.Remove(key) {
			taken[i] = &r
		}
	}
	return taken
}

// putBack undoes take, but for ids that have been answered anew.
func (s *Server) putBack(model string, list []feedbackItem, taken []*remembered) {
	for i, r := range taken {
		if r != nil {
			s.recent.ContainsOrAdd(model+"\n"+list[i].id, *r)
		}
	}
}

// judge compares what is said with what was answered; nil where that is not known.
func judge(info runtime.Info, it feedbackItem, r *remembered, out *feedbackAnswer) feedback.Feedback {
	f := feedback.Feedback{Time: time.Now().UTC(), ID: it.id, Model: info.Model, Artifact: info.Artifact, Label: it.label, Text: it.text}
	switch {
	case r == nil:
		out.Unknown++
		return f
	case info.Labels.Name(r.label) == it.label:
		out.Right++
	default:
		out.Wrong++
	}
	f.Predicted, f.Probability, f.Artifact = info.Labels.Name(r.label), r.probability, r.artifact
	return f
}

// learn counts feedback that was kept.
func (s *Server) learn(model string, list []feedback.Feedback) {
	for _, f := range list {
		if f.Predicted == "" {
			s.opt.Metrics.feedback.WithLabelValues(model, "unknown").Inc()
			continue
		}
		right := f.Predicted == f.Label
		s.opt.Metrics.feedback.WithLabelValues(model, map[bool]string{true: "right", false: "wrong"}[right]).Inc()
		s.monitors()[model].judged(right)
	}
}

// remember notes answers for drift, and those with an id for feedback.
func (s *Server) remember(req *request, results []runtime.Result, info runtime.Info) {
	s.monitors()[info.Model].answered(results)
	for i, it := range req.items {
		if results[i].Err == nil && it.hasID && len(it.id) <= maxID {
			label, p := results[i].Distribution.Best()
			s.recent.Add(info.Model+"\n"+it.id, remembered{label, p, info.Artifact})
		}
	}
}

// report answers GET /v1/models/NAME/report with the model's last evaluation.
func (s *Server) report(c *gin.Context) error {
	_, info, err := s.choose(c.Param("model"))
	if err != nil {
		return err
	}
	data, err := []byte(nil), models.ErrNotFound
	if s.opt.Report != nil {
		data, err = s.opt.Report(info.Artifact)
	}
	if err == nil {
		c.Data(http.StatusOK, "application/json; charset=utf-8", data)
		return nil
	}
	if !errors.Is(err, models.ErrNotFound) {
		return &failure{Code: codeInternal, Message: "the model's evaluation cannot be read", Cause: err}
	}
	return &failure{Code: codeNotFound, Message: "no evaluation of this artefact has been kept", Hint: "run classify eval -model NAME where the store is"}
}
