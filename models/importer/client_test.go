package importer

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSystemPrompt(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"double", `SYSTEM_PROMPT = "a 'b'"`, "a 'b'"},
		{"single", `SYSTEM_PROMPT = 'a "b"'`, `a "b"`},
		{"triple", "SYSTEM_PROMPT = \"\"\"\na \"b\" \"\"c\n\"\"\"\n", "\na \"b\" \"\"c\n"},
		{"triple single", "SYSTEM_PROMPT = '''it's\n\\''''", "it's\n'"},
		{"empty", `SYSTEM_PROMPT = ""`, ""},
		{"escapes", `SYSTEM_PROMPT = "a\n\t\\\'\"\x41\u00e9\U0001F600\101\0z\a\b\f\r\v"`, "a\n\t\\'\"Aé😀A\x00z\a\b\f\r\v"},
		{"unknown escape stays", `SYSTEM_PROMPT = "a\d\|"`, `a\d\|`},
		{"octal of one to three digits", `SYSTEM_PROMPT = "\1\12\1234"`, "\x01\nS4"},
		{"raw", `SYSTEM_PROMPT = r"a\n\"b"`, `a\n\"b`},
		{"u prefix", `SYSTEM_PROMPT = U'é'`, "é"},
		{"f-string without holes", `SYSTEM_PROMPT = f"{{x}} \n"`, "{x} \n"},
		{"continued in the string", "SYSTEM_PROMPT = 'a\\\nb'", "ab"},
		{"line continuation", "SYSTEM_PROMPT = \\\n  'a'", "a"},
		{"adjacent", `SYSTEM_PROMPT = "a" 'b' r"\c"`, `ab\c`},
		{"parenthesised", "SYSTEM_PROMPT = (\n  'a'  # one\n\n  'b'\n)\n", "ab"},
		{"nested parentheses", "SYSTEM_PROMPT = (('a' 'b'))", "ab"},
		{"plus", `SYSTEM_PROMPT = "a" + ("b" + "c")`, "abc"},
		{"annotated", `SYSTEM_PROMPT: Final[str] = "a"`, "a"},
		{"CRLF", "import x\r\nSYSTEM_PROMPT = \"\"\"a\r\nb\"\"\"\r\n", "a\nb"},
		{"byte-order mark", "\ufeffSYSTEM_PROMPT = 'a'", "a"},
		{"comment behind", "SYSTEM_PROMPT = 'a' # 'b'", "a"},
		{"semicolon", "SYSTEM_PROMPT = 'a'; x = 1", "a"},
		{"in a docstring too", "\"\"\"SYSTEM_PROMPT = 'x'\n\\N{bogus}\"\"\"\nSYSTEM_PROMPT = 'a'", "a"},
		{"in a comment too", "# SYSTEM_PROMPT = 'x'\nSYSTEM_PROMPT = 'a'", "a"},
		{"used later", "SYSTEM_PROMPT = 'a'\nx = {'content': SYSTEM_PROMPT}\n", "a"},
		{"beside get_prompt", "SYSTEM_PROMPT = 'a'\ndef get_prompt(q):\n  return 1\n", "a"},
		{"brackets in strings", "x = '([{'\nSYSTEM_PROMPT = 'a'", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conv, err := parseClient([]byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if want := (conversation{System: c.want, HasSystem: true}); conv != want {
				t.Errorf("got %+v, want %+v", conv, want)
			}
		})
	}
}

func TestClientRefused(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"nothing", "import os\n", "neither a SYSTEM_PROMPT nor a get_prompt"},
		{"only compared", "x = SYSTEM_PROMPT == 'a'", "neither"},
		{"twice", "SYSTEM_PROMPT = 'a'\nSYSTEM_PROMPT = 'b'", "line 1 and again on line 2"},
		{"extended", "SYSTEM_PROMPT = 'a'\nSYSTEM_PROMPT += 'b'", "again on line 2"},
		{"not assigned", "SYSTEM_PROMPT\n", "not assigned"},
		{"call", "SYSTEM_PROMPT = open('x').read()", `"(" follows`},
		{"method of a string", "SYSTEM_PROMPT = 'a'.strip()", `"." follows`},
		{"formatted", "SYSTEM_PROMPT = 'a' % x", `"%" follows`},
		{"variable", "SYSTEM_PROMPT = OTHER", `depends on the variable "OTHER"`},
		{"hole", "SYSTEM_PROMPT = f'{x}'", `depends on the variable "x"`},
		{"number", "SYSTEM_PROMPT = 3", `"3" is not a string`},
		{"bytes", "SYSTEM_PROMPT = b'a'", `prefix "b"`},
		{"named character", `SYSTEM_PROMPT = "\N{DASH}"`, `\N{…} is not supported`},
		{"surrogate", `SYSTEM_PROMPT = "\ud800"`, "not a character"},
		{"beyond Unicode", `SYSTEM_PROMPT = "\UFFFFFFFF"`, "not a character"},
		{"short escape", `SYSTEM_PROMPT = "\x4"`, "cut short"},
		{"bad escape", `SYSTEM_PROMPT = "\xzz"`, "not a character"},
		{"open string", "SYSTEM_PROMPT = 'a\n", "not closed on its line"},
		{"open triple", "\n\nSYSTEM_PROMPT = '''a\n\n", "starts on line 3 is not closed"},
		{"open parenthesis", "SYSTEM_PROMPT = ('a'", "closing parenthesis"},
		{"deep", "SYSTEM_PROMPT = " + strings.Repeat("(", 1000), "nest too deep"},
		{"not UTF-8", "SYSTEM_PROMPT = '\xff'", "not a UTF-8"},
		{"NUL", "SYSTEM_PROMPT = '\x00'", "not a UTF-8"},
		{"too large", strings.Repeat("#", maxClient+1), "larger than"},
		{"get_prompt without text", "def get_prompt(self):\n  return []", "takes no text"},
		{"get_prompt without return", "def get_prompt(self, q):\n  pass\nx = 1\n", "no return"},
		{"return of another function", "def get_prompt(self, q):\n  pass\ndef f():\n  return [{'role': 'user', 'content': f'{q}'}]\n", "no return"},
		{"no list", "def get_prompt(self, q):\n  return q", "not return a list"},
		{"hole in the system message", "def get_prompt(s, q):\n  return [{'role': 'system', 'content': f'{q}'}, {'role': 'user', 'content': q}]", "system message"},
		{"no hole", "def get_prompt(s, q):\n  return [{'role': 'user', 'content': 'x'}]", "does not hold {s} exactly once"},
		{"two holes", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q}{q}'}]", "exactly once"},
		{"expression", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q.strip()}'}]", "not a plain variable"},
		{"conversion", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q!r}'}]", "not a plain variable"},
		{"roles", "def get_prompt(q):\n  return [{'role': 'tool', 'content': q}]", "not a system and a user"},
		{"shots", "def get_prompt(q):\n  return [{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}, {'role': 'user', 'content': q}]", "not a system and a user"},
		{"other key", "def get_prompt(q):\n  return [{'role': 'user', 'name': q}]", `key "name" is unknown`},
		{"unclosed list", "def get_prompt(q):\n  return [{'role': 'user', 'content': q}", "between messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conv, err := parseClient([]byte(c.src))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v and %+v, want one that holds %q", err, conv, c.want)
			}
		})
	}
}

const oldClient = `
from openai import OpenAI

DEFAULT_QUESTION = """Where is my order?"""


class Client(object):
    def __init__(self, port: int = 11434):
        self.client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1")

    def get_prompt(
        self,
        question: str,
    ) -> list[dict[str, str]]:
        return [
            {
                "role": "system",
                "content": """
Sort the parcel notes; it's simple.

<class_name>late</class_name>
Write <output>test_output</output>
""",
            },
            {
                "role": "user",
                "content": f"""

Now sort this {{one}}
<question>{question}</question>
""",
            },
        ]

    def invoke(self, question: str) -> str:
        return self.client.create(messages=self.get_prompt(question), temperature=0)
`

func TestGetPrompt(t *testing.T) {
	conv, err := parseClient([]byte(oldClient))
	if err != nil {
		t.Fatal(err)
	}
	want := conversation{
		System:    "\nSort the parcel notes; it's simple.\n\n<class_name>late</class_name>\nWrite <output>test_output</output>\n",
		HasSystem: true,
		Before:    "\n\nNow sort this {one}\n<question>",
		After:     "</question>\n",
	}
	if conv != want {
		t.Errorf("got  %+v\nwant %+v", conv, want)
	}
	if a := conv.answer(); a.Form != "tagged" || a.Prefix != "<output>" {
		t.Errorf("answer %+v", a)
	}
}

// Python itself is the judge of what a literal means. A quote and a newline in a
// body may end the assignment early; what then follows is no Python and is left
// out, since the client's other statements are not looked at either.
func TestLiteralsAgreeWithPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	body := rapid.StringOfN(rapid.SampledFrom([]rune(`ab '"\nrtx0178uU{}é😀N`+"\n\t")), 0, 12, -1)
	prefix := rapid.SampledFrom([]string{"", "", "r", "u", "R", "f", "Rf"})
	quote := rapid.SampledFrom([]string{`'`, `"`, `'''`, `"""`})
	type literalCase struct{ Source, Value string }
	var cases []literalCase
	rapid.Check(t, func(t *rapid.T) {
		src := "SYSTEM_PROMPT = "
		for range rapid.IntRange(1, 2).Draw(t, "literals") {
			q := quote.Draw(t, "quote")
			src += prefix.Draw(t, "prefix") + q + body.Draw(t, "body") + q + " "
		}
		if conv, err := parseClient([]byte(src)); err == nil {
			cases = append(cases, literalCase{src, conv.System})
		}
	})
	if len(cases) < 10 {
		t.Fatalf("only %d literals were accepted", len(cases))
	}
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-W", "ignore", "-c", `
import json, sys
def assignment(source):
    lines = source.split("\n")
    for n in range(1, len(lines)):
        try:
            return compile("\n".join(lines[:n]), "client", "exec")
        except SyntaxError:
            pass
    return compile(source, "client", "exec")
for c in json.load(sys.stdin):
    scope = {}
    try:
        exec(assignment(c["Source"]), scope)
    except Exception as e:
        sys.exit("%r is accepted, and Python says %r" % (c["Source"], e))
    if scope["SYSTEM_PROMPT"] != c["Value"]:
        sys.exit("%r is %r, not %r" % (c["Source"], scope["SYSTEM_PROMPT"], c["Value"]))
`)
	cmd.Stdin = strings.NewReader(string(input))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func FuzzClientParse(f *testing.F) {
	f.Add([]byte(oldClient))
	f.Add([]byte("SYSTEM_PROMPT: str = (r'a' f'{{' '''b\\\n''' + \"\\x41\\u00e9\\101\")\n"))
	f.Add([]byte("def get_prompt(self, q=[]):\n return [{'role': ('user'), 'content': 'a' + q + 'b',},]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		conv, err := parseClient(src)
		if err != nil {
			return
		}
		for _, s := range []string{conv.System, conv.Before, conv.After} {
			if !utf8.ValidString(s) {
				t.Fatalf("%q is not UTF-8", s)
			}
		}
		if !conv.HasSystem && conv.System != "" {
			t.Fatal("a system prompt without a system message")
		}
	})
}
