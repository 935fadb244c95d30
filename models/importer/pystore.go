package importer

import "slices"

// mutators are the methods that change a list or a dictionary where it stands.
var mutators = []string{"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "update", "setdefault", "popitem"}

// stores appends the names, and attributes as NAME.ATTRIBUTE, that a statement may
// change; with deep, its block's too. It rather names too many than too few.
func stores(s *statement, names []string, deep bool) []string {
	tokens := s.tokens
	if word := s.word(); word == "def" || word == "class" {
		i := slices.IndexFunc(tokens, func(t token) bool { return t.text == word })
		if i+1 < len(tokens) {
			names = append(names, tokens[i+1].text)
		}
		return names
	}
	if tokens[0].text == "import" || tokens[0].text == "from" {
		sc := newScope(nil)
		imports(tokens, sc)
		for name := range sc.names {
			names = append(names, name)
		}
	}
	last := assignedUpTo(tokens)
	for i, t := range tokens {
		if t.kind != nameToken || !isIdentifier(t.text) {
			continue
		}
		name, next := t.text, i+1
		if i+2 < len(tokens) && isOp(tokens[i+1], ".") && tokens[i+2].kind == nameToken && !slices.Contains(mutators, tokens[i+2].text) {
			name, next = name+"."+tokens[i+2].text, i+3
		}
		mutated := next+2 < len(tokens) && isOp(tokens[next], ".") && slices.Contains(mutators, tokens[next+1].text) && isOp(tokens[next+2], "(")
		walrus := next+1 < len(tokens) && isOp(tokens[next], ":") && isOp(tokens[next+1], "=")
		bound := i > 0 && slices.Contains([]string{"as", "global", "nonlocal", "del"}, tokens[i-1].text)
		if i < last || mutated || walrus || bound {
			names = append(names, name)
		}
	}
	if deep {
		for _, inner := range s.body {
			names = stores(inner, names, true)
		}
	}
	return names
}

// assignedUpTo is where the targets of a statement end: at its last "=", or at the
// "in" of a loop.
func assignedUpTo(tokens []token) int {
	last, depth := 0, 0
	for i, t := range tokens {
		depth = depthBehind(depth, t)
		if depth == 0 && isOp(t, "=") && !compares(tokens, i) {
			last = i
		}
		if t.text == "in" && slices.ContainsFunc(tokens[:i], func(t token) bool { return t.text == "for" }) && tokens[0].text != "return" {
			last = max(last, i)
		}
	}
	return last
}

// compares reports whether the "=" at i belongs to an operator that compares.
func compares(tokens []token, i int) bool {
	if i+1 < len(tokens) && isOp(tokens[i+1], "=") {
		return true
	}
	return i > 0 && slices.ContainsFunc([]string{"=", "<", ">", "!"}, func(op string) bool { return isOp(tokens[i-1], op) })
}

// bindsInside reports whether a statement has a ":=".
func bindsInside(tokens []token) bool {
	depth := 0
	for i, t := range tokens {
		depth = depthBehind(depth, t)
		if depth > 0 && isOp(t, ":") && i+1 < len(tokens) && isOp(tokens[i+1], "=") {
			return true
		}
	}
	return false
}
