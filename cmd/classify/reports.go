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
// server shows it, and measures drift against it. One by another scoring than the
// model's own is not kept, nor one of fewer rows than the kept one.
func (p *program) keepReport(r *eval.Report, ownScoring string) error {
	if p.server != "" || r.Scoring != ownScoring {
		return nil
	}
	store, err := p.local.Store()
	if err != nil {
		return err
	}
	if rows := keptRows(store, r.Artifact); rows > r.Rows {
		fmt.Fprintf(p.stderr, "note: the store keeps the evaluation of %d rows, as this one has %d\n", rows, r.Rows)
		return nil
	}
	kept := *r
	kept.Mistakes = slices.Clone(r.Mistakes)
	kept.ShowTexts(nil)
	data, err := json.Marshal(&kept)
	if err != nil {
		return err
	}
	err = store.SaveReport(r.Artifact, append(data, '\n'))
	if errors.Is(err, models.ErrNotFound) {
		return nil // it is not a model of the store
	}
	return err
}

// keptRows is how many rows the kept evaluation of an artefact has; 0 without one.
func keptRows(store *models.Store, artifact string) int {
	data, err := store.Report(artifact)
	var r struct{ Rows int }
	if err != nil || json.Unmarshal(data, &r) != nil {
		return 0
	}
	return r.Rows
}

// writePlatform writes the file of -platform.
func (p *program) writePlatform(r *eval.Report) error {
	if p.platform == "" {
		return nil
	}
	metrics, err := r.PlatformMetrics()
	if err != nil {
		return err
	}
	return os.WriteFile(p.platform, metrics, 0o644)
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
