package importer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// expression reads one expression from the tokens of a statement and finds what it
// stands for in a scope.
type expression struct {
	*follower
	scope  *scope
	tokens []token
	pos    int
	depth  int // of parentheses and calls
}

// at returns token i; past the end, the end of a line.
func (x *expression) at(i int) token {
	if i < 0 || i >= len(x.tokens) {
		return token{kind: newlineToken}
	}
	return x.tokens[i]
}

func (x *expression) isOp(i int, op string) bool { return isOp(x.at(i), op) }

// accept steps over an operator, if it is next.
func (x *expression) accept(op string) bool {
	if !x.isOp(x.pos, op) {
		return false
	}
	x.pos++
	return true
}

// item reads an expression up to one of the operators, or the end of the
// statement. What is not understood is stepped over and has no known value.
func (x *expression) item(ends ...string) value {
	start := x.pos
	v, err := x.sum()
	next := x.at(x.pos)
	if err == nil && (next.kind == newlineToken || next.kind == opToken && slices.Contains(ends, next.text)) {
		return v
	}
	if err == nil {
		err = fmt.Errorf("line %d: %.40q follows what could be read", x.at(max(start, x.pos-1)).line, next.text)
	}
	depth := 0
	for x.pos = start; x.pos < len(x.tokens); x.pos++ {
		t := x.tokens[x.pos]
		if depth == 0 && t.kind == opToken && slices.Contains(ends, t.text) {
			break
		}
		depth = depthBehind(depth, t)
	}
	return value{err: err}
}

// sum reads terms with "+" between them.
func (x *expression) sum() (value, error) {
	v, err := x.term()
	for err == nil && x.isOp(x.pos, "+") && !x.isOp(x.pos+1, "=") {
		x.pos++
		var w value
		if w, err = x.term(); err == nil {
			v = x.spend(plus(v, w))
		}
	}
	return v, err
}

func (x *expression) term() (value, error) {
	if x.depth++; x.depth > maxNesting {
		return value{}, errors.New("expressions nest too deep")
	}
	defer func() { x.depth-- }()
	if x.at(x.pos).kind == nameToken && x.at(x.pos).text == "await" {
		x.pos++
	}
	v, err := x.primary()
	for err == nil {
		line := x.at(x.pos).line
		switch {
		case x.accept("."):
			name := x.at(x.pos)
			if name.kind != nameToken || !isIdentifier(name.text) {
				return v, fmt.Errorf("line %d: %.40q behind a dot", line, name.text)
			}
			if x.pos++; x.isOp(x.pos, "(") && v.kind == textKind {
				x.pos++
				args, named := x.arguments()
				v = x.spend(stringMethod(v.text, name.text, args, named))
			} else {
				v = x.attribute(v, name.text)
			}
		case x.accept("("):
			args, named := x.arguments()
			v = x.spend(x.call(v, args, named))
		case x.accept("["):
			v = index(v, x.item("]"))
			if !x.accept("]") {
				return v, fmt.Errorf("line %d: an index is not closed", line)
			}
		default:
			return v, nil
		}
		if v.kind == unknownKind {
			v.err = onLine(line, v.err)
		}
	}
	return v, err
}

// onLine names the line of an error that names none.
func onLine(line int, err error) error {
	if strings.HasPrefix(err.Error(), "line ") {
		return err
	}
	return fmt.Errorf("line %d: %w", line, err)
}

func (x *expression) primary() (value, error) {
	t := x.at(x.pos)
	switch {
	case t.kind == stringToken:
		return x.literals()
	case x.accept("("):
		return x.parenthesis()
	case x.accept("["):
		items, err := x.items("]")
		return listValue(items), err
	case x.accept("{"):
		return x.dictionary()
	case t.kind == nameToken && isIdentifier(t.text):
		x.pos++
		return x.name(t), nil
	case t.kind == nameToken:
		x.pos++
		return unknown("line %d: %.40q is not a string", t.line, t.text), nil
	}
	return value{}, fmt.Errorf("line %d: %.40q is not a string", x.at(min(x.pos, len(x.tokens)-1)).line, t.text)
}

func (x *expression) name(t token) value {
	switch t.text {
	case "True", "False":
		return value{kind: boolKind, truth: t.text == "True"}
	case "lambda", "not", "yield":
		return unknown("line %d: %s is not followed here", t.line, t.text)
	}
	v := x.scope.get(t.text)
	if v.kind == unknownKind {
		v.err = onLine(t.line, v.err)
	}
	return v
}

// literals reads string literals side by side.
func (x *expression) literals() (value, error) {
	var b textBuilder
	for ; x.at(x.pos).kind == stringToken; x.pos++ {
		line := x.at(x.pos).line
		part, err := decodeLiteral(x.at(x.pos).text)
		if err == nil {
			part, err = x.filled(part)
		}
		if err != nil {
			return value{}, onLine(line, err)
		}
		b.add(part)
	}
	return x.spend(textValue(b.text())), nil
}

// filled puts values into the fields of an f-string.
func (x *expression) filled(t text) (text, error) {
	if len(t.holes) == 0 {
		return t, nil
	}
	var b textBuilder
	b.add(literal(t.pieces[0]))
	for i, field := range t.holes {
		names := strings.Split(field, ".")
		v := x.scope.get(names[0])
		for _, name := range names[1:] {
			v = x.attribute(v, name)
		}
		u, err := v.asText()
		if err != nil {
			return t, fmt.Errorf("f-string field {%.40s}: %w", field, err)
		}
		b.add(u)
		b.add(literal(t.pieces[i+1]))
		if b.full() {
			return t, fmt.Errorf("a string is longer than %d MiB", maxText>>20)
		}
	}
	return b.text(), nil
}

// parenthesis reads what is behind an opening one: an expression, or a tuple.
func (x *expression) parenthesis() (value, error) {
	if x.depth++; x.depth > maxNesting {
		return value{}, errors.New("expressions nest too deep")
	}
	defer func() { x.depth-- }()
	line := x.at(x.pos - 1).line
	if x.accept(")") {
		return listValue(nil), nil
	}
	if x.isOp(x.pos, "*") {
		items, err := x.items(")")
		return listValue(items), err
	}
	v := x.item(",", ")")
	if x.accept(")") {
		return v, nil
	}
	if !x.accept(",") {
		return v, fmt.Errorf("line %d: no closing parenthesis", line)
	}
	items, err := x.items(")")
	return listValue(append([]value{v}, items...)), err
}

// items reads the elements of a list up to its end.
func (x *expression) items(end string) ([]value, error) {
	if x.depth++; x.depth > maxNesting {
		return nil, errors.New("expressions nest too deep")
	}
	defer func() { x.depth-- }()
	line := x.at(x.pos - 1).line
	var list []value
	for !x.accept(end) {
		if x.accept("*") {
			v := x.item(",", end)
			more, err := v.asItems()
			if err != nil {
				more = []value{{err: err}}
			}
			list = append(list, more...)
		} else {
			list = append(list, x.item(",", end))
		}
		if len(list) > maxItems {
			return nil, fmt.Errorf("line %d: a list is longer than %d", line, maxItems)
		}
		if !x.accept(",") && !x.isOp(x.pos, end) {
			return nil, fmt.Errorf("line %d: a bracket is not closed", line)
		}
	}
	return list, nil
}

// dictionary reads one whose keys are strings.
func (x *expression) dictionary() (value, error) {
	line := x.at(x.pos - 1).line
	d := value{kind: dictKind}
	for !x.accept("}") {
		if x.isOp(x.pos, "*") {
			return d, fmt.Errorf("line %d: a dictionary put into another is not followed here", line)
		}
		k, err := x.item(":", ",", "}").asText()
		if err != nil {
			return d, onLine(line, fmt.Errorf("the key of a dictionary: %w", err))
		}
		key, err := k.plain()
		if err == nil && !x.accept(":") {
			err = fmt.Errorf("no colon behind %.40q", key)
		}
		if err != nil {
			return d, onLine(line, err)
		}
		d = d.with(key, x.item(",", "}"))
		if len(d.keys) > maxItems || !x.accept(",") && !x.isOp(x.pos, "}") {
			return d, fmt.Errorf("line %d: a dictionary is not closed, or too long", line)
		}
	}
	return d, nil
}

// with is a dictionary with one more key, or another value for it.
func (v value) with(key string, item value) value {
	if i := slices.Index(v.keys, key); i >= 0 {
		v.items = slices.Clone(v.items)
		v.items[i] = item
		return v
	}
	v.keys, v.items = append(slices.Clip(v.keys), key), append(slices.Clip(v.items), item)
	return v
}

// arguments reads those of a call, up to its closing parenthesis.
func (x *expression) arguments() (args []value, named map[string]value) {
	named = map[string]value{}
	for x.pos < len(x.tokens) && !x.accept(")") {
		switch name := x.at(x.pos); {
		case name.kind == nameToken && x.isOp(x.pos+1, "=") && !x.isOp(x.pos+2, "="):
			x.pos += 2
			named[name.text] = x.item(",", ")")
		case x.accept("*"):
			x.accept("*")
			x.item(",", ")")
			args = append(args, unknown("line %d: arguments behind a star are not followed here", name.line))
		default:
			args = append(args, x.item(",", ")"))
		}
		x.accept(",")
	}
	return args, named
}

// attribute is v.name.
func (x *expression) attribute(v value, name string) value {
	switch v.kind {
	case unknownKind:
		return v
	case importKind:
		return value{kind: importKind, name: v.name + "." + name}
	case classKind:
		return v.class.get(name, nil)
	case objectKind:
		return v.object.get(name)
	case argumentKind:
		return unknown("%s.%s is not known", v.name, name)
	}
	if v.kind == listKind && name == "copy" {
		return value{kind: importKind, name: "list.copy", items: []value{v}}
	}
	return unknown("the attribute %s is not followed here", name)
}

// call is f(args).
func (x *expression) call(f value, args []value, named map[string]value) value {
	switch f.kind {
	case unknownKind:
		return f
	case functionKind:
		return x.run(f, args, named)
	case classKind:
		return x.construct(f.class, args, named)
	case importKind:
		return x.foreign(f, args, named)
	}
	return unknown("the call is not followed here")
}

// foreign calls the few functions of others that prompts are made with.
func (x *expression) foreign(f value, args []value, named map[string]value) value {
	switch {
	case f.name == "list.copy" && len(args)+len(named) == 0:
		return f.items[0]
	case f.name == "textwrap.dedent" && len(args) == 1 && len(named) == 0:
		t, err := args[0].asText()
		if err != nil {
			return value{err: err}
		}
		return dedent(t)
	case f.name == "list" && len(args) == 1 && len(named) == 0:
		items, err := args[0].asItems()
		if err != nil {
			return value{err: err}
		}
		return listValue(items)
	case f.name == "dict" && len(args) == 0:
		d := value{kind: dictKind}
		for _, key := range slices.Sorted(maps.Keys(named)) {
			d = d.with(key, named[key])
		}
		return d
	}
	return unknown("what %s returns is not followed here", f.name)
}

// index is v[i], for the keys of a dictionary.
func index(v, i value) value {
	if v.kind != dictKind || i.kind != textKind {
		if v.kind == unknownKind {
			return v
		}
		return unknown("an index is not followed here")
	}
	key, err := i.text.plain()
	if at := slices.Index(v.keys, key); err == nil && at >= 0 {
		return v.items[at]
	}
	return unknown("the dictionary has no key %.40q", key)
}
