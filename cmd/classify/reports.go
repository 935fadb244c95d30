package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"cubby/eval"
	"cubby/eval/page"
	"cubby/models"
)

// reportForms write a report by the ending of its file.
var reportForms = map[string]func(io.Writer, *eval.Report, page.Options) error{
	".html": page.HTML,
	".md":   page.Markdown,
	".json": func(w io.Writer, r *eval.Report, _ page.Options) error { return writeJSON(w, r) },
}

// checkReports refuses files of -report before anything is computed for them.
func (p *program) checkReports() error {
	for _, name := range p.reports {
		if reportForms[filepath.Ext(name)] == nil {
			return usagef("-report %s: expected a file that ends in .html, .md or .json", name)
		}
	}
	return nil
}

// keepReport keeps the evaluation of a model of the store there, without texts: a
// server shows it, and measures drift against it.
func (p *program) keepReport(r *eval.Report) error {
	if p.server != "" {
		return nil
	}
	store, err := p.local.Store()
	if err != nil {
		return err
	}
	kept := *r
	kept.Mistakes = slices.Clone(r.Mistakes)
	kept.ShowTexts(nil)
	data, err := json.Marshal(&kept)
	if err != nil {
		return err
	}
	if err := store.SaveReport(r.Artifact, append(data, '\n')); err != nil && !errors.Is(err, models.ErrNotFound) {
		return fmt.Errorf("the report cannot be kept in the store: %w", err)
	}
	return nil
}

func (p *program) writeReports(r *eval.Report) error {
	for _, name := range p.reports {
		var b bytes.Buffer
		if err := reportForms[filepath.Ext(name)](&b, r, page.Options{Command: p.commandLine}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
