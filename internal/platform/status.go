package platform

import "strings"

// Status is how far a training is, in lower case: the platform's word without its
// prefix JOB_. Words that are not among the constants are kept.
type Status string

// The documented statuses. An older page of the documentation has them without
// the prefix.
const (
	StatusUnknown    Status = ""
	StatusNotStarted Status = "not_started"
	StatusPending    Status = "pending"
	StatusRunning    Status = "running"
	StatusSuccess    Status = "success"
	StatusFailure    Status = "failure"
	StatusStopped    Status = "stopped"
)

// Final reports whether it will not change any more.
func (s Status) Final() bool {
	return s == StatusSuccess || s == StatusFailure || s == StatusStopped
}

var statusKeys = []string{"status", "training_status", "job_status", "training status"}

// parseStatus reads the answer of a status route: flat, nested, or the word alone.
// It is empty where there is none.
func parseStatus(body []byte) Status {
	for range 4 { // nesting that is documented has two levels
		if o := openEnvelope(body, statusKeys...); o != nil {
			body = o.first(statusKeys...)
			continue
		}
		word, _ := asText(body)
		return cleanStatus(word)
	}
	return StatusUnknown
}

func cleanStatus(word string) Status {
	word = strings.ToLower(clean(word, 40))
	return Status(strings.TrimPrefix(word, "job_"))
}
