package models

import "fmt"

// Replay is what an import found when it ran the model on its own test set, on
// exactly the files that it installed. There are no times in it: equal packages
// make equal manifests.
type Replay struct {
	Of   int `json:"of"`   // rows of the test set
	Rows int `json:"rows"` // of these, those that were run: evenly spread where there are many
	// Matched are the rows whose prediction by the platform is known; Agree those of
	// them with the same label.
	Matched int `json:"matched"`
	Agree   int `json:"agree"`
	// Outside are the platform's predictions that are no label of the set.
	Outside int `json:"outside,omitempty"`
	// Labeled are the rows that the accuracy is of: those whose label in the test set is
	// one of the model's. The platform's is of those with a prediction: all of them but
	// Unpredicted.
	Labeled         int `json:"labeled"`
	Correct         int `json:"correct"`
	PlatformCorrect int `json:"platform_correct"`
	Unpredicted     int `json:"unpredicted,omitempty"`
	// PlatformAccuracy is the accuracy that the platform states, where it has no
	// predictions.
	PlatformAccuracy *float64 `json:"platform_accuracy,omitempty"`
	Failed           int      `json:"failed,omitempty"`    // rows without an answer
	Truncated        int      `json:"truncated,omitempty"` // rows whose end was cut off
	// The files, whether they are kept or not; zero where there was none.
	Test        Digest `json:"test,omitzero"`
	Predictions Digest `json:"predictions,omitzero"`
}

// check reports figures that no run can have.
func (r *Replay) check() error {
	for _, part := range [][2]int{{r.Rows, r.Of}, {r.Matched, r.Rows}, {r.Agree, r.Matched}, {r.Outside, r.Matched}, {r.Labeled, r.Rows}, {r.Correct, r.Labeled},
		{r.Unpredicted, r.Labeled}, {r.PlatformCorrect, r.Labeled - r.Unpredicted}, {r.Failed, r.Rows}, {r.Truncated, r.Rows}} {
		if part[0] < 0 || part[0] > part[1] {
			return fmt.Errorf("replay: %d of %d rows", part[0], part[1])
		}
	}
	if a := r.PlatformAccuracy; a != nil && !(*a >= 0 && *a <= 1) {
		return fmt.Errorf("replay: an accuracy of %v", *a)
	}
	return nil
}

// Share is Agree of Matched; 1 where there is nothing to compare.
func (r *Replay) Share() float64 { return share(r.Agree, r.Matched) }

// Accuracy is Correct of Labeled.
func (r *Replay) Accuracy() float64 { return share(r.Correct, r.Labeled) }

func share(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}
