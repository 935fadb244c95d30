package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"cubby/models/checkpoint"
)

// maxTraining is the largest one that is read, in bytes.
const maxTraining = 1 << 20

// training is what a configuration says of how the model was trained.
type training struct {
	Base struct {
		Thinking bool `json:"enable_thinking"`
	} `json:"base"`
	Tuning struct {
		Examples int `json:"num_few_shot_examples_student"`
	} `json:"tuning"`
}

// training reads the configuration, if there is one that can be read.
func (p *pack) training() training {
	file := p.document(platformConfigName)
	if file == "" {
		return training{}
	}
	data, err := readSmall(file, file, maxTraining)
	var t training
	if err == nil {
		t, err = parseTraining(data)
	}
	if err != nil {
		p.warn("%s is not used: %v", file, err)
		return training{}
	}
	return t
}

// parseTraining finds two settings in a configuration, which is JSON, or YAML of which
// this much is understood: a key at the start of a line begins a section, and a setting
// is a key with a scalar. A parser of all YAML would read what no configuration has, and
// such have been brought down by what nests deep.
func parseTraining(data []byte) (t training, err error) {
	if json.Valid(data) {
		err = json.Unmarshal(data, &t)
		return t, err
	}
	if !utf8.Valid(data) {
		return t, errors.New("it is not valid UTF-8")
	}
	switch value := setting(data, "base", "enable_thinking"); strings.ToLower(value) {
	case "true", "yes", "on":
		t.Base.Thinking = true
	case "", "false", "no", "off", "null", "~":
	default:
		return t, fmt.Errorf("base.enable_thinking is %.40q, neither true nor false", value)
	}
	const examples = "num_few_shot_examples_student"
	if value := setting(data, "tuning", examples); value != "" && value != "null" && value != "~" {
		if t.Tuning.Examples, err = strconv.Atoi(value); err != nil {
			return t, fmt.Errorf("tuning.%s is %.40q, which is no number", examples, value)
		}
	}
	return t, nil
}

var (
	sectionStart = regexp.MustCompile(`(?m)^["']?([A-Za-z_]+)["']?[ \t]*:`)
	comment      = regexp.MustCompile(`(?m)(^|[ \t])#.*$`)
)

// setting is the scalar of a key in a section; empty where there is none.
func setting(data []byte, section, key string) string {
	data = comment.ReplaceAll(data, nil)
	starts := sectionStart.FindAllSubmatchIndex(data, -1)
	for i, at := range starts {
		if string(data[at[2]:at[3]]) != section {
			continue
		}
		end := len(data)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		scalar := regexp.MustCompile(`(?:^|[\s{,"'])` + key + `["']?[ \t]*:[ \t]*["']?([^\s"',}]*)`)
		if m := scalar.FindSubmatch(data[at[1]:end]); m != nil {
			return string(m[1])
		}
	}
	return ""
}

// conversation reads the client, the user's or the package's, and what the
// training's configuration says of the prompt.
func (p *pack) conversation() (conversation, error) {
	name := p.client
	if name == "" {
		name = p.document(clientName)
	}
	if _, inside := p.named(clientName); !inside {
		p.client = name // it is kept with the model as well
	}
	if name == "" {
		return conversation{}, fmt.Errorf("there is no %s in it or beside it, so the prompt that the model was trained with is unknown; name the file with -client", clientName)
	}
	src, err := readSmall(name, name, maxClient)
	if err != nil {
		return conversation{}, err
	}
	c, err := parseClient(src)
	if err != nil {
		return c, fmt.Errorf("%s: %w; a client is read and never run: write the prompt to a file of your own, as SYSTEM_PROMPT = \"…\" or as a function "+
			"get_prompt(text) that returns the messages, and name that with -client", name, err)
	}
	t := p.training()
	if c.Thinking || t.Base.Thinking {
		return c, &checkpoint.UnsupportedError{Detail: "the model was trained to reason before it answers (enable_thinking): " +
			"a label read without its reasoning is not what it was trained to give, and nothing here runs such models; train it with enable_thinking off"}
	}
	if n := t.Tuning.Examples; n > 0 && len(c.Lead) < 2*n {
		p.warn("the training put %d examples into the prompt, and the client sends %d as messages: the others must stand in its text", n, len(c.Lead)/2)
	}
	return c, nil
}
