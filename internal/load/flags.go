package load

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"cubby/runtime/llama"
)

// KeyVariable holds the API key of a server that computes: among the
// arguments it would show in process lists.
const KeyVariable = "CUBBY_ENGINE_KEY"

// Flags are those of every program that runs a model: where it is found, and what
// computes it. Each is also an environment variable.
func (o *Options) Flags() []cli.Flag {
	text := func(name, usage, value string, to *string) cli.Flag {
		return &cli.StringFlag{Name: name, Usage: usage, Value: value, Sources: variable(name), Destination: to}
	}
	return []cli.Flag{
		text("home", "`FOLDER` of the model store", "", &o.Home),
		text("engine", "compute with `ENGINE` "+strings.Join(Engines(), ", "), Auto, &o.Engine),
		&cli.IntFlag{Name: "threads", Usage: "compute with `N` threads; 0 for one a physical core", Sources: variable("threads"), Destination: &o.Threads},
		text("cpu", "native engine: force the instruction `SET`: portable; avx2, avxvnni, avx512vnni or amxint8; neon or neondot", "", &o.CPU),
		text("precision", "native engine: round a text's activations to `TYPE`: int8 (int16 where the processor has AMX), int16 (half as fast elsewhere, closer to float arithmetic) or float32 (for reference)", "int8", &o.Precision),
		text("libraries", "llama: `FOLDER` of libllama's libraries, instead of those of fetch runtime", "", &o.Llama.Libraries),
		text("gpu-layers", "llama: offload `N` layers to GPUs, or auto for as many as fit", Auto, &o.Llama.GPULayers),
		text("device", "llama: offload to the GPUs `NAMES`, with commas between them; all if not given", "", &o.Llama.Device),
		text("main-gpu", "llama: use only the GPU number `N` of them, from 0", "", &o.Llama.MainGPU),
		&cli.BoolFlag{Name: "in-process", Usage: "llama: load the libraries into this process, which then ends if they fail, instead of into a child", Sources: variable("in-process"), Destination: &o.Llama.InProcess},
		text("engine-url", "ollama (http://127.0.0.1:11434 if not given), llamaserver (http://127.0.0.1:8080), chat: `URL` of the server; CUBBY_ENGINE_KEY holds its API key", "", &o.Remote.URL),
		text("engine-model", "ollama, chat: ask the server's model `NAME`, for ollama instead of one created from this model's file", "", &o.Remote.Model),
		text("engine-job", "chat: `FILE` job_description.json with the task and its labels, instead of the labels of -model", "", &o.Remote.Job),
		&cli.BoolFlag{Name: "engine-pull", Usage: "ollama: let the server download -engine-model", Sources: variable("engine-pull"), Destination: &o.Remote.Pull},
		&cli.IntFlag{Name: "engine-slots", Usage: "ollama, llamaserver, chat: ask at most `N` questions at once; 0 for the server's number, or 4", Sources: variable("engine-slots"), Destination: &o.Remote.Slots},
		&cli.DurationFlag{Name: "engine-keep-alive", Usage: "ollama: keep the model loaded for `TIME` behind a question; less than 0 for ever, 0 for the server's own", Sources: variable("engine-keep-alive"), Destination: &o.Remote.KeepAlive},
	}
}

func variable(flag string) cli.ValueSourceChain { return cli.EnvVars(Variable(flag)) }

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return "CUBBY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Check refuses values that cannot be meant, with the name of the flag, and reads
// what must not be one.
func (o *Options) Check() error {
	o.Remote.Key = os.Getenv(KeyVariable)
	if o.Threads < 0 {
		return fmt.Errorf("-threads %d: expected 0 (one a core) or more", o.Threads)
	}
	if o.Remote.Slots < 0 {
		return fmt.Errorf("-engine-slots %d: expected 0 or more", o.Remote.Slots)
	}
	if !known(o.Engine) {
		return fmt.Errorf("-engine %q: expected one of %s", o.Engine, strings.Join(Engines(), ", "))
	}
	_, err := o.Llama.options()
	return err
}

// Worker turns this process into the engine's child, if it was started as one.
// Each program that uses this package calls it first.
func Worker() { llama.Worker() }
