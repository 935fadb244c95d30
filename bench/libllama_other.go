//go:build !linux && !darwin

package main

import (
	"context"
	"errors"
)

var errLibllama = errors.New("the binding to libllama is for Linux and macOS")

func startLibllama(context.Context, *bench) (*system, error) { return nil, errLibllama }

func newLibllamaWorker(*config) (*worker, error) { return nil, errLibllama }
