package main

import (
	"context"
	"io"

	"cubby/models/convert"
)

// toGGUF is the importer's converter. It is handed to it here, so that no other
// program links it.
func toGGUF(ctx context.Context, dir string, w io.Writer) (by string, err error) {
	s, err := convert.GGUF(ctx, dir, w)
	return s.By, err
}
