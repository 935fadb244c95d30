//go:build !nodemo

// Package demo holds the built-in demonstration model. The build tag "nodemo"
// leaves it out of a program.
package demo

import _ "embed"

//go:generate go run -tags nodemo cubby/internal/demogen

// Present says whether the model is in this program.
const Present = true

// Manifest is the model's manifest. It must not be changed.
//
//go:embed cubby.json
var Manifest []byte

//go:embed model.gguf
var weights []byte

// Files returns the model's files by their path in the manifest. Their bytes
// must not be changed.
func Files() map[string][]byte { return map[string][]byte{"model.gguf": weights} }
