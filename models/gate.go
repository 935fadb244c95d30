package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Gate is the outcome of a model's last test against the answers that were accepted for
// its name.
type Gate struct {
	Artifact string  `json:"artifact"` // "sha256:…"
	Engine   string  `json:"engine"`   // engine.Info.Setup of what answered
	Dataset  string  `json:"dataset"`
	Rows     int     `json:"rows"`
	Accuracy float64 `json:"accuracy"`
	Baseline string  `json:"baseline"` // artefact whose answers were accepted
	// Lost and Won count rows that only the accepted answers, or only these, get right; P
	// is the exact one-sided probability of such a loss by chance.
	Lost   int     `json:"lost"`
	Won    int     `json:"won"`
	P      float64 `json:"p"`
	Passed bool    `json:"passed"`
}

// maxGate bounds a file of a gate, in bytes.
const maxGate = 64 << 10

func (s *Store) gatePath(d Digest) string { return s.of("gates", d, ".json") }

// BaselinePath is where the accepted answers of a name are kept.
func (s *Store) BaselinePath(name string) string {
	return filepath.Join(s.root, "gates", name+".jsonl")
}

// SaveBaseline keeps the accepted answers of a name.
func (s *Store) SaveBaseline(name string, data []byte) error {
	if err := ValidName(name); err != nil {
		return err
	}
	return writeFileDurably(s.BaselinePath(name), data)
}

// SaveGate keeps the outcome with the artefact.
func (s *Store) SaveGate(g Gate) error {
	d, err := ParseDigest(g.Artifact)
	if err != nil {
		return err
	}
	data, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return writeFileDurably(s.gatePath(d), append(data, '\n'))
}

// CheckGate is an error unless the artefact has passed on such an engine.
func (s *Store) CheckGate(name, artifact, engine string) error {
	again := fmt.Sprintf("run classify gate -model %s with the same -engine", name)
	d, err := ParseDigest(artifact)
	if err != nil {
		return err
	}
	data, err := readBounded(s.gatePath(d), maxGate)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("model %s has passed no gate as %s: %s", name, artifact, again)
	}
	if err != nil {
		return err
	}
	var g Gate
	if err := json.Unmarshal(data, &g); err != nil {
		return fmt.Errorf("%s: %w; %s", s.gatePath(d), err, again)
	}
	switch {
	case g.Artifact != artifact:
		return fmt.Errorf("%s is about %s; %s", s.gatePath(d), g.Artifact, again)
	case !g.Passed:
		return fmt.Errorf("model %s has failed its gate: %d rows lost and %d won against %s (p = %.4f); roll back with fetch use, or accept it with classify gate -accept", name, g.Lost, g.Won, g.Baseline, g.P)
	case g.Engine != engine:
		return fmt.Errorf("model %s has passed its gate on %s, and is to run on %s: %s", name, g.Engine, engine, again)
	}
	return nil
}
