package download

import (
	"time"

	"cubby/models"
)

// Progress watches a call of Fetch. Its method is called by one goroutine at a
// time, often, and must be quick.
type Progress interface{ Report(Event) }

// Event is something that happened to a file.
type Event struct {
	Kind   EventKind
	File   string
	Have   int64 // bytes on disk
	Size   int64 // of the whole file; -1 where unknown
	Reason string
	Wait   time.Duration // before the next try
	SHA256 models.Digest // of a file that is done
}

// EventKind says what happened.
type EventKind string

// The events of a file: Started or Resumed comes first, unless the file was there;
// Done last, unless the call fails.
const (
	Started   EventKind = "started"
	Resumed   EventKind = "resumed"   // at the Have bytes that an earlier call left
	Received  EventKind = "received"  // bytes came
	Retrying  EventKind = "retrying"  // for Reason, after Wait
	Restarted EventKind = "restarted" // from the first byte, for Reason
	Renewed   EventKind = "renewed"   // its address
	Done      EventKind = "done"      // whole and checked; it gets its name when all are
)
