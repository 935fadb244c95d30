package models

import (
	"errors"
	"fmt"
	"io/fs"
)

// maxReport bounds a stored report, in bytes.
const maxReport = 64 << 20

func (s *Store) reportPath(d Digest) string {
	return s.of("reports", d, ".json")
}

// SaveReport keeps the last evaluation of a stored artefact ("sha256:…"), as JSON.
func (s *Store) SaveReport(artifact string, data []byte) error {
	d, err := ParseDigest(artifact)
	if err != nil {
		return err
	}
	if _, err := s.manifest(d); err != nil {
		return err
	}
	return WriteFileDurably(s.reportPath(d), data)
}

// Report returns the last evaluation of an artefact. ErrNotFound is in the error where
// there is none.
func (s *Store) Report(artifact string) ([]byte, error) {
	d, err := ParseDigest(artifact)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(s.reportPath(d), maxReport)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no evaluation of %s has been kept", ErrNotFound, artifact)
	}
	return data, err
}
