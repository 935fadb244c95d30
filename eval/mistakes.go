package eval

import (
	"cmp"
	"slices"

	"cubby/labels"
)

// maxMistakes is how many wrong answers a report lists.
const maxMistakes = 50

// Mistake is a row whose predicted label is not the true one.
type Mistake struct {
	Line        int     `json:"line"`
	Answer      string  `json:"answer"` // the true label
	Predicted   string  `json:"predicted"`
	Probability float64 `json:"probability"` // of the predicted label
	Truth       float64 `json:"truth"`       // probability of the true one
	// Suspect says that the row's label may be the mistake: the predicted label is more
	// probable here than it is on average for rows that have it (confident learning,
	// Northcutt, Jiang and Chuang, 2021).
	Suspect bool   `json:"suspect"`
	Text    string `json:"text,omitempty"` // only where it was asked for
}

// mistakes lists the wrong answers, the surest first.
func mistakes(set *labels.Set, rows []Row, truth []int, answers []Answer) []Mistake {
	usual := selfConfidence(set.Len(), truth, answers)
	list := []Mistake{}
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		best, p := a.Distribution.Best()
		if best == truth[i] {
			continue
		}
		list = append(list, Mistake{
			Line: rows[i].Line, Answer: rows[i].Answer, Predicted: set.Name(best), Probability: p, Truth: a.Distribution[truth[i]],
			Suspect: usual[best] > 0 && p >= usual[best] && a.Distribution[truth[i]] < usual[truth[i]],
		})
	}
	slices.SortStableFunc(list, func(a, b Mistake) int { return cmp.Compare(b.Probability, a.Probability) })
	return list[:min(len(list), maxMistakes)]
}

// selfConfidence is the mean probability of each label on the rows that have it, 0 for a
// label without rows.
func selfConfidence(classes int, truth []int, answers []Answer) []float64 {
	sum, rows := make([]float64, classes), make([]int, classes)
	for i, a := range answers {
		if a.Err == nil {
			sum[truth[i]] += a.Distribution[truth[i]]
			rows[truth[i]]++
		}
	}
	for k := range sum {
		sum[k] /= float64(max(1, rows[k]))
	}
	return sum
}

// ShowTexts puts the texts of rows beside the mistakes.
func (r *Report) ShowTexts(rows []Row) {
	texts := map[int]string{}
	for _, row := range rows {
		texts[row.Line] = row.Text
	}
	for i := range r.Mistakes {
		r.Mistakes[i].Text = texts[r.Mistakes[i].Line]
	}
}
