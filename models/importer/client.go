package importer

import (
	"errors"
	"fmt"
	"slices"
)

// conversation is what a client sends for one text: a system message and a
// user message, in which Before and After stand around the text.
type conversation struct {
	System        string
	HasSystem     bool
	Before, After string
}

// maxNesting bounds the parentheses around a string in a client.
const maxNesting = 64

// parseClient lifts the prompt out of a model_client.py, byte for byte and
// without running it. Newer clients assign SYSTEM_PROMPT, once, and send the
// text as it is; older ones return both messages from get_prompt.
func parseClient(src []byte) (conversation, error) {
	tokens, err := scan(src)
	if err != nil {
		return conversation{}, err
	}
	p := &parser{tokens: tokens}
	var found []int
	method := -1
	for i, t := range tokens {
		if t.first && t.text == "SYSTEM_PROMPT" {
			found = append(found, i)
		}
		if t.first && t.text == "def" && p.at(i+1).text == "get_prompt" {
			method = i + 2
		}
	}
	switch {
	case len(found) == 1:
		return p.systemPrompt(found[0])
	case len(found) > 1:
		return conversation{}, fmt.Errorf("SYSTEM_PROMPT is set on line %d and again on line %d", tokens[found[0]].line, tokens[found[1]].line)
	case method >= 0:
		return p.getPrompt(method)
	}
	return conversation{}, errors.New("it has neither a SYSTEM_PROMPT nor a get_prompt method")
}

// parser reads expressions from tokens.
type parser struct {
	tokens []token
	pos    int
}

// at returns token i; past the end, the end of a line.
func (p *parser) at(i int) token {
	if i < 0 || i >= len(p.tokens) {
		return token{kind: newlineToken}
	}
	return p.tokens[i]
}

func (p *parser) isOp(i int, op string) bool { return p.at(i).kind == opToken && p.at(i).text == op }

// accept steps over an operator, if it is next.
func (p *parser) accept(op string) bool {
	if !p.isOp(p.pos, op) {
		return false
	}
	p.pos++
	return true
}

// isAssignment reports whether the name at i is assigned, with or without an
// annotation.
func (p *parser) isAssignment(i int) bool {
	if p.isOp(i+1, "=") {
		return !p.isOp(i+2, "=")
	}
	return p.isOp(i+1, ":") && p.toAssign(i+2) >= 0
}

// toAssign finds the "=" of the logical line from token i on; -1 without one.
func (p *parser) toAssign(i int) int {
	for ; p.at(i).kind != newlineToken; i++ {
		if p.isOp(i, "=") {
			return i
		}
	}
	return -1
}

func (p *parser) systemPrompt(i int) (conversation, error) {
	line := p.at(i).line
	if !p.isAssignment(i) {
		return conversation{}, fmt.Errorf("SYSTEM_PROMPT, line %d: it is not assigned a value", line)
	}
	p.pos = p.toAssign(i+1) + 1
	t, err := p.stringExpr(0)
	if err == nil && p.at(p.pos).kind != newlineToken && !p.isOp(p.pos, ";") {
		err = fmt.Errorf("it is not a plain string: %q follows", p.at(p.pos).text)
	}
	var s string
	if err == nil {
		s, err = t.plain()
	}
	if err != nil {
		return conversation{}, fmt.Errorf("SYSTEM_PROMPT, line %d: %w", line, err)
	}
	return conversation{System: s, HasSystem: true}, nil
}

// stringExpr reads string literals, side by side or joined by "+", in any
// parentheses, and, inside them, the variable itself.
func (p *parser) stringExpr(depth int) (text, error) {
	var t text
	if depth > maxNesting {
		return t, errors.New("parentheses nest too deep")
	}
	for more := true; more; more = p.accept("+") {
		part, err := p.stringTerm(depth)
		if err != nil {
			return t, err
		}
		t.add(part)
	}
	return t, nil
}

func (p *parser) stringTerm(depth int) (text, error) {
	if p.accept("(") {
		t, err := p.stringExpr(depth + 1)
		if err == nil && !p.accept(")") {
			err = fmt.Errorf("line %d: %q instead of a closing parenthesis", p.at(p.pos).line, p.at(p.pos).text)
		}
		return t, err
	}
	if next := p.at(p.pos); next.kind == nameToken && isIdentifier(next.text) {
		p.pos++
		return text{pieces: []string{"", ""}, holes: []string{next.text}}, nil
	}
	var t text
	for ; p.at(p.pos).kind == stringToken; p.pos++ {
		part, err := decodeLiteral(p.at(p.pos).text)
		if err != nil {
			return t, fmt.Errorf("line %d: %w", p.at(p.pos).line, err)
		}
		t.add(part)
	}
	if len(t.pieces) == 0 {
		return t, fmt.Errorf("line %d: %q is not a string", p.at(p.pos).line, p.at(p.pos).text)
	}
	return t, nil
}

// message is one chat message of a get_prompt method.
type message struct {
	role    string
	content text
}

// getPrompt reads the messages that get_prompt returns; token i opens its
// parameters.
func (p *parser) getPrompt(i int) (conversation, error) {
	line := p.at(i).line
	c, err := p.returnedMessages(i)
	if err != nil {
		return c, fmt.Errorf("get_prompt, line %d: %w", line, err)
	}
	return c, nil
}

func (p *parser) returnedMessages(i int) (conversation, error) {
	params, body := p.parameters(i)
	if len(params) == 0 {
		return conversation{}, errors.New("it takes no text")
	}
	for p.pos = body; p.at(p.pos).text != "return" || !p.at(p.pos).first; p.pos++ {
		if p.pos >= len(p.tokens) || p.at(p.pos).first && p.at(p.pos).indent <= p.at(i).indent {
			return conversation{}, errors.New("it has no return statement")
		}
	}
	p.pos++
	messages, err := p.messages()
	if err != nil {
		return conversation{}, err
	}
	return toConversation(messages, params[0])
}

// parameters returns the names of the parameters after self, and where the
// method's body starts.
func (p *parser) parameters(i int) (names []string, body int) {
	depth := 0
	for ; p.at(i).kind != newlineToken; i++ {
		t := p.at(i)
		switch {
		case t.kind == opToken && slices.Contains([]string{"(", "[", "{"}, t.text):
			depth++
		case t.kind == opToken && slices.Contains([]string{")", "]", "}"}, t.text):
			depth--
		case depth == 1 && t.kind == nameToken && (p.isOp(i-1, "(") || p.isOp(i-1, ",")) && t.text != "self":
			names = append(names, t.text)
		}
	}
	return names, i
}

// messages reads a list of dictionaries with "role" and "content".
func (p *parser) messages() ([]message, error) {
	if !p.accept("[") {
		return nil, errors.New("it does not return a list of messages")
	}
	var list []message
	for !p.accept("]") {
		m, err := p.message()
		if err != nil {
			return nil, err
		}
		list = append(list, m)
		if !p.accept(",") && !p.isOp(p.pos, "]") {
			return nil, fmt.Errorf("line %d: %q between messages", p.at(p.pos).line, p.at(p.pos).text)
		}
	}
	return list, nil
}

func (p *parser) message() (message, error) {
	var m message
	if !p.accept("{") {
		return m, fmt.Errorf("line %d: a message is not a dictionary", p.at(p.pos).line)
	}
	for !p.accept("}") {
		key, value, err := p.pair()
		if err != nil {
			return m, err
		}
		switch key {
		case "role":
			if m.role, err = value.plain(); err != nil {
				return m, fmt.Errorf("role: %w", err)
			}
		case "content":
			m.content = value
		default:
			return m, fmt.Errorf("message key %q is unknown", key)
		}
		if !p.accept(",") && !p.isOp(p.pos, "}") {
			return m, fmt.Errorf("line %d: %q behind the %s of a message", p.at(p.pos).line, p.at(p.pos).text, key)
		}
	}
	return m, nil
}

func (p *parser) pair() (key string, value text, err error) {
	k, err := p.stringExpr(0)
	if err != nil {
		return "", text{}, err
	}
	if key, err = k.plain(); err != nil {
		return "", text{}, err
	}
	if !p.accept(":") {
		return "", text{}, fmt.Errorf("line %d: no colon behind %q", p.at(p.pos).line, key)
	}
	value, err = p.stringExpr(0)
	return key, value, err
}

// toConversation accepts [system,] user, with the text once, in the user's.
func toConversation(list []message, param string) (conversation, error) {
	var c conversation
	if len(list) == 2 && list[0].role == "system" {
		system, err := list[0].content.plain()
		if err != nil {
			return c, fmt.Errorf("the system message: %w", err)
		}
		c.System, c.HasSystem = system, true
		list = list[1:]
	}
	if len(list) != 1 || list[0].role != "user" {
		return c, errors.New("the messages are not a system and a user message")
	}
	user := list[0].content
	if len(user.holes) != 1 || user.holes[0] != param {
		return c, fmt.Errorf("the user message does not hold {%s} exactly once", param)
	}
	c.Before, c.After = user.pieces[0], user.pieces[1]
	return c, nil
}
