package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// metadataKey holds free text pairs, which are checked and dropped.
const metadataKey = "__metadata__"

// entry is a tensor as the header describes it, not yet checked against the file.
type entry struct {
	name       string
	dtype      string
	shape      []uint64
	begin, end uint64 // counted from the end of the header
}

// tokens reads JSON token by token, because Unmarshal lets pass what a strict
// reader must not: repeated and unknown keys, keys in another case, null.
type tokens struct{ *json.Decoder }

func readHeader(header []byte) ([]entry, error) {
	t := tokens{json.NewDecoder(bytes.NewReader(header))}
	t.UseNumber()
	var entries []entry
	err := t.object(func(name string) error {
		if name == metadataKey {
			return t.object(func(string) error { _, err := t.text(); return err })
		}
		if len(entries) == maxTensors {
			return fmt.Errorf("more than %d tensors", maxTensors)
		}
		e, err := t.entry(name)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := t.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return entries, nil
}

func (t tokens) entry(name string) (entry, error) {
	e, keys := entry{name: name}, 0
	err := t.object(func(key string) (err error) {
		keys++
		switch key {
		case "dtype":
			e.dtype, err = t.text()
		case "shape":
			e.shape, err = t.integers(maxDims)
		case "data_offsets":
			var ends []uint64
			if ends, err = t.integers(2); err == nil && len(ends) != 2 {
				err = errors.New("want two offsets")
			}
			if err == nil {
				e.begin, e.end = ends[0], ends[1]
			}
		default:
			err = errors.New("unknown key")
		}
		return err
	})
	if err == nil && keys != 3 {
		err = fmt.Errorf("key %q lacks one of dtype, shape, data_offsets", name)
	}
	return e, err
}

// delim demands a brace or bracket.
func (t tokens) delim(want json.Delim) error {
	tok, err := t.Token()
	if err == nil && tok != want {
		err = fmt.Errorf("byte %d: %v instead of %v", t.InputOffset(), tok, want)
	}
	return eof(err)
}

// object reads an object and calls member behind each key, which it names in an error.
func (t tokens) object(member func(key string) error) error {
	if err := t.delim('{'); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for t.More() {
		key, err := t.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q stands twice", key)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return t.delim('}')
}

func (t tokens) text() (string, error) {
	tok, err := t.Token()
	if err != nil {
		return "", eof(err)
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("byte %d: %v instead of a string", t.InputOffset(), tok)
	}
	return s, nil
}

// integers reads an array of at most limit unsigned integers.
func (t tokens) integers(limit int) ([]uint64, error) {
	if err := t.delim('['); err != nil {
		return nil, err
	}
	var list []uint64
	for t.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		tok, err := t.Token()
		if err != nil {
			return nil, eof(err)
		}
		number, _ := tok.(json.Number)
		n, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("byte %d: %v instead of an integer of 64 bits", t.InputOffset(), tok)
		}
		list = append(list, n)
	}
	return list, t.delim(']')
}

// eof says what an end inside the header means.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
