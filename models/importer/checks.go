package importer

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"cubby/models"
)

// DefaultReplayRows is how many rows of a test set are run unless told otherwise:
// some minutes on a slow machine.
const DefaultReplayRows = 2000

// Checks say how an import holds a model against what its platform measured.
type Checks struct {
	// Test and Predictions are files with the model's test set and with the
	// platform's answers to it; empty for those in the package or beside it.
	Test, Predictions string
	// ReadRows reads a test set; nil reads none.
	ReadRows func(file string) ([]Row, error)
	// Rows is the most rows that are run, evenly spread; 0 for DefaultReplayRows,
	// less than 0 for all.
	Rows     int
	NoReplay bool // nothing is run
	Require  bool // only a model is installed that answers as on the platform
	NoData   bool // test set, predictions and the like are not kept with the model
	Progress func(done, total int)
}

// sources are the files that tell how a model was trained and tested; empty names
// where there is none.
type sources struct {
	test                                     TestSet
	predictions, metrics, config, job, train string
}

// sources looks for the files in the package and beside it.
func (p *pack) sources(o Options) (sources, error) {
	test, err := p.testSet(o)
	s := sources{
		test: test, predictions: o.Predictions, metrics: p.document(metricsName), config: p.document(platformConfigName),
		job: o.Job, train: p.document("train.jsonl", "train.csv"),
	}
	if s.predictions == "" {
		s.predictions = p.document(predictionsName)
	}
	if s.job == "" {
		s.job = p.document(jobName)
	}
	return s, err
}

const (
	predictionsName = "predictions.jsonl"
	metricsName     = "metrics.json"
)

// folderSources are those that a model folder has kept.
func folderSources(o Options, m models.Manifest, folder string) (s sources, warnings []string, err error) {
	in := func(name string) string {
		if _, ok := m.DataFile(name); !ok {
			return ""
		}
		return filepath.Join(folder, models.DataFolder, name)
	}
	s = sources{predictions: o.Predictions, metrics: in(metricsName), config: in(platformConfigName)}
	if s.predictions == "" {
		s.predictions = in(predictionsName)
	}
	kept := ""
	if f, ok := m.TestSet(); ok {
		kept = filepath.Join(folder, filepath.FromSlash(f.Path))
	}
	s.test, warnings, err = readTestSet(o, kept)
	return s, warnings, err
}

// data lists what is kept with the model, by its path there.
func (s sources) data() map[string]string {
	list := map[string]string{}
	for name, file := range map[string]string{
		predictionsName: s.predictions, metricsName: s.metrics, platformConfigName: s.config, jobName: s.job,
		"test" + rowsEnding(s.test.File): s.test.File, "train" + rowsEnding(s.train): s.train,
	} {
		if file != "" {
			list[path.Join(models.DataFolder, name)] = file
		}
	}
	return list
}

// rowsEnding is what a file of rows is called by: its format.
func rowsEnding(file string) string {
	if strings.EqualFold(filepath.Ext(file), ".csv") {
		return ".csv"
	}
	return ".jsonl"
}

// RefusedError is a model that is not installed, because it does not answer as on the
// platform and that was required.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("not installed: %s; without -require-replay it is installed all the same", e.Reason)
}
