package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Book is the operators file and the key, read again when they have changed. Who only
// wants to know what is known never waits for the disk.
type Book struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	dir   string
	log   *slog.Logger
	known atomic.Pointer[page]

	mu     sync.Mutex // of those who look
	looked time.Time
	seen   [2]fs.FileInfo // of the operators and of the key; nil: was not there
	failed bool           // to read what is there: look again
}

// page is what was read.
type page struct {
	on   bool
	list []Entry
	key  *Key
	err  error
}

const lookEvery = time.Second

var errGone = errors.New("the operators file is gone, pin.key is not: whoever has a front end's token may do everything; put it back, or remove pin.key too if nobody is to sign in")

// OpenBook looks at the files in a data folder.
func OpenBook(dir string, log *slog.Logger) *Book {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Book{dir: dir, log: log}
	b.known.Store(&page{})
	b.look(true)
	return b
}

// look reads what has changed. Where somebody else is at that, only now waits for it.
func (b *Book) look(now bool) *page {
	if now {
		b.mu.Lock()
	} else if !b.mu.TryLock() {
		return b.known.Load()
	}
	defer b.mu.Unlock()
	was := b.known.Load()
	if !now && time.Since(b.looked) < lookEvery {
		return was
	}
	first := b.looked.IsZero()
	b.looked = time.Now()
	var infos [2]fs.FileInfo
	for i, name := range []string{File, KeyFile} {
		info, err := os.Stat(filepath.Join(b.dir, name))
		switch {
		case err == nil:
			infos[i] = info
			if info.Mode().Perm()&0o077 != 0 && !same(b.seen[i], info) {
				b.log.Warn("operators' secrets can be read by others; chmod 600", "path", filepath.Join(b.dir, name))
			}
		case !errors.Is(err, fs.ErrNotExist): // what was known holds on; a till of which nothing is known lets nobody in
			return b.turn(was, &page{was.on || first, was.list, was.key, err})
		}
	}
	if !b.failed && same(b.seen[0], infos[0]) && same(b.seen[1], infos[1]) {
		return was
	}
	b.seen, b.failed = infos, false
	return b.turn(was, b.read(was))
}

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode() && os.SameFile(a, b)
}

// turn puts what was found into force, and says once what is wrong with it.
func (b *Book) turn(was, is *page) *page {
	if is.err != nil && (was.err == nil || was.err.Error() != is.err.Error()) {
		b.log.Error("operators cannot be read as a whole", "error", is.err)
	}
	if was.on && !is.on {
		b.log.Warn("there is no operators file any more: whoever has a front end's token may do everything")
	}
	var unread *fs.PathError
	b.failed = errors.As(is.err, &unread) && !errors.Is(is.err, fs.ErrNotExist)
	b.known.Store(is)
	return is
}

// read takes the files in. Where they cannot be read, nobody new is let in, and a till
// that had operators goes on having them.
func (b *Book) read(was *page) *page {
	if b.seen[0] == nil {
		if b.seen[1] != nil { // the first operator's PIN has made it
			return &page{err: errGone}
		}
		return &page{}
	}
	list, err := readFile(filepath.Join(b.dir, File))
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return &page{true, was.list, was.key, err}
	}
	if err != nil {
		err = fmt.Errorf("operators file, whose other lines hold: %w", err)
	}
	key, bad := readKey(filepath.Join(b.dir, KeyFile))
	if bad != nil {
		bad = fmt.Errorf("key of the PINs: %w; nobody can sign in: put pin.key back, or move it away and set each PIN anew with posctl operator pin", bad)
		return &page{true, list, nil, errors.Join(err, bad)}
	}
	return &page{true, list, &key, err}
}

func readFile(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f)
}

func readKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	var b [2*len(Key{}) + 2]byte
	n, err := f.Read(b[:])
	if err != nil && n == 0 {
		return Key{}, ErrKey
	}
	return ParseKey(b[:n])
}

// On says whether this terminal has operators. Then nothing is done without a session.
func (b *Book) On() bool { return b.look(false).on }

// Closed says why nobody can sign in where somebody has to.
func (b *Book) Closed() error {
	p := b.look(false)
	switch {
	case !p.on || p.key != nil && len(p.list) > 0:
		return nil
	case p.err != nil:
		return p.err
	}
	return errors.New("the operators file names nobody: posctl operator add, or remove the file")
}

// All are the operators, in the file's order, and what is wrong with the files.
func (b *Book) All() ([]Entry, error) {
	p := b.look(false)
	return p.list, p.err
}

// Find returns an operator.
func (b *Book) Find(name string) (Entry, bool) { return b.look(false).find(name) }

func (p *page) find(name string) (Entry, bool) {
	if i := find(p.list, name); i >= 0 {
		return p.list[i], true
	}
	return Entry{}, false
}

// check says whether the PIN is that operator's. It takes as long where there is no
// such operator.
func (b *Book) check(name string, pin []byte) (e Entry, known, right bool) {
	p := b.look(true)
	key := p.key
	if key == nil {
		key = &Key{}
	}
	e, known = p.find(name)
	c := key.Check(name, pin)
	right = c.equal(&e.Check)
	return e, known, right && known && p.key != nil
}
