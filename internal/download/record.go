package download

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"cubby/models"
)

// Bounds of a record: more marks than fit are not read.
const (
	maxRecord    = 16 << 20
	maxHeader    = 4 << 10
	maxValidator = 256 // bytes of an ETag or a date; JSON may write six for one
)

// identity tells versions of a file apart, whatever address they came from. Known
// hole: a server that gives different files of equal size the same strong ETag,
// against the standard, is believed where the SHA-256 is unknown.
type identity struct {
	ETag         string        `json:"etag,omitempty"`
	LastModified string        `json:"last_modified,omitempty"`
	Size         int64         `json:"size"` // -1 where the server did not tell
	SHA256       models.Digest `json:"sha256"`
}

// strong returns the ETag if equal ones mean equal bytes.
func (id identity) strong() string {
	if strings.HasPrefix(id.ETag, `"`) {
		return id.ETag
	}
	return ""
}

// differs reports whether an answer is about another version.
func (id identity) differs(now identity) bool {
	if id.Size >= 0 && now.Size >= 0 && id.Size != now.Size {
		return true
	}
	if id.ETag != "" && now.ETag != "" {
		return strings.TrimPrefix(id.ETag, "W/") != strings.TrimPrefix(now.ETag, "W/")
	}
	return id.LastModified != "" && now.LastModified != "" && id.LastModified != now.LastModified
}

// resumes reports whether what was begun under this identity may be continued
// for f: the server can be asked for the same version, or the digest will tell.
func (id identity) resumes(f File) bool {
	switch {
	case f.Size > 0 && id.Size >= 0 && f.Size != id.Size:
		return false
	case f.SHA256 != models.Digest{}:
		return id.SHA256 == models.Digest{} || id.SHA256 == f.SHA256
	}
	return id.strong() != ""
}

// mark says that the bytes before an offset had that SHA-256.
type mark struct {
	at  int64
	sum models.Digest
}

// record lies beside a partial: a line of identity, then a line for every mark.
// Marks are appended and seldom synced: after a crash of the machine the file may
// be shorter than they say, or hold other bytes. What no mark vouches for is not
// used.
type record struct {
	identity
	marks []mark
}

func (id identity) line() []byte {
	line, err := json.Marshal(id)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return append(line, '\n')
}

func (m mark) line() []byte { return fmt.Appendf(nil, "%d %s\n", m.at, m.sum.Hex()) }

// readRecord reads as many marks as are in order; a process may have died in the
// middle of a line.
func readRecord(r io.Reader) (record, error) {
	var rec record
	lines := bufio.NewReaderSize(io.LimitReader(r, maxRecord), maxHeader)
	header, err := lines.ReadSlice('\n')
	if err != nil {
		return rec, fmt.Errorf("a record without identity: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(header))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec.identity); err != nil {
		return rec, fmt.Errorf("the identity in a record: %w", err)
	}
	if rec.Size < -1 || !printable(rec.ETag) || !printable(rec.LastModified) {
		return rec, fmt.Errorf("the identity in a record is not one: %.200q", header)
	}
	for at := int64(0); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return rec, nil
		}
		m, ok := parseMark(string(line))
		if !ok || m.at <= at || rec.Size >= 0 && m.at > rec.Size {
			return rec, nil
		}
		rec.marks = append(rec.marks, m)
		at = m.at
	}
}

func parseMark(line string) (m mark, ok bool) {
	at, sum, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if !ok || len(sum) != hex.EncodedLen(len(m.sum)) {
		return m, false
	}
	n, err := strconv.ParseUint(at, 10, 63)
	m.at = int64(n)
	return m, err == nil && m.sum.UnmarshalText([]byte(sum)) == nil
}

// printable reports whether s can be kept in a record and sent in a header.
func printable(s string) bool {
	return len(s) <= maxValidator && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
