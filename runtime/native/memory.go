package native

import "cubby/runtime/native/kernel"

// bytes is the memory of the packed matrices. Norms, tables and the rows of the
// labels' tokens are small beside them; embeddings stay in the model's file.
func (w *weights) bytes() int64 {
	n := matrixBytes(w.vocab)
	for i := range w.layers {
		l := &w.layers[i]
		n += matrixBytes(l.qkv) + matrixBytes(l.out) + matrixBytes(l.gateUp) + matrixBytes(l.down)
	}
	return n
}

func matrixBytes(m *kernel.Matrix) int64 {
	if m == nil {
		return 0
	}
	return int64(m.Bytes())
}
