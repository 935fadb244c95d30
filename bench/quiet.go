package main

import (
	"context"
	"os"
	"time"

	"cubby/internal/machine"
	"cubby/internal/workload"
)

// Goal: no system is measured while something else computes. Engines that wait
// by spinning lose far more to a busy machine than others do, so that noise
// makes ratios and not just figures wrong. Rule: a turn begins when the machine
// is quiet, and one that was disturbed is taken again; of all tries the least
// disturbed counts, whatever its figures.
const (
	// quietShare is how much of the processors other programs may take.
	quietShare = .05
	// quietSample is how long the machine is watched at a time.
	quietSample = 500 * time.Millisecond
	// quietTries is how often one turn is taken.
	quietTries = 3
)

// meter tells what other programs take while one system is measured.
type meter struct {
	system    *system // nil: none
	start     time.Time
	busy, own time.Duration
	usage     machine.Usage
}

func newMeter(s *system) meter {
	m := meter{system: s, start: time.Now(), busy: machine.Busy(), own: selfCPU()}
	if s != nil {
		m.usage = s.usage()
	}
	return m
}

// read returns the system's processor time since the meter was made, and the
// share of all processors that went to others than it and this process.
func (m meter) read() (cpu time.Duration, others float64) {
	now := newMeter(m.system)
	cpu = now.usage.CPU - m.usage.CPU
	rest := now.busy - m.busy - cpu - (now.own - m.own)
	all := now.start.Sub(m.start) * time.Duration(machine.This().Cores)
	return cpu, max(0, float64(rest)/float64(all))
}

// selfCPU is this process's own time, without its children's.
func selfCPU() time.Duration {
	u, err := machine.Process(os.Getpid())
	if err != nil {
		return 0
	}
	return u.CPU
}

// awaitQuiet returns when other programs leave the processors alone, or after
// the patience of -patience.
func (b *bench) awaitQuiet(ctx context.Context) error {
	for begun := time.Now(); time.Since(begun) < b.config.Patience; {
		m := newMeter(nil)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietSample):
		}
		if _, others := m.read(); others <= quietShare {
			return nil
		}
	}
	return nil
}

// turn is one measurement of one system.
type turn struct {
	measured workload.Measured
	cpu      time.Duration
	others   float64 // share of all processors
}

// quietest takes a turn until one was not disturbed.
func (b *bench) quietest(ctx context.Context, e *entry, l workload.Load) (turn, error) {
	var best turn
	for try := range quietTries {
		if err := b.awaitQuiet(ctx); err != nil {
			return turn{}, err
		}
		l.Skip = e.sent
		meter := newMeter(e.system)
		m, err := e.system.load(ctx, l)
		if err != nil {
			return turn{}, err
		}
		e.sent += m.Items
		t := turn{measured: m}
		t.cpu, t.others = meter.read()
		if try == 0 || t.others < best.others {
			best = t
		}
		if best.others <= quietShare || b.config.Patience == 0 {
			break
		}
	}
	return best, nil
}
