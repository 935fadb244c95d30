package pull

import (
	"fmt"
	"regexp"
	"strings"

	"cubby/internal/platform"
	"cubby/models"
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

// installed returns the model of the store that was made of a tar of that name;
// under the wanted name, if one is wanted. A damaged one does not count.
func (p *puller) installed(from string) (*models.Entry, error) {
	return installed(p.Store, p.Name, from)
}

func installed(store *models.Store, name, from string) (*models.Entry, error) {
	entries, err := store.List()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Err != nil || e.Name == "" || e.Manifest.Source.From != from || name != "" && e.Name != name {
			continue
		}
		m, err := store.Open(e.Name)
		if err == nil {
			return &e, m.Close()
		}
	}
	return nil, nil
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
		if e.Name == name && e.Err == nil && !strings.HasPrefix(e.Manifest.Source.From, sourcePrefix(p.model)) {
			return "", fmt.Errorf("the store has another model named %s; choose a name: fetch pull %s -as NAME", name, p.model.ID)
		}
	}
	return name, nil
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
