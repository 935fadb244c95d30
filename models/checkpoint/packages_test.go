package checkpoint_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/models/safetensors"
)

func openHF(t *testing.T, archive string) checkpoint.Checkpoint {
	t.Helper()
	files := packed(t, archive, "config.json", "model.safetensors")
	f, err := safetensors.Parse(files["model.safetensors"])
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.FromHF(files["config.json"], f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rotated is the row of a GGUF file's q or k that Hugging Face keeps at row i:
// GGUF interleaves the two halves of each head.
func rotated(i, headDim int) int {
	head, k := i/headDim*headDim, i%headDim
	return head + 2*(k%(headDim/2)) + k/(headDim/2)
}

// The same student as Q8_0 in GGUF and as F16 in safetensors: one configuration
// but for the order of q and k, and rows equal within the error of Q8_0.
func TestGGUFAndHFAgree(t *testing.T) {
	f, err := gguf.Parse(packed(t, "banking-routing/gguf.tar", "model.gguf")["model.gguf"])
	if err != nil {
		t.Fatal(err)
	}
	a, err := checkpoint.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	b := openHF(t, "banking-routing/merged.tar")
	ca, cb := a.Config(), b.Config()
	if !ca.RopeInterleaved || cb.RopeInterleaved || math.Abs(ca.NormEpsilon-cb.NormEpsilon) > 1e-12 {
		t.Errorf("configs %+v and %+v", ca, cb)
	}
	ca.RopeInterleaved, ca.NormEpsilon = false, cb.NormEpsilon
	if !reflect.DeepEqual(ca, cb) {
		t.Errorf("configs %+v and %+v", ca, cb)
	}
	for _, info := range f.Tensors() {
		x, _ := a.Tensor(info.Name)
		y, ok := b.Tensor(info.Name)
		if !ok || x.Rows != y.Rows || x.Cols != y.Cols {
			t.Errorf("%s: %d of %d and %d of %d", info.Name, x.Rows, x.Cols, y.Rows, y.Cols)
			continue
		}
		turned := strings.HasSuffix(info.Name, "attn_q.weight") || strings.HasSuffix(info.Name, "attn_k.weight")
		for i := 0; i < x.Rows; i += 1 + x.Rows/40 {
			j := i
			if turned {
				j = rotated(i, ca.HeadDim)
			}
			if k := differs(x, j, y, i); k >= 0 {
				t.Errorf("%s: row %d differs at column %d", info.Name, i, k)
				break
			}
		}
	}
}

// differs is the first column where a row of x, Q8_0 or F32, is not that of y, F16; -1 for none.
// A block of Q8_0 errs by half a step of its largest value over 127; its scale and y are rounded to 11 bits each.
func differs(x checkpoint.Tensor, i int, y checkpoint.Tensor, j int) int {
	p, q := make([]float32, x.Cols), make([]float32, y.Cols)
	x.Row(p, i)
	y.Row(q, j)
	for start := 0; start < len(p); start += 32 {
		largest := 0.0
		for _, v := range q[start : start+32] {
			largest = max(largest, math.Abs(float64(v)))
		}
		for k := start; k < start+32; k++ {
			if math.Abs(float64(p[k])-float64(q[k])) > largest*(0.5/127+2.0/2048) {
				return k
			}
		}
	}
	return -1
}

func TestFromHFReadsASequenceClassifier(t *testing.T) {
	c := openHF(t, "banking-routing/seqcls.tar")
	classes := c.Config().Classes
	if len(classes) != 8 || classes[0] != "balance_not_updated_after_cheque_or_cash_deposit" || classes[7] != "wrong_amount_of_cash_received" {
		t.Errorf("classes %q", classes)
	}
	head, ok := c.Tensor("cls.output.weight")
	if !ok || head.Rows != 8 || head.Cols != 576 || head.Type != gguf.F16 {
		t.Fatalf("head %d of %d, %v", head.Rows, head.Cols, ok)
	}
	if _, ok := c.Tensor("output.weight"); ok {
		t.Error("a classifier has an output matrix")
	}
}
