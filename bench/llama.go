//go:build linux || darwin

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"cubby/labels"
)

// llamaABI is the version of libllama whose structures are laid out here.
// Source: llama.h of llama.cpp v0.5.0. Structures go by value, so that with
// another layout a call would corrupt memory: others are refused. Builds made
// without a release flag say 0.5.0-dev.
const llamaABI = "0.5.0"

//lint:file-ignore U1000 the structures have C's fields, used here or not

type llamaModelParams struct {
	devices, tensorBufferTypes                                                uintptr
	gpuLayers, splitMode, loadMode, lazyMode, mainGPU, _                      int32
	tensorSplit, progress, progressData, overrides                            uintptr
	vocabOnly, checkTensors, extraBufferTypes, noHost, noAlloc, loadMTP, _, _ bool
}

type llamaContextParams struct {
	context, batch, microBatch, sequences, snapshots, outputs, outputsPerSeq uint32
	threads, threadsBatch                                                    int32
	contextType, ropeScaling, pooling, attention, flashAttention             int32
	ropeBase, ropeScale, yarnExt, yarnAttn, yarnFast, yarnSlow               float32
	yarnContext                                                              uint32
	defrag                                                                   float32
	evalCallback, evalCallbackData                                           uintptr
	typeK, typeV                                                             int32
	abort, abortData                                                         uintptr
	embeddings, offloadKQV, noPerf, offloadOps, fullSWA, unifiedKV, _, _     bool
	samplers, samplersLen, other                                             uintptr
}

type llamaBatch struct {
	tokens, _ int32
	token     *int32
	embedding *float32
	position  *int32
	seqLen    *int32
	seq       **int32
	logits    *int8
}

const (
	flashAttentionOn = 1
	typeF16          = 1
)

// llama is one context of libllama. One goroutine at a time uses it. It is not
// freed: its process is.
type llama struct {
	version    func() string
	context    uintptr
	memory     uintptr
	vocabulary int
	batch      llamaBatch
	size       int // of the batch's arrays

	decodeBatch func(context uintptr, b llamaBatch) int32
	logitsAt    func(context uintptr, i int32) *float32
	copySeq     func(memory uintptr, from, to, begin, end int32)
	removeSeq   func(memory uintptr, seq, begin, end int32) bool
}

type llamaOptions struct {
	threads    int
	context    int // tokens of all sequences together
	sequences  int
	vocabulary int
}

// openLlama loads the libraries of a folder and a model.
func openLlama(folder, gguf string, opt llamaOptions) (*llama, error) {
	libraries, err := openLibraries(folder, "libggml-base.*", "libggml.*", "libllama.*")
	if err != nil {
		return nil, err
	}
	ggml, lib := libraries[1], libraries[2]
	l := &llama{vocabulary: opt.vocabulary, size: opt.context}
	purego.RegisterLibFunc(&l.version, lib, "llama_version")
	if v := l.version(); strings.TrimSuffix(v, "-dev") != llamaABI {
		return nil, fmt.Errorf("libllama is version %s; this program knows the structures of %s only", v, llamaABI)
	}
	var setLog func(callback, data uintptr)
	purego.RegisterLibFunc(&setLog, lib, "llama_log_set")
	setLog(purego.NewCallback(func(level int32, text, data uintptr) uintptr { return 0 }), 0)
	var loadBackends func(folder string)
	purego.RegisterLibFunc(&loadBackends, ggml, "ggml_backend_load_all_from_path")
	loadBackends(folder)
	purego.RegisterLibFunc(&l.decodeBatch, lib, "llama_decode")
	purego.RegisterLibFunc(&l.logitsAt, lib, "llama_get_logits_ith")
	purego.RegisterLibFunc(&l.copySeq, lib, "llama_memory_seq_cp")
	purego.RegisterLibFunc(&l.removeSeq, lib, "llama_memory_seq_rm")
	return l, l.open(lib, gguf, opt)
}

func openLibraries(folder string, patterns ...string) ([]uintptr, error) {
	var handles []uintptr
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("no %s in the folder of its libraries", pattern)
		}
		handle, err := purego.Dlopen(found[0], purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			return nil, err
		}
		handles = append(handles, handle)
	}
	return handles, nil
}

// open loads the model and makes the context with the settings that were
// measured to be the fastest.
func (l *llama) open(lib uintptr, gguf string, opt llamaOptions) error {
	var initBackend func()
	var modelDefaults func() llamaModelParams
	var loadModel func(path string, p llamaModelParams) uintptr
	var contextDefaults func() llamaContextParams
	var newContext func(model uintptr, p llamaContextParams) uintptr
	var getMemory func(context uintptr) uintptr
	var newBatch func(tokens, embedding, sequences int32) llamaBatch
	for name, f := range map[string]any{
		"llama_backend_init": &initBackend, "llama_model_default_params": &modelDefaults, "llama_model_load_from_file": &loadModel,
		"llama_context_default_params": &contextDefaults, "llama_init_from_model": &newContext, "llama_get_memory": &getMemory, "llama_batch_init": &newBatch,
	} {
		purego.RegisterLibFunc(f, lib, name)
	}
	initBackend()
	onCPU := modelDefaults()
	onCPU.gpuLayers = 0
	model := loadModel(gguf, onCPU)
	if model == 0 {
		return fmt.Errorf("libllama cannot load %s", filepath.Base(gguf))
	}
	p := contextDefaults()
	p.context, p.sequences = uint32(opt.context), uint32(opt.sequences)
	p.batch, p.microBatch = uint32(opt.context), uint32(opt.context)
	p.threads, p.threadsBatch = int32(opt.threads), int32(opt.threads)
	p.flashAttention, p.unifiedKV, p.typeK, p.typeV = flashAttentionOn, true, typeF16, typeF16
	if l.context = newContext(model, p); l.context == 0 {
		return fmt.Errorf("libllama cannot make a context of %d tokens and %d sequences", opt.context, opt.sequences)
	}
	l.memory, l.batch = getMemory(l.context), newBatch(int32(opt.context), 0, 1)
	return nil
}

// begin empties the pass.
func (l *llama) begin() { l.batch.tokens = 0 }

// add puts a token at a position of a sequence into the pass and returns its
// place. The caller adds no more than the context holds.
func (l *llama) add(token labels.Token, position, seq int, wanted bool) int {
	i := int(l.batch.tokens)
	unsafe.Slice(l.batch.token, l.size)[i] = token
	unsafe.Slice(l.batch.position, l.size)[i] = int32(position)
	unsafe.Slice(l.batch.seqLen, l.size)[i] = 1
	*unsafe.Slice(l.batch.seq, l.size)[i] = int32(seq)
	logits := int8(0)
	if wanted {
		logits = 1
	}
	unsafe.Slice(l.batch.logits, l.size)[i] = logits
	l.batch.tokens++
	return i
}

// forget empties a sequence.
func (l *llama) forget(seq int) { l.removeSeq(l.memory, int32(seq), -1, -1) }

// share makes an empty sequence begin as another one.
func (l *llama) share(from, to int) { l.copySeq(l.memory, int32(from), int32(to), -1, -1) }

// decode computes the pass.
func (l *llama) decode() error {
	if status := l.decodeBatch(l.context, l.batch); status != 0 {
		return fmt.Errorf("llama_decode failed with status %d", status)
	}
	return nil
}

// logits returns the row of the token at that place, valid until the next pass.
func (l *llama) logits(place int) []float32 {
	return unsafe.Slice(l.logitsAt(l.context, int32(place)), l.vocabulary)
}
