package load

import (
	"context"
	"errors"

	"cubby/labels"
	"cubby/models"
	"cubby/models/importer"
	"cubby/runtime"
	"cubby/runtime/chat"
)

// Backend is what answers texts here: a model behind an engine, or a chat server.
type Backend interface {
	runtime.Backend
	CheckCanary(ctx context.Context) error
	Probe(ctx context.Context) error
	Failed() <-chan struct{}
	Stats() runtime.Stats
}

// Open opens what ref and the options name.
func Open(ref string, opt Options) (Backend, error) {
	if opt.Engine == Chat {
		b, err := openChat(ref, opt)
		if err != nil {
			return nil, err // not a Backend that holds a nil pointer
		}
		return b, nil
	}
	m, err := Model(ref, opt)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// openChat asks a chat model about the labels of a job description, or of a model.
func openChat(ref string, opt Options) (*chat.Backend, error) {
	if opt.Remote.URL == "" {
		return nil, errors.New("the engine chat needs the address of its server: give -engine-url")
	}
	job, err := taskOf(ref, opt)
	if err != nil {
		return nil, err
	}
	set, err := labels.NewSet(job.Labels)
	if err != nil {
		return nil, err
	}
	name := opt.Name
	if name == "" && models.ValidName(ref) == nil {
		name = ref
	}
	return chat.Open(context.Background(), chat.Options{
		URL: opt.Remote.URL, Key: opt.Remote.Key, KeyFrom: "the variable " + KeyVariable, Model: opt.Remote.Model, Name: name,
		Task: job.Task, Labels: set, Slots: opt.Remote.Slots,
	})
}

func taskOf(ref string, opt Options) (importer.Job, error) {
	if opt.Remote.Job != "" {
		return importer.ReadJob(opt.Remote.Job)
	}
	store, err := opt.Store()
	if err != nil {
		return importer.Job{}, err
	}
	m, err := models.Resolve(store, ref)
	if err != nil {
		return importer.Job{}, err
	}
	return importer.Job{Labels: m.Manifest.Labels}, m.Close()
}
