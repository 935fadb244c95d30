package pull

import (
	"fmt"
	"regexp"
	"strings"

	"cubby/internal/platform"
	"cubby/models"
	"cubby/models/importer"
)

// The name of the downloaded tar is what a manifest tells of its source. It has
// the model's id and the version of its package, by which a second pull sees that
// there is nothing to do.

var plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func sourcePrefix(m platform.Model) string {
	if plainID.MatchString(m.ID) {
		return m.ID + "."
	}
	return models.DigestOf([]byte(m.ID)).Hex()[:32] + "."
}

func source(m platform.Model, v version) string { return sourcePrefix(m) + v.id + ".tar" }

// fromPackage are the names of downloaded tars, where the id is a plain one.
var fromPackage = regexp.MustCompile(`^([A-Za-z0-9_-]{1,64})\.[0-9a-f]{16}\.tar$`)

// sourceID is the id of the platform's model that a manifest's source tells of.
func sourceID(from string) (id string, ok bool) {
	parts := fromPackage.FindStringSubmatch(from)
	if parts == nil {
		return "", false
	}
	return parts[1], true
}

// installed returns the model of the store that was made of a tar of that name; where
// a name is wanted, a version of that name, and where its adapter is to be kept, one
// that has it. A damaged one does not count.
func (p *puller) installed(from string) (*models.Entry, error) {
	return installed(p.Store, p.Name, from, p.Quantize, p.KeepAdapter)
}

func installed(store *models.Store, name, from string, q importer.Quantization, keepAdapter bool) (*models.Entry, error) {
	entries, err := store.List()
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // what a name points to comes before its other versions
		if e.Err != nil || e.Manifest.Source.From != from || e.Name == "" && name == "" || name != "" && e.Called() != name || !q.Done(*e.Manifest) || keepAdapter && e.Manifest.Adapter == "" {
			continue
		}
		m, err := store.Open(e.Digest.String())
		if err == nil {
			return &e, m.Close()
		}
	}
	return nil, nil
}

// use lets the name point to what is installed, if it does not.
func use(store *models.Store, e *models.Entry) error {
	if e.Name != "" {
		return nil
	}
	_, _, err := store.Use(e.Called() + "@" + e.Digest.Hex())
	return err
}

// name chooses the name in the store. One that is made up is not taken from
// another model.
func (p *puller) name() (string, error) {
	if p.Name != "" {
		return p.Name, nil
	}
	name := nameOf(p.model)
	entries, err := p.Store.List()
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name == name && e.Err == nil && !p.madeOf(e.Manifest.Source.From) {
			return "", fmt.Errorf("the store has another model named %s; choose a name: fetch pull %s -as NAME; or if this is a new training of it: fetch upgrade %s %s", name, p.model.ID, name, p.model.ID)
		}
	}
	return name, nil
}

// madeOf reports whether a source is the model that is pulled, or what it was called
// before it was an SLM.
func (p *puller) madeOf(from string) bool {
	return strings.HasPrefix(from, sourcePrefix(p.model)) || p.model.Old != "" && strings.HasPrefix(from, sourcePrefix(platform.Model{ID: p.model.Old}))
}

// nameOf makes a valid name of the platform's: its name, its alias, or the
// beginning of its id.
func nameOf(m platform.Model) string {
	for _, text := range []string{m.Name, m.Alias} {
		if name := validName(text); name != "" && name != models.DemoName {
			return name
		}
	}
	short := validName(m.ID)
	return validName("slm-" + short[:min(len(short), 8)])
}

var notInNames = regexp.MustCompile(`[^a-z0-9._-]+`)

// validName keeps what a name may hold; it is empty where nothing is left.
func validName(text string) string {
	name := notInNames.ReplaceAllString(strings.ToLower(text), "-")
	name = strings.TrimLeft(name, "._-")
	name = strings.TrimRight(name[:min(len(name), 64)], ".-")
	if models.ValidName(name) != nil {
		return ""
	}
	return name
}
