package install

import "fmt"

// NetworkError says that something could not be fetched: trying again later, or
// another way, may help.
type NetworkError struct {
	From    string // address or package
	Problem string
	Err     error // cause, or nil
	final   bool  // trying again at once does not help
}

func (e *NetworkError) Error() string {
	s := fmt.Sprintf("%s: %s", e.From, e.Problem)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; try again, or carry an archive or a folder here: fetch runtime PATH"
}

func (e *NetworkError) Unwrap() error { return e.Err }

// ChecksumError says that what was fetched is not what it should be. Nothing of
// it was unpacked.
type ChecksumError struct{ From, Problem string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s: it is not the file that was published: %s; nothing was installed", e.From, e.Problem)
}
