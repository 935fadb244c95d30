package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxManifest is the largest manifest that is read, in bytes: a thousand long
// labels take about a tenth of it.
const maxManifest = 8 << 20

// ParseManifest reads and validates a manifest. It refuses what a careless
// reader would let pass and two readers could understand differently: unknown
// or repeated keys, data behind the end, text that is not UTF-8.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("manifest is larger than %d MiB", maxManifest>>20)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("manifest is not valid UTF-8")
	}
	if err := checkKeys(data); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := checkSchema(head.Schema); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

func checkSchema(v int) error {
	switch {
	case v < 1:
		return errors.New(`manifest: "schema" is missing or not a positive number`)
	case v > SchemaVersion:
		return fmt.Errorf("manifest has schema %d and this program reads up to %d: upgrade the program, or import the model again with this one", v, SchemaVersion)
	}
	return nil
}

// checkKeys walks the JSON text, which must be one value, and refuses keys
// that repeat in their object or are not plain lower-case words: encoding/json
// matches keys whatever their case, so those would repeat unseen.
func checkKeys(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data behind the end of the JSON value")
	}
	return nil
}

// maxDepth bounds the nesting: a manifest has four levels.
const maxDepth = 16

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			if err := checkKey(dec, seen); err != nil {
				return err
			}
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func checkKey(dec *json.Decoder, seen map[string]bool) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	key, ok := tok.(string)
	if !ok {
		return fmt.Errorf("object key %v is not a string", tok)
	}
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return fmt.Errorf("unknown key %.80q", key)
	}
	if seen[key] {
		return fmt.Errorf("key %.80q is repeated", key)
	}
	seen[key] = true
	return nil
}

// Encode validates m and returns its canonical bytes: the fields in the order
// of the type, indented by two spaces, files sorted by path, one newline at
// the end. Equal manifests have equal bytes.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	m.Files = slices.Clone(m.Files)
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if buf.Len() > maxManifest {
		return nil, fmt.Errorf("manifest is larger than %d MiB", maxManifest>>20)
	}
	return buf.Bytes(), nil
}

// Digest is the artifact digest: the SHA-256 of the canonical bytes. Since
// they list the digest of every file, it stands for the whole model.
func (m Manifest) Digest() (Digest, error) {
	data, err := m.Encode()
	if err != nil {
		return Digest{}, err
	}
	return DigestOf(data), nil
}
