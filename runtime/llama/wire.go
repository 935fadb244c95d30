package llama

import (
	"cubby/labels"
	"cubby/runtime/engine"
	"cubby/runtime/llama/libllama"
)

// Parent and child speak gob, whose messages carry their length, over two pipes:
// the child's standard input and its descriptor 3, so that what a library prints
// disturbs nothing. A request is answered by one reply, in order; only a
// cancellation has none. Each pass carries its prefix, so that a child which was
// started anew has nothing to be told.

// verb is what a request asks for.
type verb int

const (
	toList   verb = iota // the devices that the libraries see
	toOpen               // load the model
	toBegin              // compute a prefix
	toEval               // compute a pass
	toCancel             // stop the pass that runs
)

type request struct {
	Verb    verb
	ID      uint64 // of this request, or of the one to cancel
	Options Options
	Tokens  int            // ids of the tokenizer, for toOpen
	Prefix  []labels.Token // for toBegin and toEval
	Trees   []engine.Tree
}

type reply struct {
	Err       string
	Cancelled bool
	Info      engine.Info
	Devices   []libllama.Device
	Outputs   []engine.Output
}
