package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cubby/models"
	"cubby/runtime"
)

func decode(t *testing.T, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(w.Body.String()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
}

func TestAnswerShape(t *testing.T) {
	s := readyServer(newFake(), Options{})
	w := post(s, `{"model":"bank","input":[{"id":"a","text":"hello"},"",{"text":"hi","id":""}],"top_k":2}`)
	want(t, w, http.StatusOK, "")
	const shape = `{"model":"bank","artifact":"sha256:ab12","results":[` +
		`{"index":0,"id":"a","label":"card","probability":0.625,"scores":[{"label":"card","probability":0.625},{"label":"cash","probability":0.25}],"review":true,"calibrated":true,"tokens":5,"truncated":2},` +
		`{"index":1,"error":{"code":"empty_text","message":"the text is empty"}},` +
		`{"index":2,"id":"","label":"card","probability":0.625,"scores":[{"label":"card","probability":0.625},{"label":"cash","probability":0.25}],"review":true,"calibrated":true,"tokens":2,"truncated":2}` +
		`],"timing":{"queue_ms":1.5,"compute_ms":20}}` + "\n"
	if w.Body.String() != shape {
		t.Errorf("got  %swant %s", w.Body, shape)
	}
	all := post(s, `{"input":"hello"}`)
	if n := strings.Count(all.Body.String(), `"label"`); n != 4 {
		t.Errorf("without top_k %d labels are named, want the best and all three: %s", n, all.Body)
	}
	if !strings.Contains(all.Body.String(), `"loan <small>"`) {
		t.Errorf("a label was escaped: %s", all.Body)
	}
}

func TestModelIsChosen(t *testing.T) {
	bank, shop := newFake(), newFake()
	shop.name = "shop"
	s := New(Options{}, true)
	s.Ready(bank, shop)
	for model, chosen := range map[string]*fakeBackend{"": bank, "bank": bank, "shop": shop, "sha256:ab12": bank} {
		bank.last, shop.last = runtime.Request{}, runtime.Request{}
		w := post(s, `{"input":"a","model":"`+model+`"}`)
		want(t, w, http.StatusOK, "")
		if chosen.last.Texts == nil || !strings.Contains(w.Body.String(), `"model":"`+chosen.Info().Model+`"`) {
			t.Errorf("model %q: %s", model, w.Body)
		}
	}
	want(t, post(s, `{"input":"a","model":"other"}`), 404, codeUnknownModel)
	if n := strings.Count(ask(s, "GET", "/v1/models", "").Body.String(), `"artifact":`); n != 2 {
		t.Errorf("%d models are listed", n)
	}
}

func TestCachedIsSaid(t *testing.T) {
	b := newFake()
	b.score = func(context.Context, runtime.Request) ([]runtime.Result, error) {
		kept, computed := result("a"), result("b")
		kept.Cached, kept.Queue, kept.Compute = true, 0, 0
		return []runtime.Result{kept, computed}, nil
	}
	s := readyServer(b, Options{})
	w := post(s, `{"input":["a","b"]}`)
	want(t, w, http.StatusOK, "")
	if n := strings.Count(w.Body.String(), `"cached":true`); n != 1 || strings.Contains(w.Body.String(), `"cached":false`) {
		t.Errorf("one of two results was kept: %s", w.Body)
	}
	if m := ask(s, "GET", "/metrics", "").Body.String(); !strings.Contains(m, `cubby_stage_seconds_count{stage="queue"} 1`) {
		t.Error("a kept answer is taken for one that queued")
	}
}

func TestRequestReachesBackend(t *testing.T) {
	for body, expect := range map[string]runtime.Request{
		`{"input":"a"}`:                              {Texts: []string{"a"}},
		`{"input":"a","truncate":true}`:              {Texts: []string{"a"}},
		`{"input":"a","truncate":false}`:             {Texts: []string{"a"}, NoTruncate: true},
		`{"input":["a","b"],"scoring":"likelihood"}`: {Texts: []string{"a", "b"}, Scoring: models.Likelihood},
		` {"input" : [ {"text" : "\u00e9\ud83d\ude00\n"} ] , "model":"sha256:ab12"} `: {Texts: []string{"é😀\n"}},
	} {
		b := newFake()
		want(t, post(readyServer(b, Options{}), body), http.StatusOK, "")
		if fmt.Sprint(b.last) != fmt.Sprint(expect) {
			t.Errorf("%s: backend got %+v, want %+v", body, b.last, expect)
		}
	}
}

func TestBadRequests(t *testing.T) {
	s := readyServer(newFake(), Options{MaxBody: 200000})
	for _, tc := range []struct {
		body   string
		status int
		code   runtime.Code
		offset int64 // -1: none
	}{
		{``, 400, codeBadJSON, 0},
		{`{"input":"a"`, 400, codeBadJSON, 11},
		{`{"input":"a"}x`, 400, codeBadJSON, 13},
		{`{"input":"a"}{}`, 400, codeBadJSON, 13},
		{`{"input":["a",]}`, 400, codeBadJSON, 14},
		{`input=hello`, 400, codeBadJSON, 0},
		{`{'input':'a'}`, 400, codeBadJSON, 1},
		{"{\"input\":\"a\nb\"}", 400, codeBadJSON, 11},
		{"{\"input\":\"a\xff\"}", 400, runtime.CodeInvalidUTF8, 11},
		{`{"input":"a\ud800b"}`, 400, runtime.CodeInvalidUTF8, 9},
		{`{"input":["x","\udc00"]}`, 400, runtime.CodeInvalidUTF8, 14},
		{`{"input":"\ud800\ud800"}`, 400, runtime.CodeInvalidUTF8, 9},
		{`[]`, 400, codeWrongType, 0},
		{`null`, 400, codeWrongType, 0},
		{`"text"`, 400, codeWrongType, 0},
		{`{}`, 400, codeMissingField, -1},
		{`{"input":7}`, 400, codeWrongType, 9},
		{`{"input":null}`, 400, codeWrongType, 9},
		{`{"input":{"text":"a"}}`, 400, codeWrongType, 9},
		{`{"input":[]}`, 400, codeBadValue, 9},
		{`{"input":["a", 7]}`, 400, codeWrongType, 15},
		{`{"input":["a",["b"]]}`, 400, codeWrongType, 14},
		{`{"input":[{"id":"a"}]}`, 400, codeMissingField, 10},
		{`{"input":[{"text":"a","id":7}]}`, 400, codeWrongType, 27},
		{`{"input":[{"text":"a","text":"b"}]}`, 400, codeDuplicate, 22},
		{`{"input":[{"text":"a","label":"b"}]}`, 400, codeUnknownField, 22},
		{`{"input":"a","input":"b"}`, 400, codeDuplicate, 13},
		{`{"input":"a","inp\u0075t":"b"}`, 400, codeDuplicate, 13},
		{`{"input":"a","temperature":1}`, 400, codeUnknownField, 13},
		{`{"input":"a","Input":"b"}`, 400, codeUnknownField, 13},
		{`{"input":"a","top_k":0}`, 400, codeBadValue, 21},
		{`{"input":"a","top_k":1.5}`, 400, codeBadValue, 21},
		{`{"input":"a","top_k":1e99}`, 400, codeBadValue, 21},
		{`{"input":"a","top_k":"1"}`, 400, codeWrongType, 21},
		{`{"input":"a","truncate":"no"}`, 400, codeWrongType, 24},
		{`{"input":"a","scoring":"magic"}`, 400, runtime.CodeBadScoring, 23},
		{`{"input":"a","model":["x"]}`, 400, codeWrongType, 21},
		{`{"input":"a","model":"other"}`, 404, codeUnknownModel, -1},
		{`{"input":""}`, 400, runtime.CodeEmptyText, -1},
		{`{"input":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, 400, codeWrongType, 10},
		{`{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, 400, codeUnknownField, 1},
		{`{"input":[` + strings.Repeat(`"",`, maxItems) + `""]}`, 413, codeTooManyItems, 10 + 3*maxItems},
		{strings.Repeat(" ", 200001), 413, codeBodyTooLarge, -1},
	} {
		name := tc.body[:min(len(tc.body), 40)]
		t.Run(name, func(t *testing.T) {
			f := want(t, post(s, tc.body), tc.status, tc.code)
			if (f.Offset == nil) != (tc.offset < 0) || (f.Offset != nil && *f.Offset != tc.offset) {
				got := "none"
				if f.Offset != nil {
					got = strconv.FormatInt(*f.Offset, 10)
				}
				t.Errorf("offset %s, want %d", got, tc.offset)
			}
		})
	}
}

// Every code of the runtime becomes its status, for a whole request and for a
// single text; in a list it is the item's own.
func TestRuntimeCodes(t *testing.T) {
	for code, status := range map[runtime.Code]int{
		runtime.CodeEmptyText: 400, runtime.CodeInvalidUTF8: 400, runtime.CodeTextTooLong: 413, runtime.CodeBadScoring: 400,
		runtime.CodeOverloaded: 503, runtime.CodeDraining: 503, runtime.CodeDeadline: 504, runtime.CodeCanceled: 499,
		runtime.CodeEngineFailed: 500,
	} {
		cause := &runtime.Error{Code: code, Message: "it went wrong", Cause: errors.New("secret detail")}
		w := post(readyServer(failing(fmt.Errorf("wrapped: %w", cause)), Options{}), `{"input":["a"]}`)
		want(t, w, status, code)
		if strings.Contains(w.Body.String(), "secret detail") {
			t.Errorf("%s: the cause was shown to the client: %s", code, w.Body)
		}
		b := newFake()
		b.score = func(_ context.Context, req runtime.Request) ([]runtime.Result, error) {
			list := make([]runtime.Result, len(req.Texts))
			for i := range list {
				list[i].Err = cause
			}
			return list, nil
		}
		want(t, post(readyServer(b, Options{}), `{"input":"a"}`), status, code)
		list := post(readyServer(b, Options{}), `{"input":["a"]}`)
		want(t, list, http.StatusOK, "")
		if !strings.Contains(list.Body.String(), `"error":{"code":"`+string(code)) {
			t.Errorf("%s is not in the item: %s", code, list.Body)
		}
	}
	want(t, post(readyServer(failing(errors.New("disk on fire")), Options{}), `{"input":"a"}`), 500, codeInternal)
}

func TestTableIsComplete(t *testing.T) {
	for code := range hints {
		if statuses[code] == 0 {
			t.Errorf("code %q has a hint and no status", code)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(statuses)) {
		if s := statuses[code]; s < 400 || s > 599 {
			t.Errorf("code %q has status %d", code, s)
		}
	}
}

func TestRetryAfterIsWholeSeconds(t *testing.T) {
	for after, header := range map[time.Duration]string{0: "", time.Millisecond: "1", time.Second: "1", 1100 * time.Millisecond: "2", 30 * time.Second: "30"} {
		w := post(readyServer(failing(&runtime.Error{Code: runtime.CodeOverloaded, Message: "full", RetryAfter: after}), Options{}), `{"input":"a"}`)
		want(t, w, 503, runtime.CodeOverloaded)
		if got := w.Header().Get("Retry-After"); got != header {
			t.Errorf("%v: Retry-After %q, want %q", after, got, header)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := readyServer(newFake(), Options{})
	for _, media := range []string{"application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain"} {
		want(t, post(s, `{"input":"a"}`, "Content-Type", media), http.StatusOK, "")
	}
	for _, media := range []string{"multipart/form-data; boundary=x", "text/csv", "nonsense/"} {
		want(t, post(s, `{"input":"a"}`, "Content-Type", media), 415, codeMediaType)
	}
	want(t, post(s, `{"input":"a"}`, "Content-Encoding", "identity"), http.StatusOK, "")
	want(t, post(s, `{"input":"a"}`, "Content-Encoding", "gzip"), 415, codeEncoding)
}

func TestRouting(t *testing.T) {
	s := readyServer(newFake(), Options{})
	for _, path := range []string{"/", "/v1", "/v1/classify/", "/v1/classify/x", "/V1/models", "/debug/pprof/"} {
		want(t, ask(s, "GET", path, ""), 404, codeNotFound)
	}
	for method, path := range map[string]string{"GET": "/v1/classify", "POST": "/v1/models", "DELETE": "/metrics", "PUT": "/readyz"} {
		w := ask(s, method, path, "")
		want(t, w, 405, codeMethod)
		if w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", method, path)
		}
	}
}

func TestModels(t *testing.T) {
	w := ask(readyServer(newFake(), Options{}), "GET", "/v1/models", "")
	want(t, w, http.StatusOK, "")
	const shape = `{"models":[{"name":"bank","artifact":"sha256:ab12","labels":[{"name":"cash"},{"name":"card","description":"plastic"},{"name":"loan <small>"}],` +
		`"scoring":"constrained","calibrated":true,"engine":"native","engine_choice":"asked for","device":"cpu","kernel":"portable","precision":"int8","architecture":"llama","threads":2,"context":2048,"max_text_tokens":1900,` +
		`"source":{"kind":"gguf","from":"bank.tar"},"loaded":true,"weight_bytes":4000,"kv_bytes":50}]}` + "\n"
	if w.Body.String() != shape {
		t.Errorf("got  %swant %s", w.Body, shape)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	b := newFake()
	b.score = func(context.Context, runtime.Request) ([]runtime.Result, error) { panic("index out of range") }
	log := &syncBuffer{}
	s := readyServer(b, Options{Log: testLog(log)})
	w := post(s, `{"input":"a"}`)
	want(t, w, 500, codeInternal)
	if strings.Contains(w.Body.String(), "index") || !strings.Contains(log.String(), "index out of range") {
		t.Errorf("the panic belongs in the log alone: %s, log %s", w.Body, log)
	}
	if b.score = nil; post(s, `{"input":"a"}`).Code != http.StatusOK {
		t.Error("the server did not go on")
	}
}

func TestDeadline(t *testing.T) {
	b := newFake()
	b.score = func(ctx context.Context, _ runtime.Request) ([]runtime.Result, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	want(t, post(readyServer(b, Options{RequestTimeout: 20 * time.Millisecond}), `{"input":"a"}`), 504, runtime.CodeDeadline)
}

// hanging is a body that never ends and counts what was read of it.
type hanging struct{ read int }

func (h *hanging) Read(p []byte) (int, error) {
	h.read += len(p)
	return copy(p, strings.Repeat(" ", len(p))), nil
}

func TestLargeBodyIsNotReadOn(t *testing.T) {
	s := readyServer(newFake(), Options{MaxBody: 1000})
	for _, length := range []int64{1001, -1} { // declared, and found out
		body := &hanging{}
		r := httptest.NewRequest("POST", "/v1/classify", io.NopCloser(body))
		r.Host, r.ContentLength = "localhost", length
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		want(t, w, 413, codeBodyTooLarge)
		if w.Header().Get("Connection") != "close" {
			t.Error("the connection is kept")
		}
		if length > 0 && body.read > 1 || body.read > 4096 {
			t.Errorf("length %d: %d bytes were read", length, body.read)
		}
	}
}

func TestBodiesInFlightAreBounded(t *testing.T) {
	s := readyServer(newFake(), Options{MaxBody: 2 * smallBody})
	large := `{"input":"` + strings.Repeat("a", smallBody) + `"}`
	s.bodies.Store(bodiesInFlight * 2 * smallBody)
	want(t, post(s, large), 503, runtime.CodeOverloaded)
	want(t, post(s, `{"input":"a"}`), http.StatusOK, "") // small ones get through
	s.bodies.Store(0)
	want(t, post(s, large), http.StatusOK, "")
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func FuzzClassifyBody(f *testing.F) {
	for _, seed := range []string{
		`{"input":"a"}`, `{"input":["a",{"id":"x","text":"\ud83d\ude00"}],"top_k":2,"truncate":false}`,
		`{"input":"\ud800"}`, `{"input":[[]]}`, `{"a":1,"a":2}`, `{"input":"a","scoring":"head","model":"m"} `, "\xff", `{"input":"\\u`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseRequest(body)
		if err != nil {
			fail := asFailure(err)
			if fail.status() >= 500 {
				t.Fatalf("a bad body is the client's fault: %+v", fail)
			}
			if fail.Offset != nil && (*fail.Offset < 0 || *fail.Offset > int64(len(body))) {
				t.Fatalf("offset %d of %d bytes", *fail.Offset, len(body))
			}
			return
		}
		if len(req.items) == 0 || len(req.items) > maxItems || (req.single && len(req.items) != 1) || req.topK < 0 {
			t.Fatalf("accepted %+v", req)
		}
		// What is taken must be what another parser reads.
		var loose struct{ Input any }
		if err := json.Unmarshal(body, &loose); err != nil {
			t.Fatalf("accepted what is not JSON: %v", err)
		}
		if text, ok := loose.Input.(string); ok != req.single || (ok && text != req.items[0].text) {
			t.Fatalf("read %q, want %v", req.items[0].text, loose.Input)
		}
	})
}
