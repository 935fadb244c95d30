package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cubby/eval"
	"cubby/labels"
	"cubby/models"
)

func testStudent(t *testing.T) *student {
	t.Helper()
	set, err := labels.NewSet([]labels.Label{{Name: "cash"}, {Name: `say "hi"\`}, {Name: "two\nlines"}})
	if err != nil {
		t.Fatal(err)
	}
	return &student{set: set, manifest: models.Manifest{
		Prompt: models.Prompt{Prefix: "<s>sort: ", Suffix: "</s>"},
		Answer: models.Answer{Form: models.Tagged, Prefix: "<output>", Suffix: "</output>", End: "<end>"},
	}}
}

func TestGrammar(t *testing.T) {
	want := `root ::= "<output>cash</output>" | "<output>say \"hi\"\\</output>" | "<output>two\nlines</output>"`
	if got := testStudent(t).grammar(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnswer(t *testing.T) {
	s := testStudent(t)
	for written, want := range map[string]int{
		"<output>cash</output>": 0, " cash\n": 0, "<output>cash": 0, "\n<output>two\nlines</output>": 2, "cas": -1, "": -1, "<output></output>": -1,
	} {
		a := s.answer(written)
		if want < 0 {
			if a.Err == nil {
				t.Errorf("%q is taken for a label: %v", written, a.Distribution)
			}
			continue
		}
		if best, p := a.Distribution.Best(); best != want || p != 1 || a.Err != nil || a.Distribution.Check() != nil {
			t.Errorf("%q: got %+v, want label %d", written, a, want)
		}
	}
}

// The server gets the prompt to the byte, and what holds it to the labels.
func TestLlamaServerClassifier(t *testing.T) {
	s := testStudent(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Prompt, Grammar string
			CachePrompt     bool `json:"cache_prompt"`
			Temperature     *float64
			NPredict        int `json:"n_predict"`
			Stop            []string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		text, ok := strings.CutPrefix(in.Prompt, "<s>sort: ")
		text, end := strings.CutSuffix(text, "</s>")
		if !ok || !end || r.URL.Path != "/completion" || in.Grammar != s.grammar() || !in.CachePrompt ||
			in.Temperature == nil || *in.Temperature != 0 || in.NPredict < 26 || !slices.Equal(in.Stop, []string{"<end>"}) {
			t.Errorf("%s %+v", r.URL, in)
		}
		if text == "broken" {
			http.Error(w, "out of slots", http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"content": text})
	}))
	defer server.Close()
	c := llamaServerClassifier(server.URL, s)
	answers, err := c.Classify(t.Context(), []string{"cash", "nonsense", "two\nlines"})
	if err != nil || len(answers) != 3 {
		t.Fatal(answers, err)
	}
	if answers[0].Distribution[0] != 1 || answers[1].Err == nil || answers[2].Distribution[2] != 1 {
		t.Errorf("got %+v", answers)
	}
	if _, err := c.Classify(t.Context(), []string{"cash", "broken"}); err == nil || !strings.Contains(err.Error(), "out of slots") {
		t.Errorf("got %v", err)
	}
}

// However many clients there are, each gets the answer to its own text, no
// batch is larger than allowed, and batches fill up.
func TestBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sizes := map[int]int{}
		b := &batcher{asks: make(chan ask), most: 16, score: func(texts []string) ([]eval.Answer, error) {
			mu.Lock()
			defer mu.Unlock()
			sizes[len(texts)]++
			time.Sleep(time.Second)
			answers := make([]eval.Answer, len(texts))
			for i, text := range texts {
				if text == "bad" {
					return nil, errors.New("no such batch")
				}
				fmt.Sscan(text, &answers[i].Tokens)
			}
			return answers, nil
		}}
		done := make(chan struct{})
		go func() { // ends, unlike newBatcher's
			defer close(done)
			for range 7 {
				b.answer(b.gather())
			}
		}()
		var wg sync.WaitGroup
		for client := range 32 {
			wg.Go(func() {
				for i := range 3 {
					n := client*3 + i + 1
					answers, err := b.Classify(t.Context(), []string{fmt.Sprint(n)})
					if err != nil || len(answers) != 1 || answers[0].Tokens != n {
						t.Errorf("text %d: %v, %v", n, answers, err)
					}
				}
			})
		}
		wg.Wait()
		if sizes[16] != 6 {
			t.Errorf("96 texts of 32 clients went in batches of %v", sizes)
		}
		if _, err := b.Classify(t.Context(), []string{"bad"}); err == nil {
			t.Error("a batch that failed has answers")
		}
		<-done
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Classify(ctx, []string{"1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestVersions(t *testing.T) {
	if got := llamaVersion([]byte("ggml loaded\nversion: 0.1.0 (build 1)\nbuilt with GNU\n")); got != "0.1.0 (build 1)" {
		t.Errorf("got %q", got)
	}
	if got := ollamaVersion([]byte("ollama version is 0.32.14\n"), "absent"); got != "0.32.14" {
		t.Errorf("got %q", got)
	}
	if got := ollamaVersion([]byte("client version is 0.0.0"), "absent"); got != "unknown" {
		t.Errorf("got %q", got)
	}
}

func TestTail(t *testing.T) {
	var l tail
	for i := range 1000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	if s := l.String(); !strings.HasSuffix(s, "line 998 line 999") || len(s) > tailBytes || strings.Contains(s, "line 1 ") {
		t.Errorf("got %q", s)
	}
}
