// Package localplatform is distil labs' training platform on this machine, for
// tests and for trying things without an account: the routes, answers and refusals
// that are documented, with model packages from a folder.
//
// It serves three services from one address, told apart as the real ones are by
// their hosts: the API, Cognito (a POST with the header X-Amz-Target) and the store
// of files behind presigned addresses, which behaves as S3 does: ranges, an ETag, 403
// for an address that has expired or was changed, 400 for a request that brings a
// token as well.
//
// It shares no code with the client, so that a misreading in one shows.
package localplatform

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cubby/internal/httpfault"
)

// Era is a state of the platform's API.
type Era string

// The eras, by what is in their routes.
const (
	Models   Era = "models"   // models with names, uploads and trainings; no /slms
	Both     Era = "both"     // the same, and /slms
	Training Era = "training" // SLMs from training datasets, whose download costs a credit
	Datasets Era = "datasets" // SLMs from datasets; the newest
)

// Eras are all of them, oldest first.
func Eras() []Era { return []Era{Models, Both, Training, Datasets} }

// Shapes are the names of packages in a task's folder, without ".tar".
func Shapes() []string { return []string{"seqcls", "gguf", "merged", "adapter"} }

// What the documentation says about lifetimes.
const (
	tokenLifetime = time.Hour
	linkLifetime  = time.Hour
)

// User and Password log in where Options name none.
const (
	User     = "ada@example.com"
	Password = "correct horse"
)

// Options say what the platform is like. Only Packages is needed.
type Options struct {
	// Packages is a folder with a folder for each task, in it SHAPE.tar and the files
	// beside: job_description.json, config.yaml, test.jsonl, train.jsonl,
	// metrics.json, predictions.jsonl, model_client.py, as far as they are there.
	Packages string
	Era      Era      // empty for Datasets
	Shapes   []string // only these; empty for all
	// User and Password are the only account's.
	User, Password string
	// Now is the clock of tokens and addresses; nil for time.Now.
	Now func() time.Time
	// LinkLifetime is that of presigned addresses; 0 for an hour.
	LinkLifetime time.Duration
	// BareTokens wants tokens without the word Bearer, as the notebooks send them.
	BareTokens bool
	// NullUntilReady answers null addresses for a model in training, not 409.
	NullUntilReady bool
	// URLKey names the address of a Trained model's tar: s3_url, url, download_url,
	// model_url, or empty for s3_url, or "bare" for the address alone.
	URLKey string
	// NoRefresh keeps Cognito from giving refresh tokens.
	NoRefresh bool
	// Paged makes lists of SLMs obey start and count; the newest platform does not.
	Paged bool
	// Credits is how many downloads of training datasets the account has; 0 for 5,
	// negative for none.
	Credits int
}

// Model is one model of the platform's.
type Model struct {
	ID, Name, Training, Upload, Dataset string
	Task, Shape                         string
	Status                              string // with the prefix JOB_
	Created                             time.Time
	Parent                              string // dataset that Dataset was made from; empty for none
	dir                                 string
	// replaced: a later training of the model is the one that /models shows.
	replaced bool
}

// Fault is a way to fail. Its routes are "GET /slms" and such, "POST /" for Cognito,
// and "GET /s3/" for files.
type Fault = httpfault.Fault

// Platform is an http.Handler. Its requests to Cognito are those called "POST /".
type Platform struct {
	httpfault.Server

	opt Options
	api http.Handler

	mu      sync.Mutex
	models  []*Model // newest first
	tokens  map[string]time.Time
	refresh map[string]bool
	serial  int
	credits int
}

// New reads the folder of packages. Each tar becomes a model that is trained;
// Add adds others.
func New(opt Options) (*Platform, error) {
	p := &Platform{opt: opt, tokens: map[string]time.Time{}, refresh: map[string]bool{}, credits: opt.Credits}
	if p.opt.Era == "" {
		p.opt.Era = Datasets
	}
	if !slices.Contains(Eras(), p.opt.Era) {
		return nil, fmt.Errorf("there is no era %q: eras are %v", opt.Era, Eras())
	}
	if opt.User == "" {
		p.opt.User, p.opt.Password = User, Password
	}
	if opt.Now == nil {
		p.opt.Now = time.Now
	}
	if opt.LinkLifetime == 0 {
		p.opt.LinkLifetime = linkLifetime
	}
	switch {
	case opt.Credits == 0:
		p.credits = 5
	case opt.Credits < 0:
		p.credits = 0
	}
	if err := p.scan(); err != nil {
		return nil, err
	}
	p.api = p.routes()
	return p, nil
}

// scan makes a model of each package.
func (p *Platform) scan() error {
	if p.opt.Packages == "" {
		return errors.New("no folder of packages: give the one that make_packages.py wrote")
	}
	tasks, err := os.ReadDir(p.opt.Packages)
	if err != nil {
		return err
	}
	created := time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)
	for _, task := range tasks {
		for _, shape := range Shapes() {
			dir := filepath.Join(p.opt.Packages, task.Name())
			if len(p.opt.Shapes) > 0 && !slices.Contains(p.opt.Shapes, shape) {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, shape+".tar")); err != nil {
				continue
			}
			created = created.Add(25 * time.Hour)
			p.insert(Model{Task: task.Name(), Shape: shape, Status: "JOB_SUCCESS", Created: created, dir: dir})
		}
	}
	return nil
}

// Add adds a model without files, such as one in training, and returns it with its
// ids.
func (p *Platform) Add(name, status string, created time.Time) Model {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.insert(Model{Task: name, Shape: "adapter", Status: status, Created: created})
}

// insert derives ids from the name, so that they are the same in every run.
func (p *Platform) insert(m Model) *Model {
	m.Name = m.Task
	if m.dir != "" {
		m.Name += "-" + m.Shape
	}
	m.ID, m.Upload, m.Dataset = id("model", m.Name), id("upload", m.Name), id("dataset", m.Name)
	if m.Status != "JOB_NOT_STARTED" {
		m.Training = id("training", m.Name)
	}
	p.models = append(p.models, &m)
	p.sort()
	return &m
}

func (p *Platform) sort() {
	slices.SortStableFunc(p.models, func(a, b *Model) int { return b.Created.Compare(a.Created) })
}

// Retrained says what a later training is like. Zero values are those of the first.
type Retrained struct {
	Task, Shape string // which package comes out, from the folder of packages
	Status      string // with the prefix JOB_; empty for success
	NewDataset  bool   // on a dataset made from the first one's
	Unrelated   bool   // on a dataset of its own
	Created     time.Time
}

// Retrain trains a model again and returns what came out: a model with names has
// another training, an SLM is another SLM.
func (p *Platform) Retrain(first Model, r Retrained) Model {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := first
	again.Status, again.Created = cmp.Or(r.Status, "JOB_SUCCESS"), r.Created
	if r.Task != "" {
		again.Task, again.dir = r.Task, filepath.Join(p.opt.Packages, r.Task)
	}
	again.Shape = cmp.Or(r.Shape, first.Shape)
	key := fmt.Sprint(first.Name, " ", len(p.models))
	again.Training, again.Upload = id("training", key), id("upload", key)
	switch {
	case r.NewDataset:
		again.Dataset, again.Parent = id("dataset", key), first.Dataset
	case r.Unrelated:
		again.Dataset, again.Parent = id("dataset", key), ""
	}
	if p.opt.Era == Models || p.opt.Era == Both {
		for _, m := range p.models {
			m.replaced = m.replaced || m.ID == first.ID
		}
	} else {
		again.ID = id("model", key)
	}
	p.models = append(p.models, &again)
	p.sort()
	return again
}

// SetStatus changes a model's status: JOB_RUNNING, JOB_SUCCESS and so on.
func (p *Platform) SetStatus(id, status string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.models {
		if m.ID == id {
			m.Status = status
		}
	}
}

// Models returns all of them, newest first.
func (p *Platform) Models() []Model {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Model
	for _, m := range p.models {
		out = append(out, *m)
	}
	return out
}

// id looks like the platform's, a UUID.
func id(kind, name string) string {
	h := sha256.Sum256([]byte(kind + "/" + name))
	s := hex.EncodeToString(h[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// ServeHTTP answers as the host would that a request is for.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Serve(w, r, p.route)
}

func (p *Platform) route(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		p.cognito(w, r)
	case strings.HasPrefix(r.URL.Path, filesPrefix):
		p.file(w, r)
	default:
		p.api.ServeHTTP(w, r)
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client may be gone
}

func refuse(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"detail": text})
}
