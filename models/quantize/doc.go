// Package quantize rewrites a GGUF file with weights in smaller types, to the same
// bytes as llama.cpp's llama-quantize without an importance matrix.
//
// Which tensor gets which type is decided by a Plan, row by row the values are
// rounded by Encode. What the formats hold is described where package gguf reads
// them. The sources of the facts, not of the code: ggml/src/ggml-quants.c and
// src/llama-quant.cpp of llama.cpp.
package quantize
