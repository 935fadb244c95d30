package download

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Kind says where an error lies. A program chooses its exit code by it.
type Kind int

// The kinds of errors.
const (
	Network  Kind = iota + 1 // the server, or the way to it
	Checksum                 // what came is not what was published
	Disk                     // this machine cannot store it
	Auth                     // the server refuses this caller
	Usage                    // what was asked for makes no sense
)

// Error is what Fetch fails with, unless its context ended first. Its text
// holds no secret: of an address no query, and no header.
type Error struct {
	Kind    Kind
	File    string // name of the file, or of the folder
	From    string // address, as far as it may be shown; may be empty
	Problem string
	Advice  string // what to do next
	Err     error  // cause, or nil

	cure cure
	wait time.Duration // what the server asks to wait for
}

// cure is what the downloader itself can do about an error.
type cure int

const (
	none      cure = iota // it is final
	again                 // ask again, for what is missing
	renew                 // ask for another address
	startOver             // what is on disk is of another version
	reask                 // one more try, which keeps what is there
	refetch               // what is there is wrong: one more try, from the first byte
)

func (e *Error) Error() string {
	s := e.File
	if e.From != "" {
		s += " from " + e.From
	}
	s += ": " + e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + e.Advice
}

func (e *Error) Unwrap() error { return e.Err }

// reason is the error in a line of progress.
func (e *Error) reason() string {
	if e.Err != nil {
		return e.Problem + ": " + e.Err.Error()
	}
	return e.Problem
}

const errNoSpace = syscall.ENOSPC

// diskAdvice tells what helps against the errors of a file system.
var diskAdvice = []struct {
	err    error
	advice string
}{
	{errNoSpace, "make room, then run the same command again: it goes on where it stopped"},
	{syscall.EDQUOT, "raise the quota or make room, then run the same command again: it goes on where it stopped"},
	{syscall.EROFS, "choose a folder on a file system that can be written"},
	{syscall.EFBIG, "this file system or limit takes no file of that size: choose another folder"},
	{fs.ErrPermission, "choose a folder that this user may write to, or correct its permissions"},
}

// Full reports whether an error is a file system's that takes no more.
func Full(err error) bool {
	return slices.ContainsFunc([]error{errNoSpace, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EFBIG}, func(e error) bool { return errors.Is(err, e) })
}

// diskError is final: what a file system refuses once it refuses at once again.
func diskError(file string, err error) *Error {
	e := &Error{Kind: Disk, File: file, Problem: "it cannot be stored", Err: err,
		Advice: "check the disk and the folder, then run the same command again"}
	for _, d := range diskAdvice {
		if errors.Is(err, d.err) {
			e.Advice = d.advice
			break
		}
	}
	return e
}

func usageError(file, format string, args ...any) *Error {
	return &Error{Kind: Usage, File: file, Problem: fmt.Sprintf(format, args...), Advice: "correct the request"}
}

// hidden is an error whose text shows no secret.
type hidden struct {
	error
	text string
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.error }

var (
	query       = regexp.MustCompile(`(?i)(https?://[^\s"'?#]*)[?#][^\s"']*`)
	userinfo    = regexp.MustCompile(`(?i)(https?://)[^/\s"'@]*@`)
	credentials = regexp.MustCompile(`(?i)\b(bearer|basic|token)[ :=]+[^\s"',;]+`)
)

// hide takes everything out of an error's text that may be secret: queries and
// users of addresses, credentials, and the given values.
func hide(err error, secrets []string) error {
	if err == nil {
		return nil
	}
	if u, ok := err.(*url.Error); ok {
		err = u.Err // its text repeats the address
	}
	text := err.Error()
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "…")
	}
	text = query.ReplaceAllString(text, "$1")
	text = userinfo.ReplaceAllString(text, "$1")
	text = credentials.ReplaceAllString(text, "$1 …")
	return hidden{err, text}
}
