package safetensors

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Content is one tensor to write: Write gives its bytes, little-endian, as many
// as its type and shape call for.
type Content struct {
	Name  string
	DType string
	Shape []int
	Write func(io.Writer) error
}

// Write writes a file that Parse reads, with the tensors in the order given. It
// holds no more than the header in memory.
func Write(w io.Writer, tensors []Content) error {
	header, ends, err := encodeHeader(tensors)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	c := &counter{w: bufio.NewWriterSize(w, 1<<20)}
	if err := binary.Write(c, binary.LittleEndian, uint64(len(header))); err != nil {
		return err
	}
	if _, err := c.Write(header); err != nil {
		return err
	}
	start := c.n
	for i, t := range tensors {
		if err := t.Write(c); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if c.n-start != ends[i] {
			return fmt.Errorf("safetensors: tensor %q ends at offset %d, not %d", t.Name, c.n-start, ends[i])
		}
	}
	return c.w.Flush()
}

// headerAlign is what the format wants the tensors' bytes aligned to.
const headerAlign = 8

// encodeHeader returns the JSON header, padded with spaces, and where each
// tensor ends.
func encodeHeader(tensors []Content) (header []byte, ends []int64, err error) {
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	next, seen := int64(0), map[string]bool{metadataKey: true}
	for _, t := range tensors {
		size, err := sizeOf(t.DType, t.Shape)
		if err == nil && seen[t.Name] {
			err = fmt.Errorf("it stands twice, or has a name that is reserved")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		seen[t.Name] = true
		end := next + size
		name, _ := json.Marshal(t.Name) // a string can always be encoded
		shape := append([]int{}, t.Shape...)
		lengths, _ := json.Marshal(shape)
		fmt.Fprintf(&b, `,%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, lengths, next, end)
		ends, next = append(ends, end), end
	}
	b.WriteString("}")
	b.WriteString(strings.Repeat(" ", (headerAlign-b.Len()%headerAlign)%headerAlign))
	if b.Len() > maxHeader {
		return nil, nil, fmt.Errorf("the header of %d tensors takes %d bytes, more than %d", len(tensors), b.Len(), maxHeader)
	}
	return []byte(b.String()), ends, nil
}

// sizeOf is the number of bytes of a tensor.
func sizeOf(dtype string, shape []int) (int64, error) {
	e := entry{dtype: dtype, shape: make([]uint64, len(shape))}
	for i, n := range shape {
		if n < 0 {
			return 0, fmt.Errorf("shape %v has a negative length", shape)
		}
		e.shape[i] = uint64(n)
	}
	if len(shape) > maxDims {
		return 0, fmt.Errorf("shape %v has more than %d dimensions", shape, maxDims)
	}
	size, err := e.size()
	return int64(size), err
}

// counter counts what it writes.
type counter struct {
	w *bufio.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
