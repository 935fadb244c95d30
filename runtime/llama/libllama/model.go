package libllama

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// ModelOptions say where a model's layers go.
type ModelOptions struct {
	// GPULayers is how many layers are offloaded, from the last; negative for all.
	GPULayers int
	// Devices compute the offloaded layers; none keeps all on the CPU.
	Devices []Device
	// Plain keeps weights as the file has them, where the library would repack them
	// for the processor at hand.
	Plain bool
}

// Model is a loaded model.
type Model struct {
	lib      *Library
	handle   uintptr
	adapters []uintptr
}

// LoadModel loads a GGUF file. The caller has checked its header: the library
// trusts it.
func (l *Library) LoadModel(path string, opt ModelOptions) (*Model, error) {
	l.log.take()
	p := l.c.ModelDefaults()
	p.gpuLayers = int32(opt.GPULayers)
	p.extraBufferTypes = !opt.Plain
	list := make([]uintptr, 0, len(opt.Devices)+1)
	for _, d := range opt.Devices {
		list = append(list, d.handle)
	}
	list = append(list, 0) // ends the list
	if len(opt.Devices) == 0 {
		p.gpuLayers = 0
	}
	if len(opt.Devices) == 1 {
		p.splitMode, p.mainGPU = splitNone, 0
	}
	var pin runtime.Pinner
	pin.Pin(&list[0])
	defer pin.Unpin()
	p.devices = uintptr(unsafe.Pointer(&list[0]))
	handle := l.c.LoadModel(path, p)
	if handle == 0 {
		return nil, l.failure("libllama cannot load %s", filepath.Base(path))
	}
	return &Model{lib: l, handle: handle}, nil
}

// Close frees the model, after its contexts.
func (m *Model) Close() {
	if m.handle != 0 {
		m.lib.c.FreeModel(m.handle)
		m.handle = 0
	}
}

// Adapter puts a LoRA adapter, a GGUF file of convert_lora_to_gguf.py, on the
// contexts that are made from now on.
func (m *Model) Adapter(path string) error {
	m.lib.log.take()
	h := m.lib.c.LoadAdapter(m.handle, path)
	if h == 0 {
		return m.lib.failure("libllama cannot load the adapter %s: is it a LoRA of this model, in GGUF?", filepath.Base(path))
	}
	m.adapters = append(m.adapters, h)
	return nil
}

// Facts are what a model says of itself.
type Facts struct {
	Architecture string
	Vocabulary   int // rows of logits
	Context      int // tokens it was trained for
	Width        int
	Layers       int
	Bytes        int64 // of its tensors
	// Recurrent models keep a state a sequence, beside or instead of keys and
	// values: a position cannot be taken back.
	Recurrent bool
	Encoder   bool // has an encoder, too
}

// Facts returns them.
func (m *Model) Facts() Facts {
	c := &m.lib.c
	f := Facts{
		Vocabulary: int(c.Tokens(c.Vocabulary(m.handle))), Context: int(c.Trained(m.handle)), Width: int(c.Width(m.handle)),
		Layers: int(c.Layers(m.handle)), Bytes: int64(c.ModelSize(m.handle)),
		Recurrent: c.Recurrent(m.handle) || c.Hybrid(m.handle), Encoder: c.HasEncoder(m.handle),
	}
	var buf [64]byte
	if n := c.MetaValue(m.handle, "general.architecture", &buf[0], uint64(len(buf))); n > 0 && int(n) < len(buf) {
		f.Architecture = string(buf[:n])
	}
	return f
}

// ContextOptions are the sizes of a context.
type ContextOptions struct {
	Tokens    int // most of all sequences together
	Pass      int // most in one Decode
	Micro     int // computed at once: a longer pass takes several turns
	Sequences int // most, at most MaxSequences
	Outputs   int // most wanted tokens in one Decode, at least Sequences
	Threads   int
}

// Context is the keys and values of a model's sequences, and one pass being put
// together. One goroutine at a time uses it.
type Context struct {
	lib    *Library
	handle uintptr
	memory uintptr
	rows   int // of logits
	stop   atomic.Bool
	pass   pass
}

// pass holds the arrays of a llama_batch. The sequences of all tokens lie in one.
type pass struct {
	token, position, seqLen []int32
	logits                  []int8
	seqs, seqAt             []int32
	seq                     []*int32
}

// NewContext makes a context with the settings that were measured to be the
// fastest for many short texts behind one prefix: flash attention, one cache for
// all sequences, keys and values in float16.
func (m *Model) NewContext(opt ContextOptions) (*Context, error) {
	if opt.Tokens < 1 || opt.Pass < 1 || opt.Micro < 1 || opt.Sequences < 1 || opt.Sequences > MaxSequences || opt.Pass < opt.Sequences || opt.Outputs < opt.Sequences || opt.Threads < 1 {
		return nil, fmt.Errorf("a context of %d tokens, %d a pass, %d at once, %d sequences, %d outputs and %d threads cannot be made", opt.Tokens, opt.Pass, opt.Micro, opt.Sequences, opt.Outputs, opt.Threads)
	}
	l := m.lib
	l.log.take()
	p := l.c.ContextDefaults()
	p.context, p.sequences = uint32(opt.Tokens), uint32(opt.Sequences)
	p.outputs = uint32(opt.Outputs)
	p.batch, p.microBatch = uint32(opt.Pass), uint32(min(opt.Micro, opt.Pass))
	p.threads, p.threadsBatch = int32(opt.Threads), int32(opt.Threads)
	p.flashAttention, p.unifiedKV, p.fullSWA, p.typeK, p.typeV = flashAttentionOn, true, true, typeF16, typeF16
	c := &Context{lib: l, rows: m.Facts().Vocabulary}
	p.abort = aborting()
	p.abortData = uintptr(unsafe.Pointer(&c.stop))
	if c.handle = l.c.NewContext(m.handle, p); c.handle == 0 {
		return nil, l.failure("libllama cannot make a context of %d tokens and %d sequences: is there memory for it?", opt.Tokens, opt.Sequences)
	}
	c.memory = l.c.Memory(c.handle)
	if n := len(m.adapters); n > 0 {
		scales := make([]float32, n)
		for i := range scales {
			scales[i] = 1
		}
		if status := l.c.SetAdapters(c.handle, &m.adapters[0], uint64(n), &scales[0]); status != 0 {
			defer c.Close()
			return nil, l.failure("libllama cannot use the adapter: status %d", status)
		}
	}
	return c, nil
}
