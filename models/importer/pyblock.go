package importer

import (
	"fmt"
	"slices"
)

// statement is a simple statement, or the header of a compound one.
type statement struct {
	tokens []token
	body   []*statement // of a header
	indent int
}

func (s *statement) line() int { return s.tokens[0].line }

// word is the keyword that a compound statement begins with, else empty.
func (s *statement) word() string {
	first := s.tokens[0].text
	if first == "async" && len(s.tokens) > 1 {
		first = s.tokens[1].text
	}
	if slices.Contains(headers, first) || len(s.body) > 0 || isOp(s.tokens[len(s.tokens)-1], ":") {
		return first
	}
	return ""
}

var headers = []string{"def", "class", "if", "elif", "else", "for", "while", "try", "except", "finally", "with"}

func isOp(t token, op string) bool { return t.kind == opToken && t.text == op }

// depths follows brackets: it returns the depth behind a token.
func depthBehind(depth int, t token) int {
	if t.kind == opToken {
		switch t.text {
		case "(", "[", "{":
			return depth + 1
		case ")", "]", "}":
			return max(0, depth-1)
		}
	}
	return depth
}

// blocks arranges tokens as statements, by their indentation.
func blocks(tokens []token) ([]*statement, error) {
	root := &statement{indent: -1}
	open := []*statement{root}
	for len(tokens) > 0 {
		n, indent := lineEnd(tokens), tokens[0].indent
		line := tokens[:n]
		tokens = tokens[min(n+1, len(tokens)):]
		for open[len(open)-1].indent >= indent {
			open = open[:len(open)-1]
		}
		if len(open) > maxNesting {
			return nil, fmt.Errorf("line %d: blocks nest too deep", line[0].line)
		}
		open = place(open, line, indent)
	}
	return root.body, nil
}

// lineEnd is where a logical line ends.
func lineEnd(tokens []token) int {
	n := slices.IndexFunc(tokens, func(t token) bool { return t.kind == newlineToken })
	if n < 0 {
		return len(tokens)
	}
	return n
}

// place puts the statements of one logical line into the innermost open block, and
// opens the block of a header.
func place(open []*statement, line []token, indent int) []*statement {
	for len(line) > 0 {
		parent := open[len(open)-1]
		s := &statement{indent: indent}
		end, header := statementEnd(line)
		s.tokens = line[:end]
		line = line[end:]
		if len(line) > 0 && isOp(line[0], ";") {
			line = line[1:]
		}
		if len(s.tokens) == 0 {
			continue
		}
		parent.body = append(parent.body, s)
		if header {
			open = append(open, s)
		}
	}
	return open
}

// statementEnd is where the first statement of a line ends: at a semicolon, or
// behind the colon of a header, whose block may stand on the same line.
func statementEnd(line []token) (end int, header bool) {
	first := line[0].text
	if first == "async" && len(line) > 1 {
		first = line[1].text
	}
	header = line[0].kind == nameToken && slices.Contains(headers, first)
	depth, lambdas := 0, 0
	for i, t := range line {
		switch depth = depthBehind(depth, t); {
		case depth > 0:
		case t.text == "lambda" && t.kind == nameToken:
			lambdas++
		case isOp(t, ":") && lambdas > 0:
			lambdas--
		case isOp(t, ":") && (header || i == len(line)-1):
			return i + 1, true
		case isOp(t, ";"):
			return i, false
		}
	}
	return len(line), false
}
