package importer

import (
	"strings"
	"testing"

	"cubby/models"
)

const chatML = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be kind.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}`

// The features that templates of thinking models use: namespaces, reversed
// slices, string methods, tests, and a switch for thinking.
const thinking = `{%- if tools %}
    {{- raise_exception('no tools here') }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or reasoning) %}
            {{- '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
`

const trimming = `{{ bos_token }}{% for message in messages %}
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}
{{ content }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}`

func TestChatPrompt(t *testing.T) {
	plain := ofSystem(" Sort this: {{ x }} {% y %} ")
	around := conversation{Lead: ofSystem("S").Lead, Before: "\n\nNow:\n<q>", After: "</q>\n"}
	for _, c := range []struct {
		name     string
		template string
		conv     conversation
		want     models.Prompt
		trims    bool
	}{
		{"ChatML", chatML, plain, models.Prompt{
			Prefix: "<|im_start|>system\n Sort this: {{ x }} {% y %} <|im_end|>\n<|im_start|>user\n", Suffix: "<|im_end|>\n<|im_start|>assistant\n"}, false},
		{"ChatML without a system message", chatML, conversation{}, models.Prompt{
			Prefix: "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n", Suffix: "<|im_end|>\n<|im_start|>assistant\n"}, false},
		{"ChatML around", chatML, around, models.Prompt{
			Prefix: "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n\n\nNow:\n<q>", Suffix: "</q>\n<|im_end|>\n<|im_start|>assistant\n"}, false},
		{"thinking switched off", thinking, plain, models.Prompt{
			Prefix: "<|im_start|>system\n Sort this: {{ x }} {% y %} <|im_end|>\n<|im_start|>user\n", Suffix: "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"}, false},
		{"trimming", trimming, plain, models.Prompt{
			Prefix: "<s><|start_header_id|>system<|end_header_id|>\n\nSort this: {{ x }} {% y %}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
			Suffix: "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"}, true},
		{"trimming around", trimming, around, models.Prompt{
			Prefix: "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nNow:\n<q>",
			Suffix: "</q><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			chat, err := newChat(c.template, "<s>", "</s>")
			if err != nil {
				t.Fatal(err)
			}
			got, note, err := chat.prompt(c.conv)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if (note != "") != c.trims {
				t.Errorf("note %q", note)
			}
		})
	}
}

func TestChatRefused(t *testing.T) {
	for _, c := range []struct{ name, template, want string }{
		{"syntax", "{% for %}", "chat template"},
		{"unknown filter", "{{ messages[0].content | frobnicate }}", "frobnicate"},
		{"its own refusal", "{{ raise_exception('System role not supported') }}", "System role not supported"},
		{"no text", "hello", "appears 0 times"},
		{"text twice", "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "appears 2 times"},
		{"changes inner space", "{{ messages[-1].content | replace('\n', '') }}", "beyond trimming"},
		{"file", "{% include '/etc/passwd' %}{{ messages[-1].content }}", "chat template"},
		{"larger", strings.Repeat(" ", maxTemplate+1), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chat, err := newChat(c.template, "", "")
			if err == nil {
				_, _, err = chat.prompt(ofSystem("s"))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one that holds %q", err, c.want)
			}
		})
	}
}

func TestChatEnd(t *testing.T) {
	conv := ofSystem("s")
	for _, c := range []struct {
		name, template string
		candidates     []string
		specials       []string
		want           string
	}{
		{"the one that stands there", chatML, []string{"<|endoftext|>", "<|im_end|>"}, nil, "<|im_end|>"},
		{"behind a thinking block", thinking, []string{"<|endoftext|>", "<|im_end|>"}, nil, "<|im_end|>"},
		{"trimming", trimming, []string{"<|end_of_text|>", "<|eot_id|>"}, nil, "<|eot_id|>"},
		{"template without answers", "{{ messages[1].content }}", []string{"</s>", "<e>"}, nil, "</s>"},
		{"another special token", chatML, []string{"<|endoftext|>"}, []string{"<|im", "<|im_end|>", "<|im_start|>"}, "<|im_end|>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chat, err := newChat(c.template, "<s>", "")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := chat.end(conv, c.candidates, c.specials); err != nil || got != c.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	chat, err := newChat(chatML, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chat.end(conv, nil, nil); err == nil {
		t.Error("no candidates, and no error")
	}
}
