//go:build nodemo

// Package demo is empty: the build tag "nodemo" left the model out.
package demo

// Present says whether the model is in this program.
const Present = false

// Manifest is absent.
var Manifest []byte

// Files returns no files.
func Files() map[string][]byte { return nil }
