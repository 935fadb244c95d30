package kernel

// Assembly and its declarations are written by the programs in gen, a module of
// its own; its tests check that the files are what they write.

//go:generate go run -C gen . -level avx2 -out ../avx2_amd64.s -stubs ../avx2_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -level avx512 -out ../avx512_amd64.s -stubs ../avx512_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -level amx -out ../amx_amd64.s -stubs ../amx_stubs_amd64.go -pkg kernel
//go:generate go run -C gen ./neon -out ../neon_arm64.s -stubs ../neon_stubs_arm64.go
