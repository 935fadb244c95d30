package runtime

import (
	"math"
	"testing"

	"cubby/labels"
	"cubby/models"
)

// The mass of a form is the sum of what its whole answers have, token by token,
// whatever the form of the model's own answers.
func TestAnswerMass(t *testing.T) {
	var forms []models.Answer
	for _, f := range testForms {
		forms = append(forms, inForm(f))
	}
	for _, own := range forms {
		m := openModel(t, func(m *models.Manifest) {
			m.Answer = own
			m.Labels = append(m.Labels, labels.Label{Name: `say "c"`})
		}, Options{})
		got, err := m.AnswerMass(t.Context(), forms)
		if err != nil {
			t.Fatal(err)
		}
		for i, form := range forms {
			other := m.model.Manifest
			other.Answer = form
			want := massByBruteForce(other)
			if math.Abs(got[i]-want) > 1e-6*want || want == 0 {
				t.Errorf("own form %s, form %s: mass %g, want %g", own.Form, form.Form, got[i], want)
			}
		}
	}
}

func massByBruteForce(m models.Manifest) (mass float64) {
	tok := pairs{}
	start := append(tok.EncodeSpecial("\x02system\x01\n\x02"), tok.Encode("user\n"+canaryText)...)
	start = append(append(append(start, stop), tok.Encode("\n")...), turn)
	given := len(tok.Encode("assistant\n"))
	for _, l := range m.Labels { // the newline may be one token with what follows
		given = min(given, common(tok.Encode("assistant\n"), tok.Encode("assistant\n"+m.Answer.Text(l.Name))))
	}
	for _, l := range m.Labels {
		answer := append(tok.Encode("assistant\n"+m.Answer.Text(l.Name)), stop)
		logp := 0.0
		sequence := start[:len(start):len(start)]
		for n, token := range answer {
			if n >= given {
				logp += float64(logit(sequence, token)) - vocabularyLogSum(sequence)
			}
			sequence = append(sequence, token)
		}
		mass += math.Exp(logp)
	}
	return mass
}
