package main

import (
	"cubby/models/importer"

	"github.com/urfave/cli/v3"
)

func quantizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "quantize", Usage: "round the weights to `TYPE`: f16, q8_0, q6_k, q5_k_m, q4_k_m, or auto, the smallest that the test set does not tell from the weights as they come"}
}

// quantization is what the flag asks for.
func (p *program) quantization(c *cli.Command) (q importer.Quantization, err error) {
	q.Judge = &p.judge
	if c.IsSet("quantize") {
		if q.Scheme, err = importer.ParseScheme(c.String("quantize")); err != nil {
			return q, usagef("-quantize: %w", err)
		}
	}
	return q, nil
}
