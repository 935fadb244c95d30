package platform

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Answers as the platform's documentation and notebooks show them, by era.

var statuses = []struct {
	name, body string
	want       Status
}{
	{"an SLM", `{"status":"JOB_RUNNING"}`, StatusRunning},
	{"a training", `{"status":"JOB_SUCCESS"}`, StatusSuccess},
	{"with message and results", `{"message":"done","status":"JOB_FAILURE","results":null}`, StatusFailure},
	{"before the prefix", `{"status":"PENDING"}`, StatusPending},
	{"not begun", `{"status":"JOB_NOT_STARTED"}`, StatusNotStarted},
	{"stopped", `{"status":"JOB_STOPPED"}`, StatusStopped},
	{"nested", `{"status":{"status":"JOB_SUCCESS"}}`, StatusSuccess},
	{"in an envelope", `{"data":{"status":"JOB_SUCCESS"}}`, StatusSuccess},
	{"the word alone", `"JOB_SUCCESS"`, StatusSuccess},
	{"the first platform", `{"training status":"{\"status\":\"SUCCESS\"}"}`, StatusSuccess},
	{"a word of tomorrow", `{"status":"JOB_QUEUED"}`, "queued"},
	{"with control characters", `{"status":"JOB_\u001b[31mRUNNING"}`, "[31mrunning"},
	{"null", `{"status":null}`, StatusUnknown},
	{"none", `{}`, StatusUnknown},
	{"no JSON", `<html>`, StatusUnknown},
	{"a list", `[1]`, StatusUnknown},
}

func TestStatus(t *testing.T) {
	for _, c := range statuses {
		if got := parseStatus([]byte(c.body)); got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.name, c.body, got, c.want)
		}
	}
	for s, want := range map[Status]bool{StatusSuccess: true, StatusFailure: true, StatusStopped: true, StatusRunning: false, StatusUnknown: false} {
		if s.Final() != want {
			t.Errorf("%q is final: %v", s, s.Final())
		}
	}
}

func number(f float64) *float64 { return &f }

var described = []struct {
	name, body string
	family     Family
	want       Model
}{
	{"a list of datasets' SLMs", `{"id":"s1","created_at":"2026-09-21T10:11:12.123456Z","source":"training_dataset","dataset_id":"d1"}`, SLM,
		Model{ID: "s1", Created: time.Date(2026, 9, 21, 10, 11, 12, 123456000, time.UTC), Dataset: "d1"}},
	{"a list of training datasets' SLMs", `{"id":"s1","created_at":"2026-09-21T10:11:12","source":"training_dataset","training_dataset_id":"t1"}`, SLM,
		Model{ID: "s1", Created: time.Date(2026, 9, 21, 10, 11, 12, 0, time.UTC), TrainingDataset: "t1"}},
	{"an uploaded SLM", `{"id":"s1","created_at":"2026-09-21T10:11:12+02:00","source":"direct_upload","dataset_id":null}`, SLM,
		Model{ID: "s1", Created: time.Date(2026, 9, 21, 8, 11, 12, 0, time.UTC)}},
	{"one SLM", `{"id":"s1","status":"JOB_SUCCESS","dataset_id":"d1"}`, SLM, Model{ID: "s1", Status: StatusSuccess, Dataset: "d1"}},
	{"in an envelope", `{"slm":{"id":"s1","status":"JOB_SUCCESS"}}`, SLM, Model{ID: "s1", Status: StatusSuccess}},
	{"a numbered id", `{"id":17}`, SLM, Model{ID: "17"}},
	{"a name that would move the cursor", `{"id":"s","name":"a\u001b[2Jb\n c"}`, SLM, Model{ID: "s", Name: "a[2Jb c"}},
	{"a trained model", `{"id":"m1","name":"banking","created_at":"2026-01-14T00:00:00Z","training":{"id":"t1"},"upload_ids":["u2","u1"],"teacher_evaluation_ids":["e"],
		"prepared_traces_ids":[],"training_status":"JOB_SUCCESS","evaluation_results":{"accuracy":0.9},"training_evaluation_results":{"student-tuned":{"accuracy":0.93}},"task_details":{}}`, Trained,
		Model{ID: "m1", Name: "banking", Created: time.Date(2026, 1, 14, 0, 0, 0, 0, time.UTC), Training: "t1", Upload: "u2", Status: StatusSuccess, Accuracy: number(0.93)}},
	{"one that is not trained", `{"id":"m1","name":"new","training":null,"upload_ids":[],"training_status":null}`, Trained, Model{ID: "m1", Name: "new", Status: StatusNotStarted}},
	{"the training's id alone", `{"id":"m1","training":"t1"}`, Trained, Model{ID: "m1", Training: "t1"}},
	{"the training's own status", `{"id":"m1","training":{"id":"t1","status":"JOB_RUNNING"}}`, Trained, Model{ID: "m1", Training: "t1", Status: StatusRunning}},
}

func TestModel(t *testing.T) {
	for _, c := range described {
		c.want.Family = c.family
		got, err := parseModel("GET /x", []byte(c.body), c.family)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", c.name, got, err, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"name":"x"}`:          "without an id",
		`{"id":null}`:           "without an id",
		`<html></html>`:         "not JSON, but a web page",
		``:                      "not JSON, but empty",
		`{"id":"../../secret"}`: "",
		`{"id":".."}`:           "an id that is none",
		`{"id":"a\nb"}`:         "an id that is none",
	} {
		_, err := parseModel("GET /x", []byte(body), SLM)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		if !errors.Is(err, Unreadable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

func TestPage(t *testing.T) {
	for body, want := range map[string]string{
		`[{"id":"a"},{"id":"b"}]`: `2 ""`,
		`[]`:                      `0 ""`,
		`{"slms":[{"id":"a"}]}`:   `1 ""`,
		`{"models":[{"id":"a"}],"pagination_cursor":null}`: `1 ""`,
		`{"items":[{"id":"a"}],"pagination_cursor":"c2"}`:  `1 "c2"`,
		`{"data":[]}`: `0 ""`,
	} {
		p, err := parsePage("GET /slms", []byte(body))
		if got := fmt.Sprintf("%d %q", len(p.items), p.cursor); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", body, got, err, want)
		}
	}
	for body, want := range map[string]string{`{"detail":"x"}`: "holds no list", `<html>`: "a web page", `12`: "2 bytes of something else", ``: "empty"} {
		if _, err := parsePage("GET /slms", []byte(body)); !errors.Is(err, Unreadable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

const signed = "https://files.example/model.tar?X-Amz-Date=20260921T101112Z&X-Amz-Expires=3600&X-Amz-Signature=SECRETSIGNATURE"

func TestLinks(t *testing.T) {
	c := &Client{}
	names := [][]string{{"model_url", "s3_url", "download_url", "url"}, {"config_url"}}
	for _, body := range []string{
		`{"model_url":"` + signed + `","config_url":null}`, // SLMs
		`{"s3_url":"` + signed + `"}`,                      // the notebooks
		`"` + signed + `"`,                                 // the CLI's documentation
		`{"url":"` + signed + `"}`,
		`{"download_url":"` + signed + `"}`,
		`{"data":{"model_url":"` + signed + `"}}`,
		`{"model_url":{"url":"` + signed + `"}}`,
		`{"model":{"download_url":"` + signed + `"}}`,
	} {
		links, err := ask{c: c, route: "/x", required: true}.parse([]byte(body), names...)
		if err != nil || links[0] == nil || links[0].URL != signed || links[1] != nil {
			t.Errorf("%s: %v, %v", body, links, err)
			continue
		}
		l := *links[0]
		if want := time.Date(2026, 9, 21, 11, 11, 12, 0, time.UTC); !l.Expires.Equal(want) || l.Expired(want.Add(-1)) || !l.Expired(want) {
			t.Errorf("%s: it expires at %v", body, l.Expires)
		}
		for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
			if text := fmt.Sprintf(verb, l); strings.Contains(text, "SECRET") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
	for _, body := range []string{`{"model_url":null,"config_url":null}`, `null`} {
		links, err := ask{c: c, route: "/x", required: true}.parse([]byte(body), names...)
		if err != nil || links[0] != nil {
			t.Errorf("%s: %v, %v", body, links, err)
		}
	}
	for body, want := range map[string]string{
		`{}`:                                   "holds no download address",
		`[]`:                                   "holds no download address",
		`<html>`:                               "a web page",
		`{"model_url":"ftp://x/y"}`:            "not encrypted",
		`{"model_url":"http://example.com/x"}`: "not encrypted: http://example.com",
		`{"model_url":"model.tar"}`:            "address that is none",
		`{"model_url":"https://u:p@host/x"}`:   "address that is none",
		`{"model_url":"https://host/%zz?secret"}`: "address that is none",
	} {
		_, err := ask{c: c, route: "/x", required: true}.parse([]byte(body), names...)
		if !errors.Is(err, Unreadable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	if _, err := (Link{URL: signed}).Renew(context.Background()); !errors.Is(err, Expired) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("renewing an address from nowhere: %v", err)
	}
	if _, err := (Link{URL: signed}).RenewURL(context.Background()); !errors.Is(err, Expired) {
		t.Errorf("renewing an address from nowhere: %v", err)
	}
}

func TestExpiryOfOlderSignature(t *testing.T) {
	links, err := ask{c: &Client{}, route: "/x"}.parse([]byte(`"https://x/y?AWSAccessKeyId=K&Signature=s&Expires=1790000000"`), urlKeys)
	if err != nil || !links[0].Expires.Equal(time.Unix(1790000000, 0)) {
		t.Errorf("%v, %v", links, err)
	}
	links, err = ask{c: &Client{}, route: "/x"}.parse([]byte(`"https://x/y"`), urlKeys)
	if err != nil || !links[0].Expires.IsZero() || links[0].Expired(time.Now()) {
		t.Errorf("%v, %v", links, err)
	}
}

func TestMetricsShapes(t *testing.T) {
	tuned := `{"accuracy":0.93,"card":{"precision":1.0,"recall":0.5,"f1-score":0.667,"support":9.0},"cash":{"precision":null}}`
	want := &Scores{Accuracy: number(0.93), Classes: map[string]ClassScores{"card": {1, 0.5, 0.667, 9}, "cash": {}}}
	for name, body := range map[string]string{
		"an SLM":                     `{"base_model_performance":null,"tuned_model_performance":` + tuned + `,"predictions_download_url":null}`,
		"a training":                 `{"message":"","evaluation_results":{"teacher":{"accuracy":0.9},"student-base":{"accuracy":0.5},"student-tuned":` + tuned + `}}`,
		"the first platform":         `{"evaluation results":` + fmt.Sprintf("%q", `{"student-tuned":`+tuned+`}`) + `}`,
		"a model's own":              `{"id":"m","training_evaluation_results":{"student-tuned":` + tuned + `},"evaluation_results":{"accuracy":1}}`,
		"in an envelope, of an SLM":  `{"data":{"tuned_model_performance":` + tuned + `}}`,
		"a class of the name of one": `{"tuned_model_performance":` + tuned + `,"accuracy":{}}`,
	} {
		if got := parseMetrics([]byte(body)).Tuned; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	m := parseMetrics([]byte(`{"evaluation_results":{"teacher":{"accuracy":0.9},"student-base":{"accuracy":0.5},"student-tuned":null}}`))
	if m.Tuned != nil || *m.Teacher.Accuracy != 0.9 || *m.Base.Accuracy != 0.5 {
		t.Errorf("%+v", m)
	}
	if m := parseMetrics([]byte(`[]`)); m != (Metrics{}) {
		t.Errorf("%+v", m)
	}
}

func TestDetail(t *testing.T) {
	long := strings.Repeat("é", 400)
	for body, want := range map[string]string{
		`{"detail":"SLM not found"}`: "SLM not found",
		`{"message":"Unauthorized"}`: "Unauthorized",
		`{"error":{"message":"x"}}`:  "x",
		`{"detail":[{"loc":["body","config"],"msg":"field required","type":"missing"},{"msg":"y"}]}`: "body config: field required; y",
		`"text in quotes"`:             "text in quotes",
		`plain  text` + "\x1b[2J\n":    "plain text[2J",
		`<html><h1>502</h1></html>`:    "",
		`{"detail":null,"error":"no"}`: "no",
		``:                             "",
		`{"other":1}`:                  "",
		long:                           strings.Repeat("é", 150) + "…",
	} {
		if got := detail([]byte(body)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	want := time.Date(2026, 5, 13, 10, 11, 12, 0, time.UTC)
	for _, text := range []string{`"2026-05-13T10:11:12Z"`, `"2026-05-13T10:11:12"`, `"2026-05-13 10:11:12"`, `"2026-05-13T12:11:12+02:00"`, `"2026-05-13 12:11:12+02:00"`, fmt.Sprint(want.Unix())} {
		if got := asTime([]byte(text)); !got.Equal(want) {
			t.Errorf("%s: %v", text, got)
		}
	}
	for _, text := range []string{``, `null`, `"soon"`, `1e300`, `-5`, `{}`} {
		if got := asTime([]byte(text)); !got.IsZero() {
			t.Errorf("%s: %v", text, got)
		}
	}
}
