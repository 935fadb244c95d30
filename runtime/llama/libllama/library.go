// Package libllama calls llama.cpp's libllama through its C functions, without
// cgo: libraries, devices, models and contexts of one release, and nothing of
// what they are good for. Source of names and layouts: llama.h and ggml-backend.h
// of llama.cpp v0.5.0.
//
// An assertion that fails in C ends the process, and nothing here can help it:
// whoever calls checks shapes first, and keeps what must survive in another
// process.
package libllama

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Library is libllama, loaded into this process. It is never unloaded.
type Library struct {
	c      functions
	folder string
	log    logTail
}

var loaded struct {
	sync.Mutex
	library *Library
}

// Load loads the libraries of a folder, and the backends of all its devices. A
// process has one libllama: another folder is refused once one is loaded.
func Load(folder string) (*Library, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	loaded.Lock()
	defer loaded.Unlock()
	if l := loaded.library; l != nil {
		if l.folder != folder {
			return nil, fmt.Errorf("this process has loaded the libraries of %s already, and cannot load those of %s beside them", l.folder, folder)
		}
		return l, nil
	}
	l := &Library{folder: folder}
	if err := l.load(); err != nil {
		return nil, err
	}
	loaded.library = l
	return l, nil
}

// Each library finds the ones before it by their names, so they are loaded in
// this order and their symbols shared.
var libraryNames = []string{"libggml-base", "libggml", "libllama"}

func (l *Library) load() error {
	var handles []uintptr
	for _, name := range libraryNames {
		file, err := libraryFile(l.folder, name)
		if err != nil {
			return err
		}
		handle, err := open(file)
		if err != nil {
			return fmt.Errorf("%s cannot be loaded: %w; get libraries for this system with: fetch runtime", file, err)
		}
		handles = append(handles, handle)
	}
	if err := l.bind(handles); err != nil {
		return err
	}
	if v := l.c.Version(); strings.TrimSuffix(v, "-dev") != Version {
		return fmt.Errorf("the libraries in %s are llama.cpp %s; this program knows the structures of %s only; get that with: fetch runtime", l.folder, v, Version)
	}
	l.c.SetLog(purego.NewCallback(l.log.hear), 0)
	l.c.LoadBackends(l.folder)
	l.c.InitBackend()
	if len(l.Devices()) == 0 {
		return fmt.Errorf("the libraries in %s have no backend for this processor: libggml-cpu is missing or of another kind; get them with: fetch runtime", l.folder)
	}
	return nil
}

// libraryFile finds "libllama.so", "libllama.v0.5.0.so", "libllama.so.0.5.0" or
// "libllama.0.5.0.dylib"; the shortest name where there are several.
func libraryFile(folder, name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(folder, name+".*"))
	if err != nil {
		return "", err
	}
	best := ""
	for _, file := range found {
		base := filepath.Base(file)
		if !strings.Contains(base, ".so") && !strings.HasSuffix(base, ".dylib") {
			continue
		}
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if best == "" || len(file) < len(best) {
			best = file
		}
	}
	if best == "" {
		return "", fmt.Errorf("there is no %s in the folder %s; get the libraries with: fetch runtime", name, folder)
	}
	return best, nil
}

// bind finds every function, so that a library that lacks one is refused before
// anything of it runs.
func (l *Library) bind(handles []uintptr) error {
	v := reflect.ValueOf(&l.c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("c")
		address, err := symbol(handles, name)
		if err != nil {
			return fmt.Errorf("the libraries in %s have no function %s: they are not llama.cpp %s; get that with: fetch runtime", l.folder, name, Version)
		}
		purego.RegisterFunc(v.Field(i).Addr().Interface(), address)
	}
	return nil
}

func symbol(handles []uintptr, name string) (address uintptr, err error) {
	for _, h := range handles {
		if address, err = find(h, name); err == nil {
			return address, nil
		}
	}
	return 0, err
}

// DeviceKind is what a device computes with.
type DeviceKind int32

// The kinds, numbered as enum ggml_backend_dev_type.
const (
	CPU DeviceKind = iota
	GPU
	IntegratedGPU
	Accelerator
)

// Device is something that computes.
type Device struct {
	Name        string // "CPU", "CUDA0", "Vulkan0"
	Description string
	Kind        DeviceKind
	Free, Total int64 // bytes of its memory, 0 where unknown
	handle      uintptr
}

// OnGPU says whether layers can be offloaded to the device.
func (d Device) OnGPU() bool { return d.Kind == GPU || d.Kind == IntegratedGPU }

// Devices lists what the loaded backends found.
func (l *Library) Devices() []Device {
	var list []Device
	for i := range l.c.DeviceCount() {
		h := l.c.Device(i)
		list = append(list, Device{Name: l.c.DeviceName(h), Description: l.c.DeviceText(h), Kind: DeviceKind(l.c.DeviceType(h)), handle: h})
	}
	return l.Refresh(list)
}

// Refresh asks the devices for their memory.
func (l *Library) Refresh(list []Device) []Device {
	for i := range list {
		var free, total uint64
		l.c.DeviceMemory(list[i].handle, &free, &total)
		list[i].Free, list[i].Total = int64(free), int64(total)
	}
	return list
}

// logTail keeps the last warnings and errors, which say why a call failed.
type logTail struct {
	mu    sync.Mutex
	lines []string
	level int32
}

const (
	logLines    = 8
	logWarn     = 3
	logError    = 4
	logContinue = 5
)

// hear is a ggml_log_callback. A continued line has the level of its beginning.
func (t *logTail) hear(level int32, text *byte, _ uintptr) uintptr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if level != logContinue {
		t.level = level
	}
	line := strings.TrimSpace(goString(text))
	if t.level < logWarn || t.level > logError || line == "" {
		return 0
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > logLines {
		t.lines = t.lines[1:]
	}
	return 0
}

// take returns what was heard since the last call, as one line.
func (t *logTail) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.Join(t.lines, "; ")
	t.lines = nil
	return text
}

func goString(p *byte) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return strings.Clone(unsafe.String(p, n))
}

// failure adds what the library said to an error.
func (l *Library) failure(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if said := l.log.take(); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}
