package realserver

import (
	"net"
	"testing"
)

// LlamaServer runs llama-server on a GGUF file, on the CPU. Further arguments come
// after those and win over them.
func LlamaServer(t testing.TB, gguf string, args ...string) *Server {
	t.Helper()
	addr := freeAddr(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, &Server{
		URL: "http://" + addr, program: Require(t, LlamaServerVariable), ready: "/health",
		args: append([]string{
			"--model", gguf, "--host", host, "--port", port, "--n-gpu-layers", "0",
			"--threads", "2", "--parallel", "4", "--ctx-size", "4096",
		}, args...),
	})
}

// Ollama runs Ollama with an empty store. Further variables win over its own.
func Ollama(t testing.TB, env ...string) *Server {
	t.Helper()
	addr, home := freeAddr(t), t.TempDir()
	return start(t, &Server{
		URL: "http://" + addr, program: Require(t, OllamaVariable), ready: "/api/version", args: []string{"serve"},
		env: append([]string{
			"OLLAMA_HOST=" + addr, "OLLAMA_MODELS=" + home, "HOME=" + home,
			"OLLAMA_NUM_PARALLEL=4", "OLLAMA_KEEP_ALIVE=-1", "OLLAMA_NO_CLOUD=1",
		}, env...),
	})
}
