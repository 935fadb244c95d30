package llama

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
	"cubby/runtime/llama/libllama"
)

const mib = 1 << 20

var (
	cpu   = libllama.Device{Name: "CPU", Kind: libllama.CPU}
	small = libllama.Device{Name: "CUDA0", Kind: libllama.GPU, Free: 300 * mib, Total: 400 * mib}
	large = libllama.Device{Name: "CUDA1", Kind: libllama.GPU, Free: 8000 * mib, Total: 9000 * mib}
	shy   = libllama.Device{Name: "Vulkan0", Kind: libllama.IntegratedGPU} // tells no memory
)

func TestChooseDevices(t *testing.T) {
	for _, tc := range []struct {
		name  string
		all   []libllama.Device
		opt   Options
		want  string // names, or what the error says
		wrong bool
	}{
		{"none there", []libllama.Device{cpu}, Options{GPULayers: AutoLayers, MainGPU: -1}, "", false},
		{"all of them", []libllama.Device{small, cpu, large}, Options{GPULayers: AutoLayers, MainGPU: -1}, "CUDA0,CUDA1", false},
		{"none wanted", []libllama.Device{small, cpu}, Options{GPULayers: 0, MainGPU: -1}, "", false},
		{"one by name", []libllama.Device{small, large}, Options{GPULayers: AutoLayers, MainGPU: -1, Device: "cuda1"}, "CUDA1", false},
		{"one by number", []libllama.Device{small, large}, Options{GPULayers: AutoLayers, MainGPU: 1}, "CUDA1", false},
		{"no such name", []libllama.Device{small}, Options{GPULayers: AutoLayers, MainGPU: -1, Device: "CUDA7"}, `no device "CUDA7"; GPUs that the libraries see: CUDA0`, true},
		{"no such number", []libllama.Device{small}, Options{GPULayers: AutoLayers, MainGPU: 1}, "no GPU number 1", true},
		{"layers without a GPU", []libllama.Device{cpu}, Options{GPULayers: 5, MainGPU: -1}, "fetch runtime -kind", true},
	} {
		got, err := choose(tc.all, tc.opt)
		names := plan{devices: got}.names()
		if tc.wrong != (err != nil) || tc.wrong && !strings.Contains(err.Error(), tc.want) || !tc.wrong && strings.ReplaceAll(names, " ", "") != tc.want {
			t.Errorf("%s: %q, %v", tc.name, names, err)
		}
	}
}

// A model of ten layers of 50 MiB, an output of 40 and an embedding of 40, whose
// keys and values take 1 MiB a token of a hundred: twice as many are planned for.
func TestPlanFits(t *testing.T) {
	n := need{output: 40 * mib, input: 40 * mib, cell: mib / 10, buffers: 20 * mib}
	for range 10 {
		n.layers = append(n.layers, 50*mib)
	}
	for _, tc := range []struct {
		name    string
		layers  int
		devices []libllama.Device
		want    int
		err     string
	}{
		{"no device", AutoLayers, nil, 0, ""},
		{"all fit", AutoLayers, []libllama.Device{large}, 11, ""},
		{"more than there are", 99, []libllama.Device{large}, 11, ""},
		{"as many as fit", AutoLayers, []libllama.Device{small}, 5, ""}, // 282 MiB, of which 20 for buffers, and 52 a layer
		{"as asked", 3, []libllama.Device{small}, 3, ""},
		{"one too many", 6, []libllama.Device{small}, 0, "6 of 11 layers need about 332 MiB on CUDA0, where 300 MiB are free: about 5 fit; give -gpu-layers 5"},
		{"a device that does not tell", AutoLayers, []libllama.Device{shy}, 11, ""},
	} {
		p, err := n.plan(Options{GPULayers: tc.layers, Pass: 100}, tc.devices)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: got %v", tc.name, err)
			}
			continue
		}
		if err != nil || p.layers != tc.want || (p.layers == 0) != (len(p.devices) == 0) {
			t.Errorf("%s: %d layers on %v, %v; want %d", tc.name, p.layers, p.devices, err, tc.want)
		}
	}
	if availableMemory() > 0 {
		n.input = 1 << 60
		if _, err := n.plan(Options{Pass: 100}, nil); err == nil || !strings.Contains(err.Error(), "of memory") {
			t.Errorf("a model larger than the machine: %v", err)
		}
	}
}

func TestMemoryOfContainers(t *testing.T) {
	root, self := t.TempDir(), filepath.Join(t.TempDir(), "cgroup")
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if got := boundedMemory(root, self); got != math.MaxInt64 {
		t.Errorf("without control groups: %d", got)
	}
	write(self, "0::/pods/mine\n")
	write(filepath.Join(root, "pods", "memory.max"), "1000\n")
	write(filepath.Join(root, "pods", "memory.current"), "900\n")
	write(filepath.Join(root, "pods", "memory.stat"), "anon 500\nfile 300\n")
	write(filepath.Join(root, "pods", "mine", "memory.max"), "max\n")
	write(filepath.Join(root, "pods", "mine", "memory.current"), "700\n")
	if got := boundedMemory(root, self); got != 400 {
		t.Errorf("%d bytes are left, want 400", got)
	}
}

func TestNeedRefusesWhatIsNoModel(t *testing.T) {
	for name, meta := range map[string][]gguftest.Meta{
		"nothing":         nil,
		"no layers":       {{Key: "general.architecture", Value: "llama"}, {Key: "llama.embedding_length", Value: uint32(64)}},
		"not causal":      {{Key: "general.architecture", Value: "llama"}, {Key: "llama.embedding_length", Value: uint32(64)}, {Key: "llama.block_count", Value: uint32(2)}, {Key: "llama.attention.causal", Value: false}},
		"too many layers": {{Key: "general.architecture", Value: "llama"}, {Key: "llama.embedding_length", Value: uint32(64)}, {Key: "llama.block_count", Value: uint32(1 << 30)}},
	} {
		f, err := gguf.Parse(gguftest.Encode(meta, nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newNeed(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
