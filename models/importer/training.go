package importer

import (
	"fmt"

	"cubby/models/checkpoint"

	"github.com/goccy/go-yaml"
)

// maxTraining is the largest one that is read, in bytes.
const maxTraining = 1 << 20

// training is what a configuration says of how the model was trained.
type training struct {
	Base struct {
		Thinking bool `yaml:"enable_thinking"`
	} `yaml:"base"`
	Tuning struct {
		Examples int `yaml:"num_few_shot_examples_student"`
	} `yaml:"tuning"`
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

func parseTraining(data []byte) (t training, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not YAML: %v", r)
		}
	}()
	err = yaml.Unmarshal(data, &t)
	return t, err
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
