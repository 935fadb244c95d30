package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cubby/internal/platform"
	"cubby/models"
)

// Upgraded is what Upgrade did.
type Upgraded struct {
	Result
	Before models.Entry // what the name pointed to
	// Added and Removed are the labels that one of both does not have.
	Added, Removed []string
	// Accuracy and AccuracyBefore are the platform's on each one's test set; nil where
	// it does not tell.
	Accuracy, AccuracyBefore *float64
}

// Changed reports whether the name points to another model now.
func (u Upgraded) Changed() bool { return u.Digest != u.Before.Digest }

// Upgrade brings the new training of what a name of the store was made of beside it,
// and lets the name, Options.Name, point to it. Options.Model says which model of the
// platform that is; empty for the one that the name came from, if there is another
// version of it, else for the newest SLM that was trained on the same data or on data
// made from the same.
func Upgrade(ctx context.Context, o Options) (u Upgraded, err error) {
	if u.Before, err = current(o.Store, o.Name); err != nil {
		return u, err
	}
	id, known := sourceID(u.Before.Manifest.Source.From)
	var old platform.Model
	if o.Model == "" {
		if !known {
			return u, fmt.Errorf("%s came from %s, which tells no model of the platform: name the one that replaces it: fetch upgrade %s ID; fetch list shows them",
				o.Name, u.Before.Manifest.Source.From, o.Name)
		}
		if old, o.Model, err = newest(ctx, o, id, u.Before.Manifest.Source.From); err != nil {
			return u, interrupted(ctx, fmt.Errorf("%s stays as it is: %w", o.Name, err))
		}
	}
	if !o.AnyLabels {
		o.accept = func(m *models.Manifest) error { return sameTask(u.Before.Manifest, m, o) }
	}
	if u.Result, err = Pull(ctx, o); err != nil {
		if now, failed := current(o.Store, o.Name); failed == nil && now.Digest == u.Before.Digest {
			err = fmt.Errorf("%s stays as it is: %w", o.Name, err)
		}
		return u, err
	}
	u.Added, u.Removed = compareLabels(u.Before.Manifest, &u.Manifest)
	if u.Changed() {
		u.measure(ctx, o, old)
		u.lost()
	}
	return u, nil
}

// current is what a name points to.
func current(store *models.Store, name string) (models.Entry, error) {
	list, err := store.Versions(name)
	if err != nil {
		return models.Entry{}, err
	}
	if list[0].Name == "" {
		return models.Entry{}, fmt.Errorf("%w: the name %s points to nothing: fetch use %s lists its versions", models.ErrNotFound, name, name)
	}
	return list[0], list[0].Err
}

// newest finds which model of the platform replaces the one of that id.
func newest(ctx context.Context, o Options, id, from string) (old platform.Model, replacement string, err error) {
	p := &puller{Options: o}
	p.Model = id
	if err := p.find(ctx); err != nil {
		if errors.Is(err, platform.NotFound) {
			err = fmt.Errorf("%w; name the model that replaces it: fetch upgrade %s ID", err, o.Name)
		}
		return old, "", err
	}
	if p.model.Family == platform.Trained || source(p.model, p.version) != from {
		return p.model, p.model.ID, nil
	}
	replacement, err = successor(ctx, o, p.model)
	return p.model, replacement, err
}

// successor finds the newest SLM whose training succeeded and whose data begins where
// that of the old one does; the old one itself where there is none.
func successor(ctx context.Context, o Options, old platform.Model) (id string, err error) {
	list, err := o.Client.List(ctx)
	if err != nil {
		return "", err
	}
	if list, err = newer(list, old); err != nil {
		return "", fmt.Errorf("%w: name the one that replaces it: fetch upgrade %s ID; fetch list shows them", err, o.Name)
	}
	lineage, err := o.Client.Lineage(ctx)
	if err != nil {
		return "", err
	}
	root := lineage.Root(old)
	if root == "" && len(list) > 0 {
		return "", fmt.Errorf("the platform does not tell what %s was trained on, so the model that replaces it is unknown: name it: fetch upgrade %s ID; newer ones are %s", old.ID, o.Name, named(list))
	}
	var others []platform.Model
	for _, m := range list {
		if m.Family != platform.SLM || lineage.Root(m) != root {
			others = append(others, m)
			continue
		}
		status, err := o.Client.Status(ctx, m)
		switch {
		case err != nil:
			return "", err
		case status == platform.StatusSuccess:
			return m.ID, nil
		case !status.Final() && o.Say != nil:
			o.Say(fmt.Sprintf("%s is newer, and its training is not done (status %s)", m.ID, status))
		}
	}
	if len(others) > 0 && o.Say != nil {
		o.Say(fmt.Sprintf("newer models of other data are %s; if one of them replaces %s: fetch upgrade %s ID", named(others), o.Name, o.Name))
	}
	return old.ID, nil
}

// newer are the models of a list, newest first, that were made after the old one.
func newer(list []platform.Model, old platform.Model) ([]platform.Model, error) {
	if i := slices.IndexFunc(list, func(m platform.Model) bool { return m.ID == old.ID }); i >= 0 {
		return list[:i], nil
	}
	if old.Created.IsZero() && len(list) > 0 {
		return nil, fmt.Errorf("the platform neither lists %s nor tells when it was made, so which models are newer is unknown", old.ID)
	}
	return slices.DeleteFunc(list, func(m platform.Model) bool { return !m.Created.After(old.Created) }), nil
}

// maxNamed is how many models a message names.
const maxNamed = 10

func named(list []platform.Model) string {
	var ids []string
	for _, m := range list[:min(len(list), maxNamed)] {
		ids = append(ids, m.ID)
	}
	if len(list) > maxNamed {
		ids = append(ids, "and others: fetch list")
	}
	return strings.Join(ids, ", ")
}

// compareLabels returns the labels that only one of both has, in its order.
func compareLabels(before, after *models.Manifest) (added, removed []string) {
	only := func(a, b *models.Manifest) (list []string) {
		in := map[string]bool{}
		for _, l := range b.Labels {
			in[l.Name] = true
		}
		for _, l := range a.Labels {
			if !in[l.Name] {
				list = append(list, l.Name)
			}
		}
		return list
	}
	return only(after, before), only(before, after)
}

// sameTask refuses a model that has none of the labels of the one before.
func sameTask(before, after *models.Manifest, o Options) error {
	added, _ := compareLabels(before, after)
	if len(added) < len(after.Labels) {
		return nil
	}
	return fmt.Errorf("no label of %s stays, so %s is the model of another task: fetch pull %[2]s -as OTHER gives it a name of its own; where it replaces %[1]s all the same: fetch upgrade %[1]s %[2]s -any-labels",
		o.Name, o.Model)
}

// measure asks for the accuracies, and warns where the new one is lower: the newest
// training may be a trial.
func (u *Upgraded) measure(ctx context.Context, o Options, old platform.Model) {
	accuracy := func(m platform.Model) *float64 {
		if m.ID == "" {
			return nil
		}
		m, err := o.Client.Detail(ctx, m)
		if err != nil {
			return nil // the model is installed, and may be measured here
		}
		return m.Accuracy
	}
	u.Accuracy = accuracy(u.Model)
	if old.ID != u.Model.ID {
		u.AccuracyBefore = accuracy(old)
	}
	if a, b := u.Accuracy, u.AccuracyBefore; a != nil && b != nil && *a < *b {
		u.Warnings = append(u.Warnings, fmt.Sprintf("the new training is worse on the platform's test set: accuracy %.3f, and %.3f before", *a, *b))
	}
}

// lost warns of what was set on the earlier version and does not come with a training.
func (u *Upgraded) lost() {
	before, after := u.Before.Manifest, &u.Manifest
	if before.Calibration != nil && after.Calibration == nil {
		u.Warnings = append(u.Warnings, "the earlier version had a calibration, and this one has none: fit it on the new model")
	}
	if before.Policy != nil && after.Policy == nil {
		u.Warnings = append(u.Warnings, "the earlier version had a review threshold, and this one has none: choose it on the new model")
	}
}
