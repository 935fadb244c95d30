package importer

import (
	"maps"
	"slices"
)

// sending says which of a client's functions send messages.
type sending struct {
	own     map[string]bool // all functions, by name
	below   map[string]bool // functions, by name, in which or below which messages are sent
	roots   []string        // those of them that no other function calls
	outside int             // line outside of any function that sends some; 0 for none
}

// named is a function with its statements, before anything is followed.
type named struct {
	name   string
	method bool
	body   []*statement
}

// sendsOf finds the functions that send messages, by the argument of that name that
// they give to what is not one of them.
func sendsOf(body []*statement) (s sending) {
	functions := functionsOf(body, false, nil)
	s.own, s.below = map[string]bool{}, map[string]bool{}
	for _, f := range functions {
		s.own[f.name] = true
	}
	for grown := true; grown; {
		grown = false
		for _, f := range functions {
			if !s.below[f.name] && eachStatement(f.body, func(st *statement) bool {
				return len(sendsAt(st, s.own)) > 0 || len(callsOf(st, s.below, true)) > 0
			}) {
				s.below[f.name], grown = true, true
			}
		}
	}
	called := map[string]bool{}
	for _, f := range functions {
		eachStatement(f.body, func(st *statement) bool {
			for _, i := range callsOf(st, s.below, f.method) {
				if st.tokens[i].text != f.name {
					called[st.tokens[i].text] = true
				}
			}
			return false
		})
	}
	for _, name := range slices.Sorted(maps.Keys(s.below)) {
		if !called[name] {
			s.roots = append(s.roots, name)
		}
	}
	outsideOf(body, func(st *statement) {
		if len(sendsAt(st, s.own)) > 0 && s.outside == 0 {
			s.outside = st.line()
		}
	})
	return s
}

// functionsOf lists the functions of a client, those of classes too.
func functionsOf(body []*statement, method bool, list []named) []named {
	for _, s := range body {
		word := s.word()
		if word == "def" {
			i := slices.IndexFunc(s.tokens, func(t token) bool { return t.text == "def" })
			if i+1 < len(s.tokens) {
				list = append(list, named{s.tokens[i+1].text, method, s.body})
			}
			continue
		}
		list = functionsOf(s.body, method || word == "class", list)
	}
	return list
}

// eachStatement visits statements and what is inside them, until visit returns true.
func eachStatement(body []*statement, visit func(*statement) bool) bool {
	for _, s := range body {
		if visit(s) || eachStatement(s.body, visit) {
			return true
		}
	}
	return false
}

// outsideOf visits the statements outside of functions.
func outsideOf(body []*statement, visit func(*statement)) {
	for _, s := range body {
		if s.word() != "def" {
			visit(s)
			outsideOf(s.body, visit)
		}
	}
}

// sendsAt lists where a statement has the value of an argument "messages" of
// something else than the client's own functions.
func sendsAt(s *statement, own map[string]bool) []int {
	var at, open []int // open: tokens before each open bracket
	for i, t := range s.tokens {
		switch {
		case isOp(t, "("), isOp(t, "["), isOp(t, "{"):
			open = append(open, i-1)
		case isOp(t, ")"), isOp(t, "]"), isOp(t, "}"):
			open = open[:max(0, len(open)-1)]
		case t.text == "messages" && len(open) > 0 && s.word() != "def" && s.word() != "class":
			callee := open[len(open)-1]
			called := callee >= 0 && isOp(s.tokens[callee+1], "(") && s.tokens[callee].kind == nameToken && !own[s.tokens[callee].text]
			first := isOp(s.tokens[i-1], "(") || isOp(s.tokens[i-1], ",")
			if called && first && i+2 < len(s.tokens) && isOp(s.tokens[i+1], "=") && !compares(s.tokens, i+1) {
				at = append(at, i+2)
			}
		}
	}
	return at
}

// callsOf lists where a statement calls one of these functions: on its own, of self
// or of a class, and from a method of anything.
func callsOf(s *statement, functions map[string]bool, method bool) []int {
	var at []int
	for i, t := range s.tokens {
		if t.kind != nameToken || !functions[t.text] || i+1 >= len(s.tokens) || !isOp(s.tokens[i+1], "(") || i > 0 && s.tokens[i-1].text == "def" {
			continue
		}
		if i < 2 || !isOp(s.tokens[i-1], ".") || method {
			at = append(at, i)
		}
	}
	return at
}

// sends follows what a statement sends, itself or by the client's own functions.
func (f *follower) sends(s *statement, sc *scope) {
	if f.sending == nil || s.word() == "def" || s.word() == "class" {
		return
	}
	for _, i := range sendsAt(s, f.sending.own) {
		x := &expression{follower: f, scope: sc, tokens: s.tokens, pos: i}
		f.sent = append(f.sent, sent{s.tokens[i].line, x.item(",", ")")})
	}
	for _, i := range callsOf(s, f.sending.below, f.inMethod) {
		line := s.tokens[i].line
		for i >= 2 && isOp(s.tokens[i-1], ".") && s.tokens[i-2].kind == nameToken {
			i -= 2
		}
		x := &expression{follower: f, scope: sc, tokens: s.tokens, pos: i}
		before := len(f.sent)
		_, err := x.term()
		if err == nil && len(f.sent) == before {
			err = unknown("the call cannot be followed").err
		}
		if err != nil {
			f.sent = append(f.sent, sent{line, value{err: err}})
		}
	}
}

// start follows a function that sends messages, of every class that has it.
func (f *follower) start(name string) {
	visit := func(v value, c *class) {
		if v.kind != functionKind {
			return
		}
		f.inMethod = c != nil
		before := len(f.sent)
		if f.root(v.function, c); len(f.sent) == before {
			f.sent = append(f.sent, sent{v.function.line, unknown("%s cannot be followed to where it sends them", name)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.module.names)) {
		switch v := f.module.names[key]; {
		case v.kind == classKind:
			visit(v.class.get(name, nil), v.class)
		case key == name:
			visit(v, nil)
		}
	}
}

// forgetGlobals makes unknown what functions change in the module.
func (f *follower) forgetGlobals(body []*statement) {
	eachStatement(body, func(s *statement) bool {
		if s.tokens[0].text == "global" {
			for _, t := range s.tokens[1:] {
				if t.kind == nameToken {
					f.module.names[t.text] = unknown("%s is changed by a function, line %d", t.text, s.line())
				}
			}
		}
		return false
	})
}
