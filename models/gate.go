package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Gate is the outcome of a model's last test on an engine against the answers that were
// accepted for its name.
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

// baselineEnding ends the names of files of accepted answers, which begin with a model's.
const baselineEnding = ".jsonl"

// gatePath has a digest of the engine in it: each that serves the model has its own.
func (s *Store) gatePath(d Digest, engine string) string {
	return s.of("gates", d, "-"+DigestOf([]byte(engine)).Hex()[:shortVersion]+".json")
}

// gatesOf lists the files of a model's gates, on whatever engine.
func (s *Store) gatesOf(d Digest) (files []string) {
	names, _ := readDir(filepath.Join(s.root, "gates"))
	for _, name := range names {
		if strings.HasPrefix(name, d.Hex()) && strings.HasSuffix(name, ".json") {
			files = append(files, filepath.Join(s.root, "gates", name))
		}
	}
	return files
}

// BaselinePath is where the accepted answers of a name are kept.
func (s *Store) BaselinePath(name string) string {
	return filepath.Join(s.root, "gates", name+baselineEnding)
}

// SaveBaseline keeps the accepted answers of a name.
func (s *Store) SaveBaseline(name string, data []byte) error {
	if err := ValidName(name); err != nil {
		return err
	}
	return WriteFileDurably(s.BaselinePath(name), data)
}

// SaveGate keeps the outcome with the artefact, which must be in the store, beside those
// on other engines.
func (s *Store) SaveGate(g Gate) error {
	d, err := ParseDigest(g.Artifact)
	if err != nil {
		return err
	}
	if _, err := s.manifest(d); err != nil {
		return err
	}
	data, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return WriteFileDurably(s.gatePath(d, g.Engine), append(data, '\n'))
}

// CheckGate is an error unless the artefact has passed on such an engine.
func (s *Store) CheckGate(name, artifact, engine string) error {
	again := fmt.Sprintf("run classify gate -model %s with the same -engine", name)
	d, err := ParseDigest(artifact)
	if err != nil {
		return err
	}
	file := s.gatePath(d, engine)
	g, err := readGate(file)
	if errors.Is(err, fs.ErrNotExist) {
		if other := s.passedOn(d); other != "" {
			return fmt.Errorf("model %s has passed its gate on %s, and is to run on %s: %s", name, other, engine, again)
		}
		return fmt.Errorf("model %s has passed no gate as %s: %s", name, artifact, again)
	}
	if err != nil {
		return fmt.Errorf("%w; %s", err, again)
	}
	switch {
	case g.Artifact != artifact || g.Engine != engine:
		return fmt.Errorf("%s is about %s on %s; %s", file, g.Artifact, g.Engine, again)
	case !g.Passed:
		return fmt.Errorf("model %s has failed its gate: %d rows lost and %d won against %s (p = %.4f); roll back with fetch use, or accept it with classify gate -accept", name, g.Lost, g.Won, g.Baseline, g.P)
	}
	return nil
}

// passedOn is an engine on which the artefact has passed; empty where there is none.
func (s *Store) passedOn(d Digest) string {
	for _, file := range s.gatesOf(d) {
		if g, err := readGate(file); err == nil && g.Passed && g.Artifact == d.String() {
			return g.Engine
		}
	}
	return ""
}

func readGate(file string) (g Gate, err error) {
	data, err := readBounded(file, maxGate)
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return g, fmt.Errorf("%s: %w", file, err)
	}
	return g, nil
}
