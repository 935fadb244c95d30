package download

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	goruntime "runtime"
	"strconv"
	"sync/atomic"
)

// owner says who works on a partial; it is part of the partial's name.
//
// Two writers must never append to one file. A lock cannot promise that: on some
// network file systems it is granted to everybody. So a partial is taken over by
// renaming it, which one process alone can do, and only once its owner is proven
// dead: its process number is free, in the space where that number means
// something. What nobody can prove dead is copied instead.
type owner struct {
	space   string // 8 hex digits: the machine's boot and the container; noSpace where unknown
	pid     int    // 0: nobody
	process string // 8 hex digits that tell processes of one number apart
	serial  uint32
}

const noSpace = "00000000"

// renameProves is set where a folder with a file open in it cannot be renamed, so
// that success proves that nobody writes.
const renameProves = goruntime.GOOS == "windows"

var (
	here    = pidSpace()
	process = nonce()
	serial  atomic.Uint32
)

func nonce() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func me() owner { return owner{here, os.Getpid(), process, serial.Add(1)} }

// nobody owns what an interrupted call has laid down in order.
func nobody() owner { return owner{noSpace, 0, process, serial.Add(1)} }

func (o owner) String() string {
	return fmt.Sprintf("%s-%d-%s%08x", o.space, o.pid, o.process, o.serial)
}

var ownerForm = regexp.MustCompile(`^([0-9a-f]{8})-(0|[1-9][0-9]{0,9})-([0-9a-f]{8})([0-9a-f]{8})$`)

func parseOwner(s string) (owner, bool) {
	m := ownerForm.FindStringSubmatch(s)
	if m == nil {
		return owner{}, false
	}
	pid, err := strconv.Atoi(m[2])
	n, err2 := strconv.ParseUint(m[4], 16, 32)
	return owner{m[1], pid, m[3], uint32(n)}, err == nil && err2 == nil
}

// gone reports whether nobody owns the partial any more, for certain.
func (o owner) gone() bool {
	switch {
	case o.pid == 0:
		return true
	case o.space != here || here == noSpace:
		return false
	case o.pid == os.Getpid():
		return o.process != process
	}
	return !processLives(o.pid)
}
