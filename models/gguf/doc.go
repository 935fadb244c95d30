// Package gguf reads GGUF, the file format of ggml and llama.cpp, from bytes in
// memory: typed metadata and tensors, of versions 2 and 3, little endian.
//
// A file is hostile until parsed. Every count, length, offset and size is checked
// against the bytes that are there before it is used or allocated for, so a
// header can cost neither memory beyond a small multiple of its own length nor a
// crash, and no tensor reaches outside the file or into another one.
package gguf
