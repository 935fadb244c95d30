package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cubby/eval"
	"cubby/eval/page"
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
