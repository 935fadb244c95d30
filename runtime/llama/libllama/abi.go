package libllama

// Version is the release of llama.cpp whose structures are laid out here.
// Structures go by value, so that with another layout a call would corrupt
// memory: other releases are refused. Builds made without a release flag call
// themselves 0.5.0-dev.
const Version = "0.5.0"

//lint:file-ignore U1000 the structures have C's fields, used here or not

// modelParams is llama_model_params of llama.h.
type modelParams struct {
	devices, tensorBufferTypes                                                uintptr
	gpuLayers, splitMode, loadMode, lazyMode, mainGPU, _                      int32
	tensorSplit, progress, progressData, overrides                            uintptr
	vocabOnly, checkTensors, extraBufferTypes, noHost, noAlloc, loadMTP, _, _ bool
}

// contextParams is llama_context_params of llama.h.
type contextParams struct {
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

// batch is llama_batch of llama.h.
type batch struct {
	tokens, _ int32
	token     *int32
	embedding *float32
	position  *int32
	seqLen    *int32
	seq       **int32
	logits    *int8
}

// Values of llama.h and ggml-backend.h.
const (
	splitNone        = 0
	flashAttentionOn = 1
	typeF16          = 1
	decodeNoSlot     = 1
	decodeAborted    = 2
	// MaxSequences is LLAMA_MAX_SEQ: ids of sequences are below it.
	MaxSequences = 256
)

// functions are those of libllama and libggml that are called. The tags are
// their names in C.
type functions struct {
	Version      func() string                          `c:"llama_version"`
	SetLog       func(callback, data uintptr)           `c:"llama_log_set"`
	InitBackend  func()                                 `c:"llama_backend_init"`
	LoadBackends func(folder string)                    `c:"ggml_backend_load_all_from_path"`
	DeviceCount  func() uintptr                         `c:"ggml_backend_dev_count"`
	Device       func(i uintptr) uintptr                `c:"ggml_backend_dev_get"`
	DeviceName   func(device uintptr) string            `c:"ggml_backend_dev_name"`
	DeviceText   func(device uintptr) string            `c:"ggml_backend_dev_description"`
	DeviceType   func(device uintptr) int32             `c:"ggml_backend_dev_type"`
	DeviceMemory func(device uintptr, f, total *uint64) `c:"ggml_backend_dev_memory"`

	ModelDefaults func() modelParams                                            `c:"llama_model_default_params"`
	LoadModel     func(path string, p modelParams) uintptr                      `c:"llama_model_load_from_file"`
	FreeModel     func(model uintptr)                                           `c:"llama_model_free"`
	Vocabulary    func(model uintptr) uintptr                                   `c:"llama_model_get_vocab"`
	Tokens        func(vocabulary uintptr) int32                                `c:"llama_vocab_n_tokens"`
	Trained       func(model uintptr) int32                                     `c:"llama_model_n_ctx_train"`
	Width         func(model uintptr) int32                                     `c:"llama_model_n_embd"`
	Layers        func(model uintptr) int32                                     `c:"llama_model_n_layer"`
	ModelSize     func(model uintptr) uint64                                    `c:"llama_model_size"`
	Recurrent     func(model uintptr) bool                                      `c:"llama_model_is_recurrent"`
	Hybrid        func(model uintptr) bool                                      `c:"llama_model_is_hybrid"`
	HasEncoder    func(model uintptr) bool                                      `c:"llama_model_has_encoder"`
	MetaValue     func(model uintptr, key string, buf *byte, size uint64) int32 `c:"llama_model_meta_val_str"`

	LoadAdapter func(model uintptr, path string) uintptr                                  `c:"llama_adapter_lora_init"`
	SetAdapters func(context uintptr, adapters *uintptr, n uint64, scales *float32) int32 `c:"llama_set_adapters_lora"`

	ContextDefaults func() contextParams                             `c:"llama_context_default_params"`
	NewContext      func(model uintptr, p contextParams) uintptr     `c:"llama_init_from_model"`
	FreeContext     func(context uintptr)                            `c:"llama_free"`
	Memory          func(context uintptr) uintptr                    `c:"llama_get_memory"`
	Decode          func(context uintptr, b batch) int32             `c:"llama_decode"`
	Logits          func(context uintptr, i int32) *float32          `c:"llama_get_logits_ith"`
	Copy            func(memory uintptr, from, to, begin, end int32) `c:"llama_memory_seq_cp"`
	Remove          func(memory uintptr, seq, begin, end int32) bool `c:"llama_memory_seq_rm"`
	Clear           func(memory uintptr, data bool)                  `c:"llama_memory_clear"`
}
