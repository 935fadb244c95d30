package eval

import (
	"errors"
	"math"
	"strings"
	"testing"

	"cubby/labels"
)

func unchanged(d labels.Distribution) labels.Distribution { return d }

// TestPolicyGuarantee: over many test sets, thresholds that let more errors through than
// they promise are no more frequent than they may be. The true risk is measured on many
// fresh rows.
func TestPolicyGuarantee(t *testing.T) {
	const sets, maxError, confidence = 1000, 0.1, 0.95
	set, fresh, freshAnswers := drawn(t, 200_000, 99, unchanged)
	truth, err := Truth(set, fresh)
	if err != nil {
		t.Fatal(err)
	}
	sorted := byConfidence(outcomes(truth, freshAnswers))
	riskAt := func(threshold float64) float64 {
		rows, wrong := 0, 0
		for _, o := range sorted {
			if o.confidence < threshold {
				break
			}
			rows++
			if !o.right() {
				wrong++
			}
		}
		return ratio(wrong, rows)
	}
	broken, found, naive := 0, 0, 0
	for i := range sets {
		set, rows, answers := drawn(t, 400, uint64(i), unchanged)
		if riskAt(observed(t, set, rows, answers, maxError)) > maxError {
			naive++
		}
		f, err := FitPolicy(set, rows, answers, maxError, confidence)
		if err != nil {
			continue
		}
		found++
		if riskAt(f.Threshold) > maxError {
			broken++
		}
	}
	t.Logf("%d of %d test sets gave a threshold, of which %d promised too much; %d where the observed errors decide", found, sets, broken, naive)
	if found < sets/2 || float64(broken) > (1-confidence)*sets {
		t.Errorf("%d of %d thresholds promised too much", broken, found)
	}
	if naive < sets/4 {
		t.Errorf("%d of %d thresholds by the observed errors promised too much: this test tests nothing", naive, sets)
	}
}

// observed is the lowest threshold above which no more rows than that are wrong.
func observed(t *testing.T, set *labels.Set, rows []Row, answers []Answer, maxError float64) float64 {
	t.Helper()
	truth, err := Truth(set, rows)
	if err != nil {
		t.Fatal(err)
	}
	threshold, wrong := 1.0, 0
	for i, o := range byConfidence(outcomes(truth, answers)) {
		if !o.right() {
			wrong++
		}
		if ratio(wrong, i+1) <= maxError {
			threshold = o.confidence
		}
	}
	return threshold
}

func TestPolicyFigures(t *testing.T) {
	set, rows, answers := drawn(t, 400, 7, unchanged)
	answers[3] = Answer{Err: errors.New("failed")}
	f, err := FitPolicy(set, rows, answers, 0.15, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	taken, wrong := 0, 0
	for i, a := range answers {
		if a.Err != nil || f.Review(a.Distribution) {
			continue
		}
		taken++
		if best, _ := a.Distribution.Best(); set.Name(best) != rows[i].Answer {
			wrong++
		}
	}
	if taken != f.Answered || wrong != f.Errors || !near(f.Coverage, float64(taken)/400) || f.Risk > 0.15 || f.RiskBound <= f.Risk || f.RiskBound > 0.15 || f.Validate() != nil {
		t.Errorf("%d taken, %d wrong: %+v", taken, wrong, f)
	}
	strict, err := FitPolicy(set, rows, answers, 0.1, 0.9)
	if err != nil || strict.Threshold < f.Threshold {
		t.Errorf("%+v, %v", strict, err)
	}
}

func TestPolicyRefuses(t *testing.T) {
	set, rows, answers := drawn(t, 96, 8, unchanged)
	for _, c := range []struct {
		maxError, confidence float64
		want                 string
	}{
		{0.01, 0.95, "it takes 438 answered rows even if none were wrong, and there are 96"},
		{0, 0.95, "must lie between 0 and 1"},
		{0.1, 1, "must lie between 0 and 1"},
		{math.NaN(), 0.5, "must lie between 0 and 1"},
		{1e-20, 0.5, "must lie between 0 and 1"},
		{0.1, 1 - 1e-12, "must lie between 0 and 1"},
	} {
		if _, err := FitPolicy(set, rows, answers, c.maxError, c.confidence); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
	for i := range answers {
		answers[i].Distribution = labels.Distribution{0.4, 0.3, 0.3}
	}
	if _, err := FitPolicy(set, rows, answers, 0.1, 0.9); err == nil || !strings.Contains(err.Error(), "are wrong: give more rows") {
		t.Error(err)
	}
}

func TestEnough(t *testing.T) {
	if n := enough(0, 0.01, 0.05); n != 299 {
		t.Errorf("%d rows without an error show 1 %%", n)
	}
}
