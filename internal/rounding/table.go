package rounding

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Write prints the decision as a table.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TYPE\tMIB\tROWS\tACCURACY\tSAME LABEL\tLOST\tGAINED\tP WORSE\tLOSS UP TO\tMEAN TV\tUP TO\tMAX TV\t")
	for _, t := range r.Tried {
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%.1f %%\t", t.Type, float64(t.Bytes)/(1<<20), r.Rows, 100*t.Accuracy)
		if c := t.Compared; c != nil {
			fmt.Fprintf(w, "%.1f %%\t%d\t%d\t%.3f\t%.1f %%\t%.4f\t%.4f\t%.4f\t",
				100*float64(c.Same)/float64(c.Rows), c.Lost, c.Gained, c.Worse, 100*c.LossUpper, c.Mean, c.MeanUpper, c.Max)
		} else {
			fmt.Fprint(w, "\t\t\t\t\t\t\t\t")
		}
		if t.Type == r.Chosen {
			fmt.Fprint(w, "chosen: ")
		}
		fmt.Fprintln(w, t.Why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Unseen > 1-r.Rule.MinAgreement {
		_, err := fmt.Fprintf(out, "%d rows are few: a loss on up to %.1f %% of all texts may not show in them\n", r.Rows, 100*r.Unseen)
		return err
	}
	return nil
}
