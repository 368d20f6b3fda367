package httpapi

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxTokens    = 64
	maxTokenFile = 64 << 10
	tokensEvery  = time.Second // how often a look at the file is due
)

// token is one line of the tokens file: name, hex SHA-256 of the token, when made.
type token struct {
	name string
	sum  [sha256.Size]byte
}

// tokens is the tokens file, read again when it has changed.
type tokens struct {
	path string
	log  *slog.Logger
	list atomic.Pointer[[]token]

	mu     sync.Mutex
	looked time.Time
	seen   fileStamp
}

// fileStamp tells one version of a file from another.
type fileStamp struct {
	ok    bool
	size  int64
	mtime time.Time
	info  fs.FileInfo
}

func newTokens(path string, log *slog.Logger) *tokens {
	t := &tokens{path: path, log: log}
	t.list.Store(&[]token{})
	return t
}

// front returns the name that belongs to a token. Every entry is compared, in
// constant time.
func (t *tokens) front(secret string) (name string, ok bool) {
	sum := sha256.Sum256([]byte(secret))
	t.look(false)
	if name, ok = t.match(&sum); !ok {
		t.look(true) // it may have been made this second
		name, ok = t.match(&sum)
	}
	return name, ok
}

func (t *tokens) match(sum *[sha256.Size]byte) (name string, ok bool) {
	for _, e := range *t.list.Load() {
		if subtle.ConstantTimeCompare(e.sum[:], sum[:]) == 1 {
			name, ok = e.name, true
		}
	}
	return name, ok
}

// count is the number of tokens known.
func (t *tokens) count() int {
	t.look(false)
	return len(*t.list.Load())
}

// look reads the file again if it is another one than the one seen last.
func (t *tokens) look(now bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now && time.Since(t.looked) < tokensEvery {
		return
	}
	t.looked = time.Now()
	info, err := os.Stat(t.path)
	if err != nil {
		if t.seen.ok || len(*t.list.Load()) > 0 || !errors.Is(err, fs.ErrNotExist) {
			t.log.Error("tokens cannot be read, no front end is let in", "error", err)
		}
		t.seen = fileStamp{}
		t.list.Store(&[]token{})
		return
	}
	if t.seen.ok && t.seen.size == info.Size() && t.seen.mtime.Equal(info.ModTime()) && os.SameFile(t.seen.info, info) {
		return
	}
	list, err := readTokens(t.path)
	if err != nil {
		t.log.Error("tokens: what cannot be read is left out", "error", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.log.Warn("tokens file can be read by others; chmod 600", "path", t.path)
	}
	t.seen = fileStamp{true, info.Size(), info.ModTime(), info}
	var unread *fs.PathError
	if errors.As(err, &unread) { // chmod changes none of the stamp: look again
		t.seen = fileStamp{}
	}
	t.list.Store(&list)
}

func readTokens(path string) ([]token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTokens(f, path)
}

// parseTokens returns the good lines, and an error for the others.
func parseTokens(r io.Reader, path string) (list []token, err error) {
	sc := bufio.NewScanner(io.LimitReader(r, maxTokenFile))
	for n := 1; sc.Scan(); n++ {
		fields := strings.Fields(sc.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var e token
		switch {
		case len(list) == maxTokens:
			return list, errors.Join(err, fmt.Errorf("%s:%d: more than %d tokens", path, n, maxTokens))
		case len(fields) != 3 || len(fields[0]) > maxCode || hasControl([]byte(fields[0])) || len(fields[1]) != 2*len(e.sum):
			err = errors.Join(err, fmt.Errorf("%s:%d: a line is a name, the SHA-256 of a token and a time", path, n))
			continue
		}
		if _, bad := hex.Decode(e.sum[:], []byte(fields[1])); bad != nil {
			err = errors.Join(err, fmt.Errorf("%s:%d: %w", path, n, bad))
			continue
		}
		e.name = fields[0]
		list = append(list, e)
	}
	return list, errors.Join(err, sc.Err())
}
