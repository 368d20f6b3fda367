package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// Start gives one test a server of its own, which ends with it.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := New(settings...)
	missing(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the server's log ends with:\n%s", s.lastLog())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func missing(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrNotInstalled) && os.Getenv("CI") != "true":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}

// Database gives a test a fresh, empty database, and returns its URL.
func (s *Server) Database(tb testing.TB) (url string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url, err := s.Create(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return url
}

// shared is the server of all tests of a package. Main owns it.
var shared struct {
	sync.Mutex
	open bool // between the start and the end of Main
	s    *Server
	err  error
}

// Main runs a package's tests and then ends the server that [Shared] has started, if
// any. It is called by TestMain, as os.Exit(pgtest.Main(m)).
func Main(m *testing.M) int {
	shared.Lock()
	shared.open = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	shared.open = false
	if shared.s != nil {
		if err := shared.s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Shared is one server for all tests of a package that has a TestMain with [Main]. Tests
// that stop the server or change its settings take one of their own, with [Start].
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.open {
		tb.Fatal("pgtest.Shared needs a TestMain with pgtest.Main")
	}
	if shared.s == nil && shared.err == nil {
		shared.s, shared.err = New("max_connections=50")
	}
	missing(tb, shared.err)
	return shared.s
}
