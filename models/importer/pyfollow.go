package importer

import (
	"maps"
	"slices"
	"strings"
)

// Bounds on the work of following a client.
const (
	maxSteps = 100_000   // statements
	maxSpent = 256 << 20 // bytes of all strings that are made
	maxCalls = 16        // inside each other
	maxOrder = 64        // classes that one is made of
)

// follower goes through the statements of a client in the order in which they run
// and keeps what is known for certain. It collects what is given as messages to
// anything that is not part of the client. Known hole: a list that two names share
// and that one of them changes where it stands is changed for that one only.
type follower struct {
	module   *scope
	sending  *sending // what is followed to the messages; nil while the module itself runs
	inMethod bool     // one of a class is being followed
	sent     []sent
	steps    int
	spent    int
	calls    int // inside each other
}

// sent is one value of an argument "messages".
type sent struct {
	line  int
	value value
}

// scope holds the values of names.
type scope struct {
	names map[string]value
	outer *scope
	class *class // whose methods are being run, or nil
}

func newScope(outer *scope) *scope { return &scope{names: map[string]value{}, outer: outer} }

func (s *scope) get(name string) value {
	for ; s != nil; s = s.outer {
		if v, ok := s.names[name]; ok {
			return v
		}
	}
	return value{kind: importKind, name: name}
}

// function is one of the client's own.
type function struct {
	name   string
	params []param
	body   []*statement
	class  *class
	line   int
	static bool   // takes no object
	odd    string // why it cannot be called here
}

// param is one parameter; def is nil without a default.
type param struct {
	name string
	def  *value
	star bool
}

// class is one of the client's own.
type class struct {
	name  string
	scope *scope
	order []*class // itself and all its bases, each once, the first to be asked first
}

// instance is an object of a class.
type instance struct {
	class *class
	attrs map[string]value
	fixed map[string]bool // attributes that methods change, whose value is never known
}

// get finds an attribute in a class; of an object, methods are bound to it.
func (c *class) get(name string, o *instance) value {
	for _, k := range c.order {
		if v, ok := k.scope.names[name]; ok {
			if v.kind == functionKind && o != nil {
				v.object = o
			}
			return v
		}
	}
	return unknown("%s has no %s that can be followed here", c.name, name)
}

func (o *instance) get(name string) value {
	if v, ok := o.attrs[name]; ok {
		return v
	}
	return o.class.get(name, o)
}

// spend counts the bytes that a value took.
func (f *follower) spend(v value) value {
	if v.kind == textKind {
		f.spent += v.text.size()
	}
	f.spent += 64 * len(v.items)
	if f.spent > maxSpent {
		return unknown("the client makes too long strings")
	}
	return v
}

// frame is the run of one block of statements.
type frame struct {
	scope    *scope
	returned *value
	maybe    int // line of a return that does not always run
}

// follow runs statements.
func (f *follower) follow(body []*statement, fr *frame) {
	var decorators []string
	for _, s := range body {
		if fr.returned != nil {
			return
		}
		if f.steps++; f.steps > maxSteps {
			v := unknown("the client takes too many steps")
			fr.returned = &v
			return
		}
		f.sends(s, fr.scope)
		if isOp(s.tokens[0], "@") {
			decorators = append(decorators, s.text(1))
			continue
		}
		f.statement(s, fr, decorators)
		decorators = nil
	}
}

// text joins the tokens of a statement from one on.
func (s *statement) text(from int) string {
	var b strings.Builder
	for _, t := range s.tokens[from:] {
		b.WriteString(t.text)
	}
	return b.String()
}

func (f *follower) statement(s *statement, fr *frame, decorators []string) {
	switch s.word() {
	case "":
		f.simple(s, fr)
	case "def":
		f.define(s, fr.scope, decorators)
	case "class":
		f.defineClass(s, fr.scope)
	case "with", "try":
		f.forget(fr.scope, stores(s, nil, false), s.line())
		f.follow(s.body, fr)
	default:
		f.branch(s, fr)
	}
}

// branch runs a block that may run or not, or often, on a copy of the scope; what
// it changes is unknown behind it.
func (f *follower) branch(s *statement, fr *frame) {
	changed := stores(s, nil, true)
	inner := &frame{scope: &scope{names: maps.Clone(fr.scope.names), outer: fr.scope.outer, class: fr.scope.class}}
	if word := s.word(); word == "for" || word == "while" {
		f.forget(inner.scope, changed, s.line())
	}
	f.follow(s.body, inner)
	if inner.returned != nil && fr.maybe == 0 {
		fr.maybe = s.line()
	}
	fr.maybe = max(fr.maybe, inner.maybe)
	f.forget(fr.scope, changed, s.line())
}

// forget makes names unknown.
func (f *follower) forget(sc *scope, names []string, line int) {
	for _, name := range names {
		f.set(sc, name, unknown("%s is changed on line %d in a way that is not followed here", name, line))
	}
}

// set gives a name, or an attribute of the object at hand, its value.
func (f *follower) set(sc *scope, name string, v value) {
	owner, attr, dotted := strings.Cut(name, ".")
	if !dotted {
		sc.names[name] = v
		return
	}
	switch o := sc.get(owner); o.kind {
	case objectKind:
		if !o.object.fixed[attr] {
			o.object.attrs[attr] = v
		}
	case classKind:
		o.class.scope.names[attr] = v
	}
}

// simple runs a statement without a block.
func (f *follower) simple(s *statement, fr *frame) {
	x := &expression{follower: f, scope: fr.scope, tokens: s.tokens}
	switch first := s.tokens[0]; {
	case first.kind != nameToken:
		f.forget(fr.scope, stores(s, nil, true), s.line())
	case first.text == "return":
		x.pos = 1
		v := x.item()
		if fr.maybe > 0 {
			v = unknown("line %d: what is returned depends on a condition", fr.maybe)
		}
		fr.returned = &v
	case first.text == "import" || first.text == "from":
		imports(s.tokens, fr.scope)
	default:
		if bindsInside(s.tokens) || !f.assign(x, fr.scope) {
			f.forget(fr.scope, stores(s, nil, true), s.line())
		}
	}
}

// target reads a name, or an attribute of a name, at a place.
func (x *expression) target(i int) (name string, next int) {
	t := x.at(i)
	if t.kind != nameToken || !isIdentifier(t.text) {
		return "", i
	}
	if x.isOp(i+1, ".") && x.at(i+2).kind == nameToken && !x.isOp(i+3, "(") && !x.isOp(i+3, ".") {
		return t.text + "." + x.at(i+2).text, i + 3
	}
	return t.text, i + 1
}

// assign runs an assignment, with or without an annotation, "+=" and what appends
// to a list. It reports false for anything else.
func (f *follower) assign(x *expression, sc *scope) bool {
	name, next := x.target(0)
	if name == "" {
		return false
	}
	equals := func(i int) bool { return x.isOp(i, "=") && !x.isOp(i+1, "=") }
	switch {
	case equals(next):
		names := []string{name}
		for x.pos = next + 1; ; {
			other, after := x.target(x.pos)
			if other == "" || !equals(after) {
				break
			}
			names, x.pos = append(names, other), after+1
		}
		v := x.item()
		for _, n := range names {
			f.set(sc, n, v)
		}
		return true
	case x.isOp(next, ":") && !x.isOp(next+1, "="):
		depth := 0
		for i := next; i < len(x.tokens); i++ {
			if depth = depthBehind(depth, x.tokens[i]); depth == 0 && equals(i) {
				x.pos = i + 1
				f.set(sc, name, x.item())
				return true
			}
		}
		return true // an annotation alone
	case x.isOp(next, "+") && x.isOp(next+1, "="):
		x.pos = next + 2
		f.set(sc, name, f.spend(plus(x.current(name), x.item())))
		return true
	case x.isOp(next, "."):
		return f.grow(x, sc, name, next+1)
	}
	return false
}

// current is the value of a name, or of an attribute.
func (x *expression) current(name string) value {
	owner, attr, dotted := strings.Cut(name, ".")
	v := x.scope.get(owner)
	if dotted {
		v = x.attribute(v, attr)
	}
	return v
}

// grow runs NAME.append(…), NAME.extend(…) and NAME.insert(0, …).
func (f *follower) grow(x *expression, sc *scope, name string, i int) bool {
	if !x.isOp(i+1, "(") {
		return false
	}
	method, list := x.at(i).text, x.current(name)
	var v value
	switch x.pos = i + 2; method {
	case "append":
		v = plus(list, listValue([]value{x.item(")")}))
	case "extend":
		v = plus(list, x.item(")"))
	case "insert":
		if x.at(x.pos).text != "0" || !x.isOp(x.pos+1, ",") {
			return false
		}
		x.pos += 2
		v = plus(listValue([]value{x.item(",", ")")}), list)
	default:
		return false
	}
	if list.kind == argumentKind {
		v = unknown("%s is changed where it stands", name)
	}
	f.set(sc, name, f.spend(v))
	return true
}

// imports binds what an import statement names.
func imports(tokens []token, sc *scope) {
	from := ""
	i := 1
	if tokens[0].text == "from" {
		for ; i < len(tokens) && tokens[i].text != "import"; i++ {
			from += tokens[i].text
		}
		from += "."
		i++
	}
	name := ""
	bind := func(as string) {
		if as != "" {
			sc.names[as] = value{kind: importKind, name: from + name}
		}
		name = ""
	}
	for ; i < len(tokens); i++ {
		switch t := tokens[i]; {
		case t.kind == nameToken && t.text == "as" && i+1 < len(tokens):
			i++
			bind(tokens[i].text)
		case isOp(t, ","):
			bind(plainName(name))
		case isOp(t, "(") || isOp(t, ")"):
		default:
			name += t.text
		}
	}
	bind(plainName(name))
}

// plainName is what an import without "as" binds: the first part of a path.
func plainName(path string) string {
	first, _, _ := strings.Cut(path, ".")
	return first
}

// define binds a function.
func (f *follower) define(s *statement, sc *scope, decorators []string) {
	i := slices.IndexFunc(s.tokens, func(t token) bool { return t.text == "def" })
	if i < 0 || i+2 >= len(s.tokens) {
		return
	}
	fn := &function{name: s.tokens[i+1].text, body: s.body, class: sc.class, line: s.line()}
	for _, d := range decorators {
		fn.static = fn.static || d == "staticmethod"
		if d != "staticmethod" && d != "classmethod" {
			fn.odd = "is decorated"
		}
	}
	if sc != f.module && sc.class == nil {
		fn.odd = "stands in another function or block"
	}
	x := &expression{follower: f, scope: sc, tokens: s.tokens, pos: i + 2}
	fn.params = x.parameters()
	sc.names[fn.name] = value{kind: functionKind, function: fn}
}

// parameters reads those of a function, from their opening parenthesis on.
func (x *expression) parameters() []param {
	var list []param
	if !x.accept("(") {
		return nil
	}
	for x.pos < len(x.tokens) && !x.accept(")") {
		p := param{star: x.accept("*")}
		x.accept("*")
		p.name = x.at(x.pos).text
		for depth := 0; x.pos < len(x.tokens); x.pos++ {
			t := x.tokens[x.pos]
			if depth == 0 && (isOp(t, ",") || isOp(t, ")") || isOp(t, "=")) {
				break
			}
			depth = depthBehind(depth, t)
		}
		if x.accept("=") {
			v := x.item(",", ")")
			p.def = &v
		}
		x.accept(",")
		if isIdentifier(p.name) {
			list = append(list, p)
		}
	}
	return list
}

// defineClass binds a class and runs its body.
func (f *follower) defineClass(s *statement, sc *scope) {
	if len(s.tokens) < 2 {
		return
	}
	c := &class{name: s.tokens[1].text}
	c.scope = &scope{names: map[string]value{}, outer: sc, class: c}
	var bases []*class
	for _, t := range s.tokens[2:] {
		if base := sc.get(t.text); t.kind == nameToken && base.kind == classKind {
			bases = append(bases, base.class)
		}
	}
	if c.order = orderOf(c, bases); len(c.order) > maxOrder {
		tooMany := unknown("class %s is made of more than %d others", c.name, maxOrder-1)
		f.sent = append(f.sent, sent{s.line(), tooMany})
		sc.names[c.name] = tooMany
		return
	}
	f.follow(s.body, &frame{scope: c.scope})
	sc.names[c.name] = value{kind: classKind, class: c}
}

// orderOf lists a class and those that its bases are made of, each once: a base that
// several have in common comes behind all of them.
func orderOf(c *class, bases []*class) []*class {
	var order []*class
	seen := map[*class]bool{}
	walked := map[*class]bool{}
	for _, b := range slices.Backward(bases) {
		if walked[b] {
			continue
		}
		walked[b] = true
		for _, k := range slices.Backward(b.order) {
			if !seen[k] {
				seen[k] = true
				order = append(order, k)
			}
		}
	}
	order = append(order, c)
	slices.Reverse(order)
	return order
}

// run calls a function of the client.
func (f *follower) run(v value, args []value, named map[string]value) value {
	fn := v.function
	if fn.odd != "" {
		return unknown("%s, line %d, %s", fn.name, fn.line, fn.odd)
	}
	if f.calls++; f.calls > maxCalls {
		f.calls--
		return unknown("calls nest too deep in %s", fn.name)
	}
	defer func() { f.calls-- }()
	sc := newScope(f.module)
	params := fn.params
	if fn.class != nil && !fn.static && len(params) > 0 && (v.object != nil || params[0].name == "cls") {
		self := value{kind: classKind, class: fn.class}
		if v.object != nil {
			self = value{kind: objectKind, object: v.object}
		}
		sc.names[params[0].name] = self
		params = params[1:]
	}
	bind(sc, params, args, named)
	fr := &frame{scope: sc}
	f.follow(fn.body, fr)
	if fr.returned == nil {
		return unknown("%s, line %d, returns nothing that can be followed here", fn.name, fn.line)
	}
	return *fr.returned
}

// bind gives parameters the values of a call.
func bind(sc *scope, params []param, args []value, named map[string]value) {
	for i, p := range params {
		v, ok := named[p.name]
		switch {
		case p.star:
			v = unknown("%s takes any number of arguments", p.name)
		case ok:
		case i < len(args):
			v = args[i]
		case p.def != nil:
			v = *p.def
		default:
			v = unknown("%s is not given", p.name)
		}
		sc.names[p.name] = v
	}
}

// construct makes an object of a class, by its constructor.
func (f *follower) construct(c *class, args []value, named map[string]value) value {
	o := &instance{class: c, attrs: map[string]value{}, fixed: map[string]bool{}}
	for _, m := range c.methods() { // they may run at any time
		if m.name == "__init__" || len(m.params) == 0 {
			continue
		}
		for _, s := range m.body {
			for _, name := range stores(s, nil, true) {
				if attr, ok := strings.CutPrefix(name, m.params[0].name+"."); ok {
					o.attrs[attr] = unknown("%s is changed by %s, line %d", name, m.name, s.line())
					o.fixed[attr] = true
				}
			}
		}
	}
	if init := c.get("__init__", o); init.kind == functionKind {
		f.run(init, args, named)
	}
	return value{kind: objectKind, object: o}
}

// methods lists those of a class and of its bases.
func (c *class) methods() (list []*function) {
	for _, k := range c.order {
		for _, v := range k.scope.names {
			if v.kind == functionKind {
				list = append(list, v.function)
			}
		}
	}
	return list
}
