// Package baseline is what any other classifier has to beat: logistic regression on
// TF-IDF features of words and pairs of neighbouring words, trained on the labelled rows
// of a task within seconds.
//
// It is, to the digits that the optimiser leaves, scikit-learn's
//
//	make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20000),
//	              LogisticRegression(C=10))
package baseline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cubby/eval"
	"cubby/labels"
)

// Name is what reports call it.
const Name = "TF-IDF + logistic regression"

// Model is a trained baseline.
type Model struct {
	set      *labels.Set
	features *vectorizer
	weights  []float64 // of classes[i]: the features', then the intercept
	classes  []int     // labels that occur in the training rows
}

// Train fits the baseline to labelled rows of a set's task. Labels without a row are
// never answered.
func Train(set *labels.Set, rows []eval.Row) (*Model, error) {
	truth, err := eval.Truth(set, rows)
	if err != nil {
		return nil, err
	}
	m := &Model{set: set}
	place := map[int]int{}
	for _, t := range truth {
		if _, ok := place[t]; !ok {
			place[t] = len(m.classes)
			m.classes = append(m.classes, t)
		}
	}
	if len(m.classes) < 2 {
		return nil, errors.New("its training rows have one label only")
	}
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = r.Text
		truth[i] = place[truth[i]]
	}
	var vectors []vector
	m.features, vectors = newVectorizer(texts)
	m.weights, err = fit(vectors, truth, len(m.classes), m.features.width())
	return m, err
}

// Classify implements eval.Classifier.
func (m *Model) Classify(ctx context.Context, texts []string) ([]eval.Answer, error) {
	answers := make([]eval.Answer, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if strings.TrimSpace(text) == "" {
			answers[i].Err = errors.New("the text is empty: there is nothing to classify")
			continue
		}
		scores := score(m.weights, m.features.vector(text), len(m.classes), m.features.width())
		among, err := labels.Softmax(scores)
		if err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		answers[i].Distribution = make(labels.Distribution, m.set.Len())
		for k, p := range among {
			answers[i].Distribution[m.classes[k]] = p
		}
	}
	return answers, nil
}
