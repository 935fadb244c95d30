package importer

import (
	"regexp"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// conditionalName is the function that stands for a conditional expression.
const conditionalName = "__conditional"

// conditional is A of "A if C else B" where C is true. Known hole: both are
// evaluated, so a template fails here whose other branch has no value.
func conditional(c, a, b *exec.Value) *exec.Value {
	if c.IsTrue() {
		return a
	}
	return b
}

// withoutConditionals rewrites the conditional expressions in parentheses of a
// Jinja template as calls, because the template engine knows them only as the
// whole of an output or an assignment. Known hole: it does so in raw blocks too.
func withoutConditionals(source string) string {
	var out strings.Builder
	for {
		at := tagStart.FindStringIndex(source)
		if at == nil {
			out.WriteString(source)
			return out.String()
		}
		out.WriteString(source[:at[1]])
		open, rest := source[at[0]:at[1]], source[at[1]:]
		end := map[byte]string{'{': "}}", '%': "%}", '#': "#}"}[open[1]]
		if open[1] == '#' {
			before, after, _ := strings.Cut(rest, end)
			out.WriteString(before)
			source = after
			if len(before) < len(rest) {
				out.WriteString(end)
			}
			continue
		}
		n := expressionEnd(rest, end)
		out.WriteString(inParentheses(rest[:n]))
		source = rest[n:]
	}
}

var tagStart = regexp.MustCompile(`\{[{%#]`)

// expressionEnd is where a tag closes, outside of any string.
func expressionEnd(s, end string) int {
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], end) {
			return i
		}
		i = skipString(s, i)
	}
	return len(s)
}

// skipString returns the index of the last byte of the string literal that begins
// at byte i, or i where none does.
func skipString(s string, i int) int {
	quote := s[i]
	if quote != '\'' && quote != '"' {
		return i
	}
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case quote:
			return j
		}
	}
	return len(s) - 1
}

// inParentheses rewrites what stands in the parentheses of an expression.
func inParentheses(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '(' {
			n := closing(s[i+1:])
			out.WriteByte('(')
			out.WriteString(rewriteItems(s[i+1 : i+1+n]))
			i += n
			continue
		}
		last := skipString(s, i)
		out.WriteString(s[i : last+1])
		i = last
	}
	return out.String()
}

// closing is where the parenthesis closes that is open before s.
func closing(s string) int {
	depth := 1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
		i = skipString(s, i)
	}
	return len(s)
}

// rewriteItems rewrites each of the items that commas part.
func rewriteItems(s string) string {
	items, start := []string{}, 0
	atTop(s, func(i int) bool {
		if s[i] == ',' {
			items, start = append(items, s[start:i]), i+1
		}
		return true
	})
	items = append(items, s[start:])
	for i, item := range items {
		items[i] = rewriteConditional(item)
	}
	return strings.Join(items, ",")
}

// rewriteConditional rewrites "A if C else B".
func rewriteConditional(s string) string {
	a, rest, ok := cutWord(s, "if")
	if !ok {
		return inParentheses(s)
	}
	c, b, ok := cutWord(rest, "else")
	if !ok {
		b = "''"
	}
	return conditionalName + "(" + inParentheses(c) + "," + inParentheses(a) + "," + rewriteConditional(b) + ")"
}

// cutWord cuts an expression around a word that stands outside of brackets.
func cutWord(s, word string) (before, after string, ok bool) {
	before = s
	atTop(s, func(i int) bool {
		if !strings.HasPrefix(s[i:], word) || i > 0 && isNameByte(s[i-1]) || i+len(word) < len(s) && isNameByte(s[i+len(word)]) {
			return true
		}
		before, after, ok = s[:i], s[i+len(word):], true
		return false
	})
	return before, after, ok
}

// atTop visits the bytes of an expression outside of strings and brackets, until
// visit returns false.
func atTop(s string, visit func(i int) bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		default:
			if last := skipString(s, i); last > i {
				i = last
			} else if depth == 0 && !visit(i) {
				return
			}
		}
	}
}
