package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cubby/labels"
	"cubby/models"
	"cubby/models/tokenizer"
)

// familyTokenizers are the small vocabularies of the tokenizer's own tests, with
// the special tokens that a prompt may hold.
func familyTokenizers(t *testing.T) map[string]*tokenizer.Tokenizer {
	t.Helper()
	read := func(name string, to any) {
		data, err := os.ReadFile("../models/tokenizer/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, to); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]*tokenizer.Tokenizer{}
	add := func(name string, data []byte) {
		tok, err := tokenizer.FromJSON(data)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = tok
	}
	var made struct {
		Families map[string]struct{ Tokenizer json.RawMessage }
	}
	read("families.json", &made)
	for name, f := range made.Families {
		if name != "gpt2-prefix" { // puts spaces before words, so that no text can stand in a prompt
			add(name, f.Tokenizer)
		}
	}
	var spm struct {
		Bare, Spaced struct {
			Tokenizer map[string]json.RawMessage
		}
	}
	read("sentencepiece.json", &spm)
	for name, parts := range map[string]map[string]json.RawMessage{"gemma": {}, "gemma, spaced": spm.Spaced.Tokenizer} {
		whole := maps.Clone(spm.Bare.Tokenizer)
		maps.Copy(whole, parts)
		if len(parts) > 0 { // no such model has pieces beside the merges
			whole["added_tokens"] = onlySpecial(t, whole["added_tokens"])
		}
		data, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		add(name, data)
	}
	return out
}

func onlySpecial(t *testing.T, added json.RawMessage) json.RawMessage {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal(added, &list); err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(a map[string]any) bool { return a["special"] != true })
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPromptIsTokenisedAsOneString: prefix, text, suffix and answer get the tokens
// that the whole conversation gets as one string.
func TestPromptIsTokenisedAsOneString(t *testing.T) {
	for name, tok := range familyTokenizers(t) {
		begin, end := "<|begin|>", "<|end|>"
		if _, ok := tok.Special(end); !ok {
			begin, end = "<start_of_turn>", "<end_of_turn>"
		}
		p := models.Prompt{Prefix: begin + "user\nSort it.\n\n", Suffix: "\n" + end + "\n" + begin + "model\n"}
		set, err := labels.NewSet([]labels.Label{{Name: "cash withdrawal"}, {Name: "\nthe card"}, {Name: " the"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			out := newPrompt(tok, p)
			shared, rest, err := out.answers(models.Answer{Form: models.Bare, End: end}, set)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				text := rapid.StringMatching(`[ \n]{0,4}(the|th|I|card|é|世|12|'s|[ \n]|\t|!|<){0,12}[ \n]{0,3}`).Draw(t, "text")
				e := out.encode(text)
				for i, l := range set.Names() {
					got := slices.Concat(out.prefix[:len(out.prefix)-e.back], e.tokens, out.suffix, shared, rest[i])
					if want := tok.EncodeSpecial(p.Prefix + text + p.Suffix + l + end); !slices.Equal(got, want) {
						t.Fatalf("%q\n got %v\nwant %v", fmt.Sprint(text), got, want)
					}
				}
			})
		})
	}
}
