package llama

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"cubby/models"
	"cubby/models/gguf"
	"cubby/runtime/llama/libllama"
)

// need is what a model takes, in bytes, estimated from its header.
type need struct {
	layers    []int64 // weights of each block
	output    int64   // output matrix and norm
	input     int64   // embedding and all else, which stays in the machine's memory
	cell      int64   // keys and values of one token, all layers
	states    int64   // of the sequences of a recurrent model
	buffers   int64   // of a pass, rows of logits among them
	window    int     // of sliding attention, 0 for none
	recurrent bool
}

// measure reads the header of a GGUF file, which also proves it sound: the
// library trusts what it loads.
func measure(path string) (need, error) {
	data, release, err := models.MapFile(path)
	if err != nil {
		return need{}, err
	}
	f, err := gguf.Parse(data)
	if err != nil {
		return need{}, errors.Join(fmt.Errorf("%s: %w", path, err), release())
	}
	n, err := newNeed(f)
	return n, errors.Join(err, release())
}

// most bounds what a header may say of a shape: far above any model, and small
// enough that products of a few do not overflow.
const most = 1 << 20

// header reads an architecture's numbers.
type header struct {
	file *gguf.File
	arch string
}

// number is 0 where the key is absent, and the largest of a list.
func (h header) number(key string) int64 {
	key = h.arch + "." + key
	if n, ok := h.file.Uint(key); ok {
		return int64(min(n, most))
	}
	list, _ := h.file.Ints(key) // one for each layer
	var top int64
	for _, n := range list {
		top = max(top, min(n, most))
	}
	return top
}

// newNeed reads what a file says of itself. It refuses what is no decoder.
func newNeed(f *gguf.File) (need, error) {
	arch, _ := f.String("general.architecture")
	h := header{f, arch}
	layers, width := h.number("block_count"), h.number("embedding_length")
	if arch == "" || layers < 1 || layers > 1024 || width < 1 || width >= most {
		return need{}, fmt.Errorf("the GGUF file holds no language model: architecture %.40q, %d layers, width %d", arch, layers, width)
	}
	if causal, ok := f.Bool(arch + ".attention.causal"); ok && !causal {
		return need{}, fmt.Errorf("the model's attention is not causal: it embeds texts, and writes none")
	}
	n := need{layers: make([]int64, layers), window: int(h.number("attention.sliding_window"))}
	vocab := n.count(f)
	heads := max(1, h.number("attention.head_count"))
	kv := cmp.Or(h.number("attention.head_count_kv"), heads)
	key := cmp.Or(h.number("attention.key_length"), width/heads)
	value := cmp.Or(h.number("attention.value_length"), width/heads)
	n.cell = layers * kv * (key + value) * 2
	wide := max(h.number("feed_forward_length"), width)
	n.buffers = micro*4*(3*wide+4*width) + 2*outputs*vocab*4
	inner, state, groups := h.number("ssm.inner_size"), h.number("ssm.state_size"), h.number("ssm.group_count")
	one := inner*state + h.number("ssm.conv_kernel")*(inner+2*groups*state) + h.number("shortconv.l_cache")*width
	n.states = layers * one * 4 * recurrentSequences
	return n, nil
}

// count adds up the tensors, and returns the rows of the embedding.
func (n *need) count(f *gguf.File) (vocab int64) {
	for _, t := range f.Tensors() {
		var block int
		size := int64(len(t.Data))
		switch _, err := fmt.Sscanf(t.Name, "blk.%d.", &block); {
		case err == nil && block >= 0 && block < len(n.layers):
			n.layers[block] += size
		case strings.HasPrefix(t.Name, "output"):
			n.output += size
		default:
			n.input += size
		}
		if t.Name == "token_embd.weight" && len(t.Shape) == 2 {
			vocab = int64(min(t.Shape[1], most<<4))
		}
		n.recurrent = n.recurrent || strings.Contains(t.Name, ".ssm_") || strings.Contains(t.Name, ".shortconv.") || strings.Contains(t.Name, ".time_mix_")
	}
	return vocab
}

// plan is where a model goes.
type plan struct {
	need
	layers  int // offloaded, the output counted as one
	devices []libllama.Device
}

// device names what computes.
func (p plan) device() string {
	if len(p.devices) == 0 {
		return "cpu"
	}
	return fmt.Sprintf("%s (%d of %d layers)", p.names(), p.layers, len(p.need.layers)+1)
}

// choose returns the devices that layers are offloaded to.
func choose(all []libllama.Device, opt Options) ([]libllama.Device, error) {
	var gpus []libllama.Device
	var names []string
	for _, d := range all {
		if d.OnGPU() {
			gpus = append(gpus, d)
			names = append(names, d.Name)
		}
	}
	there := strings.Join(names, ", ")
	if there == "" {
		there = "none"
	}
	if opt.Device != "" {
		var chosen []libllama.Device
		for _, name := range strings.Split(opt.Device, ",") {
			d, ok := named(gpus, strings.TrimSpace(name))
			if !ok {
				return nil, fmt.Errorf("there is no device %q; GPUs that the libraries see: %s", name, there)
			}
			chosen = append(chosen, d)
		}
		gpus = chosen
	}
	if opt.MainGPU >= 0 {
		if opt.MainGPU >= len(gpus) {
			return nil, fmt.Errorf("there is no GPU number %d; GPUs that the libraries see: %s", opt.MainGPU, there)
		}
		gpus = gpus[opt.MainGPU : opt.MainGPU+1]
	}
	if len(gpus) == 0 && opt.GPULayers > 0 {
		return nil, fmt.Errorf("%d layers cannot be offloaded: the libraries see no GPU; get libraries for one with: fetch runtime -kind cuda (or vulkan, metal)", opt.GPULayers)
	}
	if opt.GPULayers == 0 {
		return nil, nil
	}
	return gpus, nil
}

func named(list []libllama.Device, name string) (libllama.Device, bool) {
	for _, d := range list {
		if strings.EqualFold(d.Name, name) {
			return d, true
		}
	}
	return libllama.Device{}, false
}

// reserved is the share of a device's free memory that is left alone.
const reserved = 0.06

// plan decides how many layers go to the devices, and refuses what does not fit.
func (n need) plan(opt Options, devices []libllama.Device) (plan, error) {
	p := plan{need: n, devices: devices}
	cells := int64(opt.Pass) * 2 // a pass and a prompt of its size
	all := len(n.layers) + 1
	if len(devices) > 0 {
		var free int64
		known := true
		for _, d := range devices {
			free += d.Free
			known = known && d.Total > 0
		}
		budget := int64(float64(free) * (1 - reserved))
		fits := all
		for fits > 0 && known && n.offloaded(fits, cells) > budget {
			fits--
		}
		p.layers = opt.GPULayers
		if opt.GPULayers == AutoLayers {
			p.layers = fits
		}
		p.layers = min(p.layers, all)
		if p.layers > fits {
			return p, fmt.Errorf("%d of %d layers need about %s on %s, where %s are free: about %d fit; give -gpu-layers %d, or a smaller quantisation",
				p.layers, all, size(n.offloaded(p.layers, cells)), p.names(), size(free), fits, fits)
		}
		if p.layers == 0 {
			p.devices = nil
		}
	}
	host := n.total(cells) - n.offloaded(p.layers, cells) + adapterSize(opt.Adapter)
	if free := availableMemory(); free > 0 && host > free {
		return p, fmt.Errorf("the model needs about %s of memory, and %s are available: close other programs, or take a smaller quantisation", size(host), size(free))
	}
	return p, nil
}

func (p plan) names() string {
	var names []string
	for _, d := range p.devices {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

// offloaded is what that many layers take on a device: the last ones, and the
// output when all of them are.
func (n need) offloaded(layers int, cells int64) int64 {
	if layers <= 0 {
		return 0
	}
	total := n.buffers + n.states
	blocks := min(layers, len(n.layers))
	for _, size := range n.layers[len(n.layers)-blocks:] {
		total += size + cells*n.cell/int64(len(n.layers))
	}
	if layers > len(n.layers) {
		total += n.output
		if n.output == 0 || n.output < n.input/16 { // tied to the embedding
			total += n.input
		}
	}
	return total
}

func (n need) total(cells int64) int64 {
	total := n.input + n.output + n.buffers + n.states + cells*n.cell
	for _, size := range n.layers {
		total += size
	}
	return total
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
