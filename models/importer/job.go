package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"cubby/labels"
)

const jobName = "job_description.json"

// maxJSON is the largest JSON file of a package that is read whole, in bytes,
// the tokenizer apart.
const maxJSON = 8 << 20

// parseJob returns the labels of a job description, in its order, which is the
// order of the prompt. Other keys are allowed: platforms add to them.
func parseJob(data []byte) ([]labels.Label, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	classes, err := onlyValue(data, "classes_description")
	if err != nil {
		return nil, err
	}
	list, err := orderedObject(classes)
	if err != nil {
		return nil, fmt.Errorf("classes_description: %w", err)
	}
	if _, err := labels.NewSet(list); err != nil {
		return nil, fmt.Errorf("classes_description: %w", err)
	}
	return list, nil
}

// Job is what a job description says of a task.
type Job struct {
	Task   string // empty where it says nothing
	Labels []labels.Label
}

// ReadJob reads a job description.
func ReadJob(file string) (j Job, err error) {
	data, err := readJob(file)
	if err == nil {
		j.Labels, err = parseJob(data)
	}
	if err != nil {
		return j, fmt.Errorf("%s: %w", file, err)
	}
	var head struct {
		Task string `json:"task_description"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &head); err != nil {
		return j, fmt.Errorf("%s: task_description: %w", file, err)
	}
	j.Task = head.Task
	return j, nil
}

// onlyValue returns the value of a key that a JSON object has exactly once.
func onlyValue(data []byte, name string) (value json.RawMessage, err error) {
	if !json.Valid(data) {
		return nil, errors.New("it is not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		if key != name {
			continue
		}
		if value != nil {
			return nil, fmt.Errorf("it has %q twice", name)
		}
		value = v
	}
	if value == nil {
		return nil, fmt.Errorf("it has no %q", name)
	}
	return value, nil
}

// orderedObject reads an object of strings in the order of its keys, which a
// map would lose.
func orderedObject(data []byte) ([]labels.Label, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("it is not an object of names and descriptions")
	}
	var list []labels.Label
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var description string
		if err := dec.Decode(&description); err != nil {
			return nil, fmt.Errorf("the description of %q is not a string", key)
		}
		list = append(list, labels.Label{Name: key.(string), Description: description})
	}
	return list, nil
}
