package lora_test

import (
	"io"
	"math/rand/v2"
	"testing"

	"cubby/models/lora"
)

// BenchmarkWrite merges one matrix of 2048 × 2048 with the ranks that are trained.
func BenchmarkWrite(b *testing.B) {
	const n = 2048
	rnd := rand.New(rand.NewPCG(21, 22))
	for _, r := range []int{16, 64} {
		p := pack{config: object{"peft_type": "LORA", "r": r, "lora_alpha": r}, file: file{}}
		p.pair(rnd, "F16", "model.layers.0.self_attn.q_proj", r, [2]int{n, n})
		base := files(b, file{embedding: random(rnd, "F16", 1, n), "model.layers.0.self_attn.q_proj.weight": random(rnd, "F16", n, n)})
		a, err := p.open(b)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(map[int]string{16: "rank16", 64: "rank64"}[r], func(b *testing.B) {
			for b.Loop() {
				m, err := a.Plan(lora.Base{Files: base, Tied: true})
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Write(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*n*n/b.Elapsed().Seconds()/1e6, "Mweights/s")
		})
	}
}
