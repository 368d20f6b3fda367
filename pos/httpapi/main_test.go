package httpapi

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"posd/journal"
	"posd/pos/register"
)

// problemsSeen are the types of the problems that this package's tests were answered with.
var problemsSeen struct {
	sync.Mutex
	slugs map[string]bool
}

func sawProblem(slug string) {
	problemsSeen.Lock()
	defer problemsSeen.Unlock()
	if problemsSeen.slugs == nil {
		problemsSeen.slugs = map[string]bool{}
	}
	problemsSeen.slugs[slug] = true
}

// TestMain: a run of all tests has to meet every problem of the table, with an answer
// that the OpenAPI document allows. Those that take more than a terminal in a test have
// theirs where it says.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := true
	for _, name := range []string{"test.run", "test.skip", "test.bench", "test.fuzz", "test.list"} {
		whole = whole && flag.Lookup(name).Value.String() == ""
	}
	if whole && code == 0 && !testing.Short() {
		for i := range kinds {
			if slug := kinds[i].slug; !problemsSeen.slugs[slug] && problemsElsewhere[slug] == "" {
				fmt.Fprintf(os.Stderr, "FAIL: no test was answered with the problem %q\n", slug)
				code = 1
			}
		}
		for _, c := range problemCauses {
			if !problemsSeen.slugs[c.slug+" "+c.cause] {
				fmt.Fprintf(os.Stderr, "FAIL: no test was answered with the problem %q because of %q\n", c.slug, c.cause)
				code = 1
			}
			delete(problemsSeen.slugs, c.slug+" "+c.cause)
		}
		for slug := range problemsSeen.slugs {
			if strings.Contains(slug, " ") {
				fmt.Fprintf(os.Stderr, "FAIL: a test was answered with a cause that the table lacks: %q\n", slug)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// problemsElsewhere are those that no test here is sure to meet, and why.
var problemsElsewhere = map[string]string{
	"export-not-done": "an export of a few sales is done before it can be asked for",
}

// TestProblemsOfErrors: what goes wrong behind the interface is told as a problem that says
// what to do. With real faults: TestDiskFull, TestSyncFails and TestKill of the program.
func TestProblemsOfErrors(t *testing.T) {
	g := newRig(t).start()
	for slug, err := range map[string]error{
		"busy": register.ErrBusy, "stopping": register.ErrStopping, "index-behind": register.ErrIndex, "no-space": journal.ErrNoSpace,
		"read-only": journal.ErrReadOnly, "journal-failed": journal.ErrFailed, "outcome-unknown": context.DeadlineExceeded,
		"idempotency-key-reused": register.ErrKeyReused, "sale-not-found": register.ErrNoSale, "internal": errors.New("a bug"),
	} {
		w := httptest.NewRecorder()
		status := g.s.problemOf(fmt.Errorf("somewhere: %w", err)).write(w)
		a := answer{w.Result(), w.Body.Bytes()}
		a.Request = httptest.NewRequest("POST", "/v1/checkout", nil)
		if a.slug() != slug || status != a.StatusCode || status != kindOf(slug).status {
			t.Errorf("%v: %d %s, want %s", err, status, a.body, slug)
		}
		if err := conforms(a); err != nil {
			t.Errorf("%s: %v", slug, err)
		}
		sawProblem(a.slug())
	}
	w := httptest.NewRecorder()
	g.s.problemOf(register.ErrUnreadable).write(w)
	if a := (answer{w.Result(), w.Body.Bytes()}); a.slug() != "outcome-unknown" || a.members().Cause != "unreadable" || a.Header.Get("Retry-After") != "" {
		t.Errorf("%s", a.body)
	} else {
		sawProblem(a.slug() + " " + a.members().Cause)
	}
}

// TestBasketsAreBounded: open baskets take so much room and no more, and the till goes on.
func TestBasketsAreBounded(t *testing.T) {
	g := newRig(t).start()
	name := strings.Repeat("n", 64)
	for n := range 10_000 {
		a := g.do("POST", "/v1/baskets", `{"name":"`+name+`"}`)
		if a.slug() == "baskets-full" {
			if n < 10 {
				t.Errorf("already %d are too many", n)
			}
			if a := g.do("POST", "/v1/checkout", good); a.StatusCode != 201 {
				t.Errorf("no sale beside full baskets: %s", a.body)
			}
			return
		}
		if a.StatusCode != 201 {
			t.Fatalf("%s", a.body)
		}
	}
	t.Error("baskets have no bound")
}
