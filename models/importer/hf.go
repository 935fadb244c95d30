package importer

import (
	"fmt"
	"strconv"
	"strings"

	"cubby/labels"
)

// hfConfig is what the importer reads of a Hugging Face config.json.
type hfConfig struct {
	Architectures []string          `json:"architectures"`
	ID2Label      map[string]string `json:"id2label"`
}

func (c hfConfig) isClassifier() bool {
	return len(c.Architectures) > 0 && strings.HasSuffix(c.Architectures[0], "ForSequenceClassification")
}

// classes returns the labels of a classification head, by its rows.
func (c hfConfig) classes() ([]labels.Label, error) {
	list := make([]labels.Label, len(c.ID2Label))
	for i := range list {
		name, ok := c.ID2Label[strconv.Itoa(i)]
		if !ok {
			return nil, fmt.Errorf("config.json: id2label has %d entries but none for %d", len(list), i)
		}
		list[i].Name = name
	}
	if _, err := labels.NewSet(list); err != nil {
		return nil, fmt.Errorf("config.json: id2label: %w", err)
	}
	return list, nil
}

// describe adds the descriptions of a job to the labels of a head, and wants
// them to be the same labels.
func describe(list, job []labels.Label) error {
	described := map[string]string{}
	for _, l := range job {
		described[l.Name] = l.Description
	}
	if len(job) != len(list) {
		return fmt.Errorf("%s has %d labels and the classification head %d", jobName, len(job), len(list))
	}
	for i := range list {
		d, ok := described[list[i].Name]
		if !ok {
			return fmt.Errorf("%s does not have %q, a label of the classification head", jobName, list[i].Name)
		}
		list[i].Description = d
	}
	return nil
}
