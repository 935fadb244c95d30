package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// small is a tokenizer.json that loads; the refusal tests change one thing each.
const small = `{"version":"1.0","truncation":null,"padding":null,
"added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":null,
"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},
"post_processor":null,
"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}`

func TestFromJSONAccepts(t *testing.T) {
	for name, edit := range map[string][2]string{
		"as it is":               {"", ""},
		"merges as lines":        {`[["a","b"]]`, `["a b"]`},
		"no merges":              {`[["a","b"]]`, `[]`},
		"byte level alone":       {`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},`, ``},
		"use_regex unsaid":       {`"trim_offsets":true,"use_regex":true}]`, `"trim_offsets":true}]`},
		"sequence of NFC":        {`"normalizer":null`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"}]}`},
		"dropout of zero":        {`"dropout":null`, `"dropout":0.0`},
		"empty prefix":           {`"continuing_subword_prefix":null`, `"continuing_subword_prefix":""`},
		"truncation, ignored":    {`"truncation":null`, `"truncation":{"max_length":512}`},
		"post-processor, unused": {`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing"}`},
	} {
		t.Run(name, func(t *testing.T) {
			data := strings.Replace(small, edit[0], edit[1], 1)
			if name == "byte level alone" {
				data = strings.Replace(data, `"use_regex":true}]}`, `"use_regex":true}`, 1)
			}
			tok, err := FromJSON([]byte(data))
			if err != nil {
				t.Fatal(err)
			}
			want := []int32{2, 0}
			if name == "no merges" {
				want = []int32{0, 1, 0}
			}
			if got := tok.Encode("aba"); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("Encode(aba) = %v, want %v", got, want)
			}
		})
	}
}

func TestFromJSONRefuses(t *testing.T) {
	split := func(pattern, behavior string, invert bool) string {
		quoted, _ := json.Marshal(pattern)
		return fmt.Sprintf(`{"type":"Split","pattern":{"Regex":%s},"behavior":%q,"invert":%v}`, quoted, behavior, invert)
	}
	digits := `{"type":"Digits","individual_digits":true}`
	for _, c := range []struct{ name, from, to, want string }{
		{"not JSON", `{"version"`, `{version`, "invalid character"},
		{"trailing value", `[["a","b"]]}}`, `[["a","b"]]}} {}`, "more than one"},
		{"unknown field", `"fuse_unk"`, `"fuse_all"`, "fuse_all"},
		{"model type", `"type":"BPE"`, `"type":"Unigram"`, `"Unigram"`},
		{"dropout", `"dropout":null`, `"dropout":0.1`, "dropout"},
		{"byte fallback", `"byte_fallback":false`, `"byte_fallback":true`, "byte_fallback"},
		{"subword prefix", `"continuing_subword_prefix":null`, `"continuing_subword_prefix":"##"`, `"##"`},
		{"word suffix", `"end_of_word_suffix":null`, `"end_of_word_suffix":"</w>"`, `"</w>"`},
		{"reachable unknown token", `"unk_token":null`, `"unk_token":"<s>"`, "unk_token"},
		{"normalizer", `"normalizer":null`, `"normalizer":{"type":"Lowercase"}`, `"Lowercase"`},
		{"normalizer in sequence", `"normalizer":null`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"}]}`, `"NFKC"`},
		{"no decoder", `"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`, `"decoder":null`, "decoder: missing"},
		{"decoder", `"decoder":{"type":"ByteLevel"`, `"decoder":{"type":"Metaspace"`, `"Metaspace"`},
		{"pre-tokenizer", `{"type":"Digits","individual_digits":true}`, `{"type":"Whitespace"}`, `"Whitespace"`},
		{"digits in runs", `"individual_digits":true`, `"individual_digits":false`, "individual_digits"},
		{"no add_prefix_space", `"ByteLevel","add_prefix_space":false`, `"ByteLevel"`, "add_prefix_space"},
		{"unknown pattern", digits, split(`\w+`, "Isolated", false), `\\w+`},
		{"pattern removed", digits, split(patternQwen2, "Removed", false), `"Removed"`},
		{"pattern inverted", digits, split(patternQwen2, "Isolated", true), "inverted"},
		{"string pattern", digits, `{"type":"Split","pattern":{"String":" "},"behavior":"Isolated","invert":false}`, "Regex"},
		{"byte level first", digits, `{"type":"ByteLevel","add_prefix_space":false}`, "last step"},
		{"no byte level", `,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`, ``, "last step"},
		{"empty sequence", digits + `,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`, ``, "empty"},
		{"nested sequence", digits, `{"type":"Sequence","pretokenizers":[]}`, `"Sequence"`},
		{"negative id", `"b":1`, `"b":-1`, "id -1"},
		{"huge id", `"b":1`, `"b":2000000000`, "2000000000"},
		{"huge added id", `"id":3`, `"id":9000000000`, "9000000000"},
		{"same id", `"b":1`, `"b":0`, "both have id 0"},
		{"added over ordinary", `"id":3`, `"id":2`, "both have id 2"},
		{"added elsewhere", `"content":"<s>"`, `"content":"ab"`, `"ab" has id 3, but 2`},
		{"added empty", `"content":"<s>"`, `"content":""`, "no text"},
		{"stripping", `"lstrip":false`, `"lstrip":true`, "lstrip"},
		{"single words", `"single_word":false`, `"single_word":true`, "single_word"},
		{"merge of three", `["a","b"]`, `["a","b","a"]`, "not two tokens"},
		{"merge line of one", `[["a","b"]]`, `["ab"]`, "not two tokens"},
		{"merge line of three", `[["a","b"]]`, `["a b c"]`, "not two tokens"},
		{"merge of unknown", `["a","b"]`, `["b","a"]`, `"ba" is not in the vocabulary`},
		{"empty vocabulary", `"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]`, `"vocab":{},"merges":[["a","b"]]`, "not in the vocabulary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := strings.Replace(small, c.from, c.to, 1)
			if data == small {
				t.Fatal("the edit changed nothing")
			}
			_, err := FromJSON([]byte(data))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer.json: ") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestFromVocabularyRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Vocabulary)
		want string
	}{
		{"model", func(v *Vocabulary) { v.Model = "bert" }, `"bert"`},
		{"pre", func(v *Vocabulary) { v.Pre = "deepseek" }, "known are lfm2, llama-bpe, qwen2, qwen35, smollm"},
		{"no tokens", func(v *Vocabulary) { *v = Vocabulary{Model: "gpt2", Pre: "qwen2"} }, "empty"},
		{"no types", func(v *Vocabulary) { v.Types = nil }, "token_type"},
		{"few types", func(v *Vocabulary) { v.Types = v.Types[1:] }, "token_type"},
		{"byte type", func(v *Vocabulary) { v.Types[0] = 6 }, "type 6"},
		{"same text", func(v *Vocabulary) { v.Tokens[1] = "a" }, `both "a"`},
		{"same added text", func(v *Vocabulary) { v.Tokens[4] = "<s>" }, `both "<s>"`},
		{"empty added text", func(v *Vocabulary) { v.Tokens[4] = "" }, "no text"},
		{"merge line", func(v *Vocabulary) { v.Merges[0] = "ab" }, "not two tokens"},
		{"merge of unknown", func(v *Vocabulary) { v.Merges[0] = "b a" }, `"ba" is not in the vocabulary`},
		{"too many", func(v *Vocabulary) { v.Tokens, v.Types = tooMany() }, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Vocabulary{
				Model: "gpt2", Pre: "smollm",
				Tokens: []string{"a", "b", "ab", "<s>", "</s>", "[PAD]"}, Types: []int32{1, 1, 1, 3, 4, 5},
				Merges: []string{"a b"},
			}
			if _, err := FromVocabulary(v); err != nil {
				t.Fatal(err)
			}
			c.edit(&v)
			_, err := FromVocabulary(v)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gguf vocabulary: ") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func tooMany() ([]string, []int32) {
	tokens, types := make([]string, maxTokens+1), make([]int32, maxTokens+1)
	for i := range types {
		types[i] = 5
	}
	return tokens, types
}

// TestAddedTokensOutOfReach gives plain text every way to an added token: as a
// merge's result, as a whole word, and as padding.
func TestAddedTokensOutOfReach(t *testing.T) {
	for _, pre := range []string{"smollm", "llama-bpe", "qwen2"} {
		tok, err := FromVocabulary(Vocabulary{
			Model: "gpt2", Pre: pre,
			Tokens: []string{"a", "b", "c", "ab", "abc", "[PAD]"}, Types: []int32{1, 1, 1, 4, 3, 5},
			Merges: []string{"a b", "ab c"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(tok.Encode("abc")); got != "[0 1 2]" {
			t.Errorf("%s: Encode(abc) = %v", pre, got)
		}
		if got := fmt.Sprint(tok.EncodeSpecial("ababca[PAD]")); got != "[3 4 0]" {
			t.Errorf("%s: EncodeSpecial = %v", pre, got)
		}
	}
}

// TestNormalizedAddedTokens: those marked so are looked for after the others
// and in the normalised text.
func TestNormalizedAddedTokens(t *testing.T) {
	data := strings.Replace(small, `"normalizer":null`, `"normalizer":{"type":"NFC"}`, 1)
	data = strings.Replace(data, `"added_tokens":[`, `"added_tokens":[{"id":4,"content":"e\u0301<s>","normalized":true},`, 1)
	tok, err := FromJSON([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tok.EncodeSpecial("aé<s>a")); got != "[0 3 0]" {
		t.Errorf("EncodeSpecial = %v: the literal token comes first", got)
	}
	data = strings.Replace(data, `e\u0301<s>`, `e\u0301`, 1)
	if tok, err = FromJSON([]byte(data)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"aéb", "ae\u0301b"} {
		if got := fmt.Sprint(tok.EncodeSpecial(text)); got != "[0 4 1]" {
			t.Errorf("EncodeSpecial(%+q) = %v", text, got)
		}
	}
}
