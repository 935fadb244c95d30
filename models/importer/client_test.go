package importer

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cubby/models"

	"pgregory.net/rapid"
)

// ofSystem is a system message and the text as it is.
func ofSystem(s string) conversation { return conversation{Lead: []message{{"system", s}}} }

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
		{"beside get_prompt", "SYSTEM_PROMPT = 'a'\ndef get_prompt(q):\n  return [{'role': 'system', 'content': SYSTEM_PROMPT}, *q]\n", "a"},
		{"set twice", "SYSTEM_PROMPT = 'a'\nSYSTEM_PROMPT = 'b'", "b"},
		{"extended", "SYSTEM_PROMPT = 'a'\nSYSTEM_PROMPT += 'b'", "ab"},
		{"set together", "X = SYSTEM_PROMPT = 'a'", "a"},
		{"of a class", "class C:\n  SYSTEM_PROMPT = 'a'\n", "a"},
		{"of the nearer class", "class A:\n  P = 'a'\nclass B(A): pass\nclass C(A):\n  P = 'c'\nclass D(B, C): pass\nSYSTEM_PROMPT = D.P", "c"},
		{"of classes that double", doubling(40) + "SYSTEM_PROMPT = C40.P", "a"},
		{"copied", "A = 'a'\nB: str = A + 'b'\nSYSTEM_PROMPT = B + A\nA = 'c'", "aba"},
		{"stripped", `SYSTEM_PROMPT = ' \x1c a\n'.strip() + 'xyx'.strip('x') + ' b '.lstrip() + ' c '.rstrip()`, "ayb  c"},
		{"dedented", "import textwrap as tw\n" + `SYSTEM_PROMPT = tw.dedent('\n  a\n\t \n    b\n')`, "\na\n\n  b\n"},
		{"dedented, imported by name", "from textwrap import dedent\n" + `SYSTEM_PROMPT = dedent(' a\n b')`, "a\nb"},
		{"formatted", "SYSTEM_PROMPT = '{{{}}}{x}{}'.format('a', 'b', x='c')", "{a}cb"},
		{"joined", "SYSTEM_PROMPT = ', '.join(['a', *('b', 'c')])", "a, b, c"},
		{"replaced", "SYSTEM_PROMPT = 'a.b.'.replace('.', ',')", "a,b,"},
		{"of a dictionary", "P = {'a': 'x', 'b': 'y', 'a': 'z'}\nSYSTEM_PROMPT = P['a']", "z"},
		{"called", "def f(x, y='b'):\n  'doc'\n  z = x + y\n  return z\nSYSTEM_PROMPT = f('a') + f(x='c', y='d')", "abcd"},
		{"a branch elsewhere", "SYSTEM_PROMPT = 'a'\nif x:\n  y = 1\nelse: z = 2\nfor i in range(3): j = i\n", "a"},
		{"declared as UTF-8", "#!/usr/bin/python\n# -*- coding: utf-8 -*-\nSYSTEM_PROMPT = 'é'", "é"},
		{"brackets in strings", "x = '([{'\nSYSTEM_PROMPT = 'a'", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conv, err := parseClient([]byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if want := ofSystem(c.want); !reflect.DeepEqual(conv, want) {
				t.Errorf("got %+v, want %+v", conv, want)
			}
		})
	}
}

func TestClientRefused(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"nothing", "import os\n", "neither a SYSTEM_PROMPT nor a get_prompt"},
		{"only compared", "x = SYSTEM_PROMPT == 'a'", "neither"},
		{"not assigned", "SYSTEM_PROMPT\n", "neither"},
		{"call", "SYSTEM_PROMPT = open('x').read()", "line 1: what open returns is not followed here"},
		{"method of a string", "SYSTEM_PROMPT = 'a'.upper()", "line 1: the method upper of a string"},
		{"percent", "SYSTEM_PROMPT = 'a' % x", `"%" follows`},
		{"variable", "SYSTEM_PROMPT = OTHER", "the value of OTHER is not known"},
		{"hole", "SYSTEM_PROMPT = f'{x}'", "field {x}: the value of x is not known"},
		{"condition", "SYSTEM_PROMPT = 'a'\nif x:\n  SYSTEM_PROMPT = 'b'\n", "SYSTEM_PROMPT is changed on line 2"},
		{"condition on its line", "SYSTEM_PROMPT = 'a'\nif x: SYSTEM_PROMPT = 'b'\n", "SYSTEM_PROMPT is changed on line 2"},
		{"conditional expression", "SYSTEM_PROMPT = 'a' if x else 'b'", `"if" follows`},
		{"or", "SYSTEM_PROMPT = x or 'b'", `"or" follows`},
		{"changed by a function", "SYSTEM_PROMPT = 'a'\ndef f():\n  global SYSTEM_PROMPT\n  SYSTEM_PROMPT = 'b'\n", "changed by a function, line 3"},
		{"changed by :=", "SYSTEM_PROMPT = 'a'\nprint((SYSTEM_PROMPT := 'b'))\n", "changed on line 2"},
		{"changed in a tuple", "SYSTEM_PROMPT = 'a'\nx, SYSTEM_PROMPT = 'bc'\n", "changed on line 2"},
		{"changed in a loop", "SYSTEM_PROMPT = 'a'\nfor SYSTEM_PROMPT in 'bc': pass\n", "changed on line 2"},
		{"imported", "from prompts import SYSTEM_PROMPT\n", "the value of prompts.SYSTEM_PROMPT is not known"},
		{"specification", "SYSTEM_PROMPT = '{:>3}'.format('a')", "field {:>3} is not a plain name"},
		{"fields numbered and not", "SYSTEM_PROMPT = '{0}{}'.format('a', 'b')", "numbered and not numbered"},
		{"missing field", "SYSTEM_PROMPT = '{x}'.format(y='a')", "field {x} has no value"},
		{"dedented text", "import textwrap\ndef get_prompt(q):\n  return [{'role': 'user', 'content': textwrap.dedent(f' a {q}')}]", "dedent of a string with a variable"},
		{"odd space", "import textwrap\n" + `SYSTEM_PROMPT = textwrap.dedent(' a\n\f\n')`, "differs between versions"},
		{"stripped text", "def get_prompt(q):\n  return [{'role': 'user', 'content': f' {q}.'.strip()}]", "strips the text itself"},
		{"another encoding", "# coding: latin-1\nSYSTEM_PROMPT = 'a'", "encoded as latin-1"},
		{"another encoding, second line", "#!x\n# vim: set fileencoding=cp1252 :\nSYSTEM_PROMPT = 'a'", "encoded as cp1252"},
		{"doubling", "SYSTEM_PROMPT = 'abcdefgh'\n" + strings.Repeat("SYSTEM_PROMPT += SYSTEM_PROMPT\n", 40), "longer than"},
		{"many calls", "def f0(): return 'a'\n" + calls(14) + "SYSTEM_PROMPT = f14()\n", "too "},
		{"recursion", "def f(): return f()\nSYSTEM_PROMPT = f()", "nest too deep"},
		{"deep blocks", deepBlocks(100), "nest too deep"},
		{"nothing of classes that double", doubling(40) + "SYSTEM_PROMPT = C40.Q", "C40 has no Q"},
		{"many classes", doubling(maxOrder) + "SYSTEM_PROMPT = 'a'", "class C64 is made of more than 63 others"},
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
		{"deep", "SYSTEM_PROMPT = " + strings.Repeat("(", 1000), "closing parenthesis"},
		{"not UTF-8", "SYSTEM_PROMPT = '\xff'", "not a UTF-8"},
		{"NUL", "SYSTEM_PROMPT = '\x00'", "not a UTF-8"},
		{"too large", strings.Repeat("#", maxClient+1), "larger than"},
		{"get_prompt without text", "def get_prompt(self):\n  return []", "there are none"},
		{"get_prompt without return", "def get_prompt(self, q):\n  pass\nx = 1\n", "returns nothing"},
		{"return of another function", "def get_prompt(self, q):\n  pass\ndef f():\n  return [{'role': 'user', 'content': f'{q}'}]\n", "returns nothing"},
		{"no list", "def get_prompt(q):\n  return f'{q}'", "not a list of messages"},
		{"hole in the system message", "def get_prompt(s, q):\n  return [{'role': 'system', 'content': f'{q}'}, {'role': 'user', 'content': q}]", "the system's: it depends on"},
		{"no hole", "def get_prompt(s, q):\n  return [{'role': 'user', 'content': 'x'}]", "holds 0 variables"},
		{"two holes", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q}{q}'}]", "holds 2 variables"},
		{"expression", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q.strip()}'}]", "not a plain variable"},
		{"conversion", "def get_prompt(q):\n  return [{'role': 'user', 'content': f'{q!r}'}]", "not a plain variable"},
		{"roles", "def get_prompt(q):\n  return [{'role': 'tool', 'content': q}]", "the last message is the tool's"},
		{"half a shot", "def get_prompt(q):\n  return [{'role': 'user', 'content': 'a'}, {'role': 'user', 'content': q}]", "is the user's too"},
		{"late system message", "def get_prompt(q):\n  return [{'role': 'user', 'content': 'a'}, {'role': 'system', 'content': 'b'}, {'role': 'user', 'content': q}]", `role "system" instead of "assistant"`},
		{"text in the middle", "def get_prompt(q):\n  return [*q, {'role': 'user', 'content': 'b'}]", "messages follow those in q"},
		{"two texts", "def get_prompt(q, context):\n  return [{'role': 'user', 'content': context + q}]", "whether context and q are"},
		{"two texts in a string", "def get_prompt(q, context):\n  return [{'role': 'user', 'content': f'{context} {q}'}]", "holds 2 variables"},
		{"condition on the text", "def get_prompt(q):\n  if len(q) > 9:\n    return []\n  return [{'role': 'user', 'content': q}]", "depends on a condition"},
		{"changed text", "def get_prompt(q):\n  q = q.strip()\n  return [{'role': 'user', 'content': q}]", "q.strip is not known"},
		{"filtered", "def get_prompt(q):\n  return [m for m in q if m]", `"for" follows`},
		{"decorated", "@cache\ndef get_prompt(q):\n  return [{'role': 'user', 'content': q}]", "is decorated"},
		{"outside of a function", "SYSTEM_PROMPT = 'a'\nclient.create(messages=[{'role': 'user', 'content': 'x'}])", "line 2: messages are sent outside of any function"},
		{"two conversations", "def a(q):\n  c(messages=[{'role': 'user', 'content': q}])\ndef b(q):\n  c(messages=[{'role': 'user', 'content': q + '.'}])\n", "line 2 sends other messages than line 4"},
		{"not the system prompt alone", "SYSTEM_PROMPT = 'a'\ndef invoke(q):\n  c(messages=[{'role': 'system', 'content': SYSTEM_PROMPT + x()}, *q])\n", "what x returns"},
		{"sent by another object", "class B:\n  def chat(self, m):\n    c.create(messages=m)\nclass A:\n  def __init__(self, b):\n    self.b = b\n  def invoke(self, q):\n    return self.b.chat([{'role': 'system', 'content': 'a'}] + q)\n", "line 8: messages: the call cannot be followed"},
		{"history", "class A:\n  def __init__(self):\n    self.m = [{'role': 'system', 'content': 'a'}]\n  def invoke(self, q):\n    self.m.append({'role': 'user', 'content': q})\n    c.create(messages=self.m)\n", "self.m is changed by invoke"},
		{"subclass with another prompt", "class B:\n  P = 'a'\n  def invoke(self, q):\n    c.create(messages=[{'role': 'system', 'content': self.P}, *q])\nclass A(B):\n  P = 'b'\n", "line 4 sends other messages than line 4"},
		{"reasoning unknown", "SYSTEM_PROMPT = 'a'\nx = {'enable_thinking': THINK}", "line 2: whether the model reasons"},
		{"other key", "def get_prompt(q):\n  return [{'role': 'user', 'name': q}]", `key "name": it is not one that is known`},
		{"unclosed list", "def get_prompt(q):\n  return [{'role': 'user', 'content': q}", "a bracket is not closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conv, err := parseClient([]byte(c.src))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v and %.500s, want one that holds %q", err, fmt.Sprint(conv), c.want)
			}
		})
	}
}

// calls are functions each of which calls the one before it four times.
func calls(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "def f%d(): return f%[2]d() + f%[2]d() + f%[2]d() + f%[2]d()\n", i, i-1)
	}
	return b.String()
}

// doubling are classes each of which names the one before it as its base twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("class C0:\n  P = 'a'\n  def f(self): self.x = 'b'\n")
	for i := range n {
		fmt.Fprintf(&b, "class C%d(C%[2]d, C%[2]d): pass\n", i+1, i)
	}
	return b.String()
}

// However often classes name each other as bases, each is walked once.
func TestClassesAreWalkedOnce(t *testing.T) {
	c := &class{name: "C0", scope: newScope(nil)}
	c.scope.names["f"] = value{kind: functionKind, function: &function{name: "f"}}
	c.order = orderOf(c, nil)
	for i := 1; i < maxOrder; i++ {
		d := &class{name: fmt.Sprintf("C%d", i), scope: newScope(nil)}
		d.order = orderOf(d, []*class{c, c})
		if c = d; len(c.order) != i+1 || c.order[0] != c || len(c.methods()) != 1 {
			t.Fatalf("%s: %d classes, %d methods", c.name, len(c.order), len(c.methods()))
		}
	}
}

func deepBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "if x:\n")
	}
	return b.String() + strings.Repeat(" ", n) + "SYSTEM_PROMPT = 'a'\n"
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
		Lead:   []message{{"system", "\nSort the parcel notes; it's simple.\n\n<class_name>late</class_name>\nWrite <output>test_output</output>\n"}},
		Before: "\n\nNow sort this {one}\n<question>",
		After:  "</question>\n",
	}
	if !reflect.DeepEqual(conv, want) {
		t.Errorf("got  %+v\nwant %+v", conv, want)
	}
	if forms := stated(conv.prompt()); !slices.Equal(forms, []models.Answer{tagged}) {
		t.Errorf("forms %+v", forms)
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
	var cases []pythonCase
	rapid.Check(t, func(t *rapid.T) {
		src := "SYSTEM_PROMPT = "
		for range rapid.IntRange(1, 2).Draw(t, "literals") {
			q := quote.Draw(t, "quote")
			src += prefix.Draw(t, "prefix") + q + body.Draw(t, "body") + q + " "
		}
		if conv, err := parseClient([]byte(src)); err == nil {
			cases = append(cases, pythonCase{src, conv.Lead[0].Content})
		}
	})
	askPython(t, python, cases)
}

// So it is of the methods that are followed, and of what is done to lists.
func TestMethodsAgreeWithPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	text := rapid.Map(rapid.StringOfN(rapid.SampledFrom([]rune("ab {}0x \n\t\r\f\x1c\u00a0\u2028é😀")), 0, 16, -1), func(s string) string {
		data, _ := json.Marshal(s) // a string of JSON is one of Python
		return string(data)
	})
	space := rapid.Map(rapid.StringOfN(rapid.SampledFrom([]rune("ab \t\n")), 0, 24, -1), func(s string) string {
		data, _ := json.Marshal(s)
		return string(data)
	})
	var cases []pythonCase
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c")
		src := rapid.SampledFrom([]string{
			"A.strip()", "A.lstrip()", "A.rstrip()", "A.strip(B)", "A.lstrip(B)", "A.rstrip(B)",
			"A.format(B, C)", "('{0}{x}' + A).format(B, C, x=C)", "A.replace(B, C)", "A.join([B, C, A])", "B.join((A,))",
			"textwrap.dedent(D)", "textwrap.dedent(D + '\\n  ' + D).strip()", "f'{{A}} {a}{b}' + A", "{'x': A, 'y': B}['y'] + (A)",
			"build(B, c=C)", "''.join(parts)",
		}).Draw(t, "expression")
		src = strings.NewReplacer("A", a, "B", b, "C", c, "D", space.Draw(t, "d")).Replace(src)
		src = "import textwrap\na, b = 1, 2\na = " + a + "\nb = a + " + b + "\nparts = [a]\nparts.append(b)\nparts += [" + c + "]\nparts.insert(0, '-')\n" +
			"def build(x, c, d='='):\n    y = d + x\n    if y: pass\n    return y + c\nSYSTEM_PROMPT = " + src + "\n"
		if conv, err := parseClient([]byte(src)); err == nil {
			cases = append(cases, pythonCase{src, conv.Lead[0].Content})
		}
	})
	askPython(t, python, cases)
}

// pythonCase is a client and the system prompt that was lifted from it.
type pythonCase struct{ Source, Value string }

// askPython runs the clients and fails where one has another prompt.
func askPython(t *testing.T, python string, cases []pythonCase) {
	t.Helper()
	t.Logf("%d clients", len(cases))
	if len(cases) < 10 {
		t.Fatalf("only %d were accepted", len(cases))
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
        if "SYSTEM_PROMPT" not in "\n".join(lines[:n]):
            continue
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
		for _, m := range conv.messages("text") {
			if !utf8.ValidString(m.Content) || !utf8.ValidString(m.Role) {
				t.Fatalf("%q is not UTF-8", m)
			}
		}
		if !strings.Contains(conv.messages("\uf8ff")[len(conv.Lead)].Content, "\uf8ff") {
			t.Fatalf("the text is not in %+v", conv)
		}
	})
}
