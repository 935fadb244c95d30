package models

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// digestPrefix names the hash function in a written digest.
const digestPrefix = "sha256:"

// Digest is a SHA-256 sum. Text becomes a Digest only by parsing, so that what
// a digest names on disk can never be a path of someone's choosing.
type Digest [sha256.Size]byte

// DigestOf hashes data.
func DigestOf(data []byte) Digest { return sha256.Sum256(data) }

// ParseDigest reads the form that String writes.
func ParseDigest(s string) (Digest, error) {
	text, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return Digest{}, fmt.Errorf("digest %q does not start with %q", s, digestPrefix)
	}
	return parseHex(text)
}

func parseHex(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return Digest{}, fmt.Errorf("digest %.80q is not %d lower-case hex digits", s, 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest %q is not hexadecimal", s)
	}
	return d, nil
}

// String is "sha256:" and 64 hex digits: how the program names an artifact.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// Hex is the 64 hex digits alone: a file name in the store, and the form in a
// manifest's list of files.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// MarshalText writes the 64 hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.Hex()), nil }

// UnmarshalText reads 64 lower-case hex digits.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = parseHex(string(text))
	return err
}
