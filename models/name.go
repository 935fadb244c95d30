package models

import (
	"fmt"
	"regexp"
)

// nameRule keeps names usable as file names, URL segments and metric labels.
// A dot at the end would vanish on Windows.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?$`)

// ValidName reports why name cannot name a model.
func ValidName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("model name %.80q is not valid: use 1 to 64 of a-z 0-9 . _ -, first a letter or digit, last not a dot", name)
	}
	if err := CheckPath(name); err != nil {
		return fmt.Errorf("model name %w", err)
	}
	return nil
}
