package native

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/internal/testenv"
	"cubby/labels"
	"cubby/models/checkpoint"
	"cubby/models/gguf"
	"cubby/runtime/engine"
	"cubby/runtime/engine/enginetest"
)

// student opens the banking-routing student, Q8_0, out of its package.
func student(t testing.TB) checkpoint.Checkpoint {
	t.Helper()
	file, err := os.Open(filepath.Join(testenv.Packages(t), "banking-routing", "gguf.tar"))
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(h.Name, ".gguf") {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.FromGGUF(f)
		if err != nil {
			t.Fatal(err)
		}
		return ck
	}
}

// BenchmarkPass measures whole passes of the banking-routing student: tickets of
// 24 tokens behind a prefix of 405, the workload of docs/performance.md.
func BenchmarkPass(b *testing.B) {
	for _, shape := range []struct{ tickets, threads int }{{1, 1}, {1, 2}, {4, 2}, {16, 1}, {16, 2}, {24, 2}} {
		b.Run(fmt.Sprintf("tickets=%d/threads=%d", shape.tickets, shape.threads), func(b *testing.B) {
			e, err := New(student(b), enginetest.Tokens{}, Options{Threads: shape.threads, CPU: os.Getenv("CUBBY_CPU")})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			pre, err := e.Prefix(b.Context(), spread(405, 7))
			if err != nil {
				b.Fatal(err)
			}
			trees := make([]engine.Tree, shape.tickets)
			for i := range trees {
				trees[i] = engine.Chain(spread(24, 13+i))
				trees[i].Wants = []engine.Want{{Node: 23, Columns: spread(8, 101)}}
			}
			for b.Loop() {
				if _, err := e.Eval(b.Context(), pre, trees); err != nil {
					b.Fatal(err)
				}
			}
			items := float64(b.N*shape.tickets) / b.Elapsed().Seconds()
			b.ReportMetric(items, "items/s")
			b.ReportMetric(items*24, "tokens/s")
		})
	}
}

// spread returns n different token ids.
func spread(n, step int) []labels.Token {
	out := make([]labels.Token, n)
	for i := range out {
		out[i] = labels.Token((i + 1) * step * 31 % 49152)
	}
	return out
}
