package chat

import (
	"fmt"
	"strings"
	"testing"

	"cubby/runtime/remote/remotetest"
)

// refusing makes a server that refuses what the names say, as such servers do.
func refusing(names ...string) func(map[string]any) string {
	return func(in map[string]any) string {
		format, _ := in["response_format"].(map[string]any)
		for _, name := range names {
			switch {
			case name == "json_schema" && format["type"] == "json_schema":
				return `{"error":{"message":"Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.","type":"invalid_request_error","param":"response_format","code":null}}`
			case name == "json_object" && format["type"] == "json_object":
				return `{"error":"'response_format.type' must be 'json_schema' or 'text'"}`
			case name == "top_logprobs" && in["top_logprobs"] == 20.0:
				return `{"object":"error","message":"Requested sample logprobs of 20, which is greater than max allowed: 5","type":"BadRequestError","param":null,"code":400}`
			case name == "logprobs" && in["logprobs"] == true:
				return `{"detail":[{"type":"extra_forbidden","loc":["body","logprobs"],"msg":"Extra inputs are not permitted"}]}`
			case name == "max_tokens" && in["max_tokens"] != nil:
				return `{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens","code":"unsupported_parameter"}}`
			case name == "temperature" && in["temperature"] != nil:
				return `{"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.","param":"temperature"}}`
			}
		}
		return ""
	}
}

func TestTermsFallBack(t *testing.T) {
	for refused, want := range map[string]string{
		"":                        "json_schema, top_logprobs 20, max_tokens, temperature 0",
		"json_schema":             "json_object, top_logprobs 20, max_tokens, temperature 0",
		"json_object":             "json_schema, top_logprobs 20, max_tokens, temperature 0",
		"json_schema json_object": "no response_format, top_logprobs 20, max_tokens, temperature 0",
		"top_logprobs":            "json_schema, top_logprobs 5, max_tokens, temperature 0",
		"logprobs":                "json_schema, no logprobs, max_tokens, temperature 0",
		"max_tokens temperature":  "json_schema, top_logprobs 20, max_completion_tokens, the server's temperature",
		"json_schema json_object logprobs max_tokens temperature": "no response_format, no logprobs, max_completion_tokens, the server's temperature",
	} {
		t.Run(refused, func(t *testing.T) {
			f := newFake(t)
			f.refuse = refusing(strings.Fields(refused)...)
			b := f.open(t)
			if r := one(t, b, "card"); best(r) != "card" {
				t.Errorf("%s", best(r))
			}
			if n := len(f.questions()); n != 1 {
				t.Errorf("%d questions for a text: what was refused is not remembered", n)
			}
			i := b.Info()
			if i.Choice != "asked for "+want || i.Engine.LabelOnly != strings.Contains(want, "no logprobs") {
				t.Errorf("%s, label only %v; want %s", i.Choice, i.Engine.LabelOnly, want)
			}
		})
	}
}

// A refusal that a text brings about changes nothing for the others.
func TestARefusalIsRememberedOnceItHelped(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	f.completions.Always(remotetest.Say(400, `{"error":{"message":"the text 'logprobs response_format temperature max_tokens' is not allowed"}}`))
	if r := one(t, b, "card"); r.Err == nil || r.Err.Code != "engine_failed" {
		t.Errorf("%+v", r)
	}
	if n := f.completions.Asked(); n != 1+2+2+2+1 {
		t.Errorf("%d questions", n)
	}
	f.completions.Always(nil)
	if r := one(t, b, "card"); best(r) != "card" || b.Info().Engine.LabelOnly || b.Info().Choice != (terms{}).String() {
		t.Errorf("%+v, %s", r, b.Info().Choice)
	}
}

func TestLogprobsThatAreNotTold(t *testing.T) {
	f := newFake(t)
	f.told = false
	b := f.open(t)
	if !b.Info().Engine.LabelOnly {
		t.Error("it claims probabilities")
	}
	r := one(t, b, "card")
	if fmt.Sprint(r.Distribution) != "[0 1 0 0]" || f.questions()[0]["logprobs"] != nil {
		t.Errorf("%+v", r)
	}
}

func TestLogprobsThatCannotBeUsed(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	f.completions.Next(remotetest.Say(200, `{"choices":[{"message":{"content":"{\"label\":\"card\"}"},"finish_reason":"stop","logprobs":{"content":[{"token":"hello","logprob":-1}]}}]}`))
	if r := one(t, b, "card"); fmt.Sprint(r.Distribution, r.Unresolved) != "[0 1 0 0] 1" || b.Info().Engine.LabelOnly {
		t.Errorf("%+v", r)
	}
	if u := b.Usage(); u.Untold != 1 {
		t.Errorf("%+v", u)
	}
	f.completions.Next(remotetest.Say(200, `{"choices":[{"message":{"content":"{\"label\":\"card\"}"},"finish_reason":"stop","logprobs":{"tokens":["a"],"token_logprobs":[-1]}}]}`))
	if r := one(t, b, "card"); fmt.Sprint(r.Distribution) != "[0 1 0 0]" || !b.Info().Engine.LabelOnly {
		t.Errorf("another form of log probabilities: %+v", r)
	}
}

// Without response_format the label may come alone; with it, it may not.
func TestBareAnswers(t *testing.T) {
	f := newFake(t)
	f.say = func(string) string { return " 'card'\n" }
	strict := f.open(t)
	if r := one(t, strict, "x"); r.Err == nil || !strings.Contains(r.Err.Error(), "none of the labels") {
		t.Errorf("%+v", r)
	}
	f.refuse = refusing("json_schema", "json_object")
	b := f.open(t)
	if r := one(t, b, "x"); best(r) != "card" {
		t.Errorf("%s", best(r))
	}
	f.set(func() { f.say = func(string) string { return "card, I think" } })
	if r := one(t, b, "x"); r.Err == nil || !strings.Contains(r.Err.Error(), "none of the labels") {
		t.Errorf("%+v", r)
	}
}
