package importer

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// message is one message of a chat.
type message struct{ Role, Content string }

// conversation is what a client sends for one text: messages that are always the
// same, a system's and a few example's, and then a user message in which Before and
// After stand around the text.
type conversation struct {
	Lead          []message
	Before, After string
	Thinking      bool // the client asks for a model that reasons before it answers
}

// maxNesting bounds brackets and blocks inside each other in a client.
const maxNesting = 64

// parseClient lifts out of a model_client.py, byte for byte and without running it,
// the messages that it sends for a text. Where the client sends none itself, they
// are what get_prompt returns, or SYSTEM_PROMPT and the text as it is.
func parseClient(src []byte) (conversation, error) {
	tokens, err := scan(src)
	if err != nil {
		return conversation{}, err
	}
	body, err := blocks(tokens)
	if err != nil {
		return conversation{}, err
	}
	c, err := lift(body)
	if err == nil {
		c.Thinking, err = thinks(tokens)
	}
	return c, err
}

func lift(body []*statement) (c conversation, err error) {
	f := &follower{module: newScope(nil)}
	sent := sendsOf(body)
	f.follow(body, &frame{scope: f.module})
	f.forgetGlobals(body)
	f.sending = &sent
	for _, root := range sent.roots {
		f.start(root)
	}
	switch {
	case len(f.sent) > 0:
		return f.agreed()
	case sent.outside > 0:
		return c, fmt.Errorf("line %d: messages are sent outside of any function, so which part of them is the text is not known", sent.outside)
	}
	return f.byName()
}

// agreed is the conversation that is sent, wherever the client sends one.
func (f *follower) agreed() (c conversation, err error) {
	for i, s := range f.sent {
		d, err := toConversation(s.value)
		if err != nil {
			return c, onLine(s.line, fmt.Errorf("messages: %w", err))
		}
		if i > 0 && !reflect.DeepEqual(c, d) {
			return c, fmt.Errorf("line %d sends other messages than line %d", f.sent[0].line, s.line)
		}
		c = d
	}
	return c, nil
}

// byName takes the prompt by the names that it has in clients.
func (f *follower) byName() (conversation, error) {
	f.sending = nil
	scopes := []*scope{f.module}
	for _, name := range slices.Sorted(maps.Keys(f.module.names)) {
		if v := f.module.names[name]; v.kind == classKind {
			scopes = append(scopes, v.class.scope)
		}
	}
	const system, method = "SYSTEM_PROMPT", "get_prompt"
	for _, s := range scopes {
		if v, ok := s.names[method]; ok && v.kind == functionKind {
			c, err := toConversation(f.root(v.function, s.class))
			if err != nil {
				err = fmt.Errorf("%s, line %d: %w", method, v.function.line, err)
			}
			return c, err
		}
	}
	for _, s := range scopes {
		v, ok := s.names[system]
		if !ok {
			continue
		}
		if v.kind != listKind {
			v = listValue([]value{chatMessage("system", v)})
		}
		c, err := toConversation(plus(v, value{kind: argumentKind, name: "text"}))
		if err != nil {
			err = fmt.Errorf("%s: %w", system, err)
		}
		return c, err
	}
	return conversation{}, errors.New("it sends no messages, and has neither a SYSTEM_PROMPT nor a get_prompt method")
}

func chatMessage(role string, content value) value {
	return value{kind: dictKind, keys: []string{"role", "content"}, items: []value{textValue(literal(role)), content}}
}

// root calls a function as the client's users do: with a text, or a conversation
// that is one user message, and nothing else that has a default.
func (f *follower) root(fn *function, c *class) value {
	v := value{kind: functionKind, function: fn}
	params := fn.params
	if c != nil && !fn.static && len(params) > 0 {
		if params[0].name != "cls" {
			v.object = f.construct(c, nil, f.arguments(c)).object
		}
		params = params[1:]
	}
	named := map[string]value{}
	for i, p := range params {
		if !p.star && (i == 0 || p.def == nil) {
			named[p.name] = value{kind: argumentKind, name: p.name}
		}
	}
	return f.run(v, nil, named)
}

// arguments are those of a class's constructor that have no default.
func (f *follower) arguments(c *class) map[string]value {
	named := map[string]value{}
	if init := c.get("__init__", nil); init.kind == functionKind {
		for _, p := range init.function.params {
			if p.def == nil && !p.star {
				named[p.name] = unknown("%s is an argument of the constructor", p.name)
			}
		}
	}
	return named
}

// toConversation reads a list of messages: a system's first, if any, then examples
// of a user's and an assistant's each, and the user's with the text once in it; or
// what the caller gives, which is one such message with nothing around the text.
func toConversation(v value) (c conversation, err error) {
	list, err := v.asItems()
	if err != nil {
		return c, err
	}
	for i, item := range list {
		if item.kind == spreadKind {
			if i != len(list)-1 {
				return c, fmt.Errorf("messages follow those in %s", item.name)
			}
			return c, c.check()
		}
		role, content, err := readMessage(item)
		if err != nil {
			return c, fmt.Errorf("message %d: %w", i+1, err)
		}
		if i < len(list)-1 {
			text, err := content.plain()
			if err != nil {
				return c, fmt.Errorf("message %d, the %s's: %w", i+1, role, err)
			}
			c.Lead = append(c.Lead, message{role, text})
			continue
		}
		if role != "user" {
			return c, fmt.Errorf("the last message is the %s's, not the user's", role)
		}
		if len(content.holes) != 1 {
			return c, fmt.Errorf("the user's message holds %d variables %q, not the text alone", len(content.holes), content.holes)
		}
		c.Before, c.After = content.pieces[0], content.pieces[1]
		return c, c.check()
	}
	return c, errors.New("there are none")
}

func readMessage(v value) (role string, content text, err error) {
	if v.kind != dictKind {
		if v.kind == unknownKind {
			return "", text{}, v.err
		}
		return "", text{}, errors.New("it is not a dictionary")
	}
	has := map[string]bool{}
	for i, key := range v.keys {
		t, err := v.items[i].asText()
		if err == nil {
			switch key {
			case "role":
				role, err = t.plain()
			case "content":
				content = t
			default:
				err = errors.New("it is not one that is known")
			}
		}
		if err != nil {
			return role, content, fmt.Errorf("key %q: %w", key, err)
		}
		has[key] = true
	}
	if !has["role"] || !has["content"] {
		return role, content, errors.New("it lacks a role or a content")
	}
	return role, content, nil
}

// check wants the roles in the order in which models are trained on them.
func (c conversation) check() error {
	want := "user"
	for i, m := range c.Lead {
		if i == 0 && m.Role == "system" {
			continue
		}
		if m.Role != want {
			return fmt.Errorf("message %d is of the role %q instead of %q", i+1, m.Role, want)
		}
		want = map[string]string{"user": "assistant", "assistant": "user"}[want]
	}
	if want != "user" {
		return errors.New("the message before the text's is the user's too")
	}
	return nil
}

// prompt is all that the client says itself.
func (c conversation) prompt() string {
	var b strings.Builder
	for _, m := range c.Lead {
		b.WriteString(m.Content)
		b.WriteByte('\n')
	}
	return b.String() + c.Before + c.After
}

// examples are the answers that stand in the prompt.
func (c conversation) examples() []string {
	var list []string
	for _, m := range c.Lead {
		if m.Role == "assistant" {
			list = append(list, m.Content)
		}
	}
	return list
}

// thinks reports whether the client switches reasoning on.
func thinks(tokens []token) (bool, error) {
	for i := 0; i+2 < len(tokens); i++ {
		name, t := tokens[i].text, tokens[i]
		if t.kind == stringToken {
			if s, err := decodeLiteral(t.text); err == nil {
				name, _ = s.plain()
			}
		}
		if name != "enable_thinking" || !isOp(tokens[i+1], ":") && !isOp(tokens[i+1], "=") {
			continue
		}
		switch tokens[i+2].text {
		case "True":
			return true, nil
		case "False":
		default:
			return false, fmt.Errorf("line %d: whether the model reasons before it answers is not a constant", t.line)
		}
	}
	return false, nil
}
