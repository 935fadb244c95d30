// Package progress shows people at a terminal how far something is.
package progress

import (
	"fmt"
	"io"
	"os"
)

// Rows returns what shows a count of rows behind a text on a terminal, and clears it at
// the end; nil where w is none.
func Rows(w io.Writer, text string) func(done, total int) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(done, total int) {
		if done == total {
			fmt.Fprint(f, "\r\x1b[K") // leave no trace of it above what follows
			return
		}
		fmt.Fprintf(f, "\r%s%d of %d rows", text, done, total)
	}
}
