package download

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cubby/models"
)

// Names in the folder of a partial, which is called ".NAME.part-OWNER" and lies
// beside the place of the file: bytes and record move together in one rename.
const (
	dataName   = "data"
	recordName = "record"
	partialTag = ".part-"
)

// quietFor is how long nothing must have happened in a partial whose owner cannot
// be proven dead, before it is cleared away.
const quietFor = time.Hour

// partial is a file on its way. One goroutine owns it. A file whose digest nobody
// knew leaves its partial behind, without the bytes: the record tells the next call
// which version is in place.
type partial struct {
	target string // where the file will be
	dir    string // the partial's own folder
	limits limits

	id      identity
	inPlace bool     // the bytes are those of target
	data    *os.File // written at its end; nil before the first answer
	record  *os.File // appended to; nil before the first answer
	have    int64    // bytes in data
	hash    hash.Hash
	marked  int64 // up to where the record vouches for data
	synced  int64 // up to where both are durable
}

func partialPath(target string, o owner) string {
	return filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+partialTag+o.String())
}

// leftover is a partial of an earlier or another process.
type leftover struct {
	path  string
	gone  bool // its owner is
	empty bool // the bytes are in place, if anywhere
	size  int64
	used  time.Time
}

// leftovers lists what there is of a file: what is nobody's first, then the
// longest.
func leftovers(target string) []leftover {
	entries, _ := os.ReadDir(filepath.Dir(target)) // an unreadable folder fails later, by name
	var all []leftover
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), "."+filepath.Base(target)+partialTag)
		o, ok2 := parseOwner(rest)
		if !ok || !ok2 || !e.IsDir() {
			continue
		}
		l := leftover{path: filepath.Join(filepath.Dir(target), e.Name()), gone: o.gone()}
		if info, err := e.Info(); err == nil {
			l.used = info.ModTime()
		}
		if info, err := os.Stat(filepath.Join(l.path, dataName)); err == nil {
			l.size = info.Size()
			if info.ModTime().After(l.used) {
				l.used = info.ModTime()
			}
		} else {
			l.empty = true
		}
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b leftover) int {
		if a.gone != b.gone {
			if a.gone {
				return -1
			}
			return 1
		}
		return int(min(max(b.size-a.size, -1), 1))
	})
	return all
}

// claim takes up what an earlier call left of f, or begins anew.
func claim(ctx context.Context, target string, f File, l limits) (*partial, error) {
	p := &partial{target: target, limits: l, hash: sha256.New(), id: identity{Size: -1}}
	left := leftovers(target)
	for _, old := range left {
		if ok, err := p.takeOver(ctx, old, f); err != nil {
			return nil, err
		} else if ok {
			sweep(target, left)
			return p, nil
		}
	}
	sweep(target, left)
	p.dir = partialPath(target, me())
	return p, os.Mkdir(p.dir, 0o755)
}

// takeOver continues a leftover: by renaming it if it is nobody's, else with a
// copy. An error is the context's.
func (p *partial) takeOver(ctx context.Context, old leftover, f File) (bool, error) {
	dir := partialPath(p.target, me())
	if old.gone || renameProves {
		if os.Rename(old.path, dir) != nil {
			return false, nil // another process was faster, or its owner lives
		}
		old.path = dir
	} else if os.Mkdir(dir, 0o755) != nil {
		return false, nil
	}
	p.dir = dir
	err := p.load(ctx, old.path, f)
	if err == nil && p.have > 0 {
		return true, nil
	}
	p.discard()
	*p = partial{target: p.target, limits: p.limits, hash: sha256.New(), id: identity{Size: -1}}
	return false, ctx.Err()
}

// load opens what lies in the folder from, which is p's own unless a copy is to
// be made, up to the last byte that its record vouches for.
func (p *partial) load(ctx context.Context, from string, f File) error {
	rec, err := openRecord(filepath.Join(from, recordName))
	if err != nil {
		return err
	}
	if !rec.resumes(f) {
		return errors.New("a partial of another version")
	}
	p.id = rec.identity
	if f.Size > 0 {
		p.id.Size = f.Size
		rec.marks = slices.DeleteFunc(rec.marks, func(m mark) bool { return m.at > f.Size })
	}
	p.id.SHA256 = f.SHA256
	src, err := os.OpenFile(filepath.Join(from, dataName), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = p.loadPlaced(ctx, rec)
	case err != nil:
	case from == p.dir:
		p.data = src
		_ = os.Chtimes(src.Name(), time.Time{}, time.Now()) // in use
		err = p.loadData(models.ContextReader{Ctx: ctx, R: src}, io.Discard, rec.marks)
	default:
		defer src.Close()
		if p.data, err = createData(p.dir); err == nil {
			err = p.loadData(models.ContextReader{Ctx: ctx, R: src}, p.data, rec.marks)
		}
	}
	if err != nil {
		return err
	}
	return p.newRecord(mark{p.have, p.sum()})
}

func createData(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, dataName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
}

// loadData keeps what the marks vouch for.
func (p *partial) loadData(src io.Reader, dst io.Writer, marks []mark) error {
	p.verify(src, dst, marks)
	if p.have == 0 {
		return errors.New("a partial whose record vouches for nothing")
	}
	if err := p.data.Truncate(p.have); err != nil {
		return err
	}
	_, err := p.data.Seek(p.have, io.SeekStart)
	return err
}

// loadPlaced sees whether the file in place is the one that the record is about.
func (p *partial) loadPlaced(ctx context.Context, rec record) error {
	f, err := os.Open(p.target)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p.verify(models.ContextReader{Ctx: ctx, R: f}, io.Discard, rec.marks)
	if p.have == 0 || p.have != info.Size() || p.have != rec.marks[len(rec.marks)-1].at {
		return errors.New("the record of another file")
	}
	p.inPlace = true
	return nil
}

// verify hashes what is on disk, mark by mark, and stops at the last one that is
// right. A copy is written to dst in passing.
func (p *partial) verify(src io.Reader, dst io.Writer, marks []mark) {
	h := sha256.New()
	at := int64(0)
	for _, m := range marks {
		if _, err := io.CopyN(io.MultiWriter(h, dst), src, m.at-at); err != nil {
			return
		}
		if models.Digest(h.Sum(nil)) != m.sum {
			return
		}
		state, err := h.(hash.Cloner).Clone()
		if err != nil {
			return
		}
		at, p.have, p.hash = m.at, m.at, state
	}
}

func openRecord(name string) (record, error) {
	f, err := os.Open(name)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	return readRecord(f)
}

// newRecord replaces the record, in one step.
func (p *partial) newRecord(marks ...mark) error {
	text := p.id.line()
	for _, m := range marks {
		text = append(text, m.line()...)
		p.marked = m.at
	}
	name := filepath.Join(p.dir, recordName)
	if p.record != nil {
		p.record.Close()
		p.record = nil
	}
	if err := os.WriteFile(name+".new", text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	var err error
	p.record, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	return err
}

// begin starts at the first byte, of a version that an answer described.
func (p *partial) begin(id identity) error {
	p.id, p.have, p.marked, p.synced = id, 0, 0, 0
	p.hash.Reset()
	p.inPlace = false
	if err := p.newRecord(); err != nil {
		return err
	}
	if p.data == nil {
		var err error
		p.data, err = createData(p.dir)
		return err
	}
	if err := p.data.Truncate(0); err != nil {
		return err
	}
	_, err := p.data.Seek(0, io.SeekStart)
	return err
}

func (p *partial) sum() models.Digest { return models.Digest(p.hash.Sum(nil)) }

// write appends. Where the disk takes only a part, that part counts.
func (p *partial) write(b []byte) error {
	n, err := p.data.Write(b)
	p.hash.Write(b[:n])
	p.have += int64(n)
	if err != nil {
		return err
	}
	if p.have-p.marked >= p.limits.markEvery {
		if err := p.mark(); err != nil {
			return err
		}
	}
	if p.have-p.synced >= p.limits.syncEvery {
		return p.sync()
	}
	return nil
}

// mark vouches for all that is there.
func (p *partial) mark() error {
	if p.have == p.marked || p.record == nil {
		return nil
	}
	_, err := p.record.Write(mark{p.have, p.sum()}.line())
	p.marked = p.have
	return err
}

// sync makes bytes durable before the marks that vouch for them.
func (p *partial) sync() error {
	p.synced = p.have
	var err error
	if p.data != nil {
		err = p.data.Sync()
	}
	if p.record != nil {
		err = errors.Join(err, p.record.Sync())
	}
	return err
}

// finish makes a whole file durable; publish gives it its name.
func (p *partial) finish() error { return errors.Join(p.mark(), p.sync(), p.close()) }

func (p *partial) close() (err error) {
	if p.data != nil {
		err = p.data.Close()
	}
	if p.record != nil {
		err = errors.Join(err, p.record.Close())
	}
	p.data, p.record = nil, nil
	return err
}

// publish gives the file its name. Where the server alone can tell whether another
// one has come meanwhile, the record stays.
func (p *partial) publish() error {
	if !p.inPlace {
		if err := os.Rename(filepath.Join(p.dir, dataName), p.target); err != nil {
			return err
		}
		p.inPlace = true
	}
	if (p.id.SHA256 == models.Digest{}) && p.id.strong() != "" {
		p.release()
	} else {
		_ = os.RemoveAll(p.dir) // what stays is cleared away by the next call
	}
	return nil
}

// release leaves the partial to the next call. That it cannot be made durable, or
// be renamed, costs that call time at most.
func (p *partial) release() {
	if p.have == 0 {
		p.discard()
		return
	}
	_ = p.finish()
	_ = os.Rename(p.dir, partialPath(p.target, nobody()))
}

func (p *partial) discard() {
	_ = p.close()
	_ = os.RemoveAll(p.dir)
}

// sweep removes partials that are nobody's. Each is claimed before: nobody else
// may be taking it over.
func sweep(target string, left []leftover) {
	for _, l := range left {
		if !l.gone && !renameProves && time.Since(l.used) < quietFor {
			continue
		}
		if dir := partialPath(target, me()); os.Rename(l.path, dir) == nil {
			_ = os.RemoveAll(dir)
		}
	}
}

// checkName allows the paths that the store does, as far as a partial fits beside them.
func checkName(name string) error {
	if err := models.CheckPath(name); err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case len(base) > maxName:
		return fmt.Errorf("the name %.40q… is longer than %d bytes", base, maxName)
	case strings.Contains(base, partialTag):
		return fmt.Errorf("the name %.200q looks like that of a partial download", name)
	}
	return nil
}

// maxName leaves room for what names a partial in the 255 bytes of a file name.
const maxName = 180

// forget gives up the bytes that are there.
func (p *partial) forget() { p.have, p.marked, p.id = 0, 0, identity{Size: -1}; p.hash.Reset() }
