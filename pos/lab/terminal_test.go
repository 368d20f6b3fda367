package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/httpapi"
	"posd/pos/operator"
	"posd/pos/register"
	"posd/pos/view"
)

// call is one request of a front end.
type call struct{ method, path, body, key, match, session string }

type answer struct {
	status   int
	slug     string // of a problem
	replayed bool
	body     []byte
}

// terminal is what the model is played against.
type terminal interface {
	do(c call) (answer, error)
	unheard(c call) error // makes a call whose answer nobody hears, and may not wait for it
	stop() error          // in order
	kill() error          // at this moment
	start() error         // again
	// records calls each for all records that are on the disk, while it is stopped.
	records(each func(seq uint64, payload []byte) error) error
	pass(d time.Duration) // on the terminal's clocks
	back(d time.Duration) // sets the wall clock alone
	wall() time.Time
	uptime() time.Duration
}

const (
	segment = 256 << 10
	token   = "token of the lab's front end"
)

var euro = pos.Currency{Code: "EUR", Exponent: 2}

// inside is a whole terminal within this process: handler, register, journal, index. Its
// kill takes a picture of the journal's files and goes on from that.
type inside struct {
	dir   string
	gen   int // number of the folder in use
	coin  int64
	mode  pos.Rounding
	taxes []pos.Tax
	rng   interface{ IntN(int) int }

	operators operator.Rules // for those of the folder's file

	mu  sync.Mutex
	now time.Time
	up  time.Duration

	j        *journal.Journal
	v        *view.View
	r        *register.Register
	s        *httpapi.Server
	cat      *catalogue.Catalogue
	stopView func() error
	stopLoop func()
	running  bool
}

func newInside(dir string, coin int64, perLine bool, rng interface{ IntN(int) int }) (*inside, error) {
	t := &inside{dir: dir, coin: coin, rng: rng, now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
	for code, r := range rates {
		t.taxes = append(t.taxes, pos.Tax{Code: code, Rate: pos.Rate(r.ppm)})
	}
	if perLine {
		t.mode = pos.PerLine
	}
	if err := os.MkdirAll(t.folder(), 0o700); err != nil {
		return nil, err
	}
	_, err := journal.Create(t.journal(), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: segment, Opening: register.Opening(register.Start{Branch: 1}),
	})
	if err != nil {
		return nil, err
	}
	if err := stock(filepath.Join(dir, "catalogue.db")); err != nil {
		return nil, err
	}
	tokens := fmt.Sprintf("till-1 %x 2026-01-01T00:00:00Z\n", sha256.Sum256([]byte(token)))
	return t, errors.Join(os.WriteFile(filepath.Join(dir, "tokens"), []byte(tokens), 0o600), t.start())
}

// stock makes the lab's catalogue.
func stock(path string) error {
	csv := "code,description,department,unit,price,tax,age\n"
	for code, it := range items {
		csv += fmt.Sprintf("%s,Bottle,Drinks,pc,%d.%02d,A,%d\n", code, it.price/100, it.price%100, it.age)
	}
	_, err := catalogue.Import(context.Background(), strings.NewReader(csv), path, catalogue.ImportOptions{Taxes: map[string]bool{"A": true}, Currency: euro})
	return err
}

func (t *inside) folder() string  { return filepath.Join(t.dir, fmt.Sprint("life-", t.gen)) }
func (t *inside) journal() string { return filepath.Join(t.folder(), "journal") }
func (t *inside) index() string   { return filepath.Join(t.folder(), "view.db") }
func (t *inside) early() string   { return filepath.Join(t.dir, "early.db") } // an index that was closed

func (t *inside) clock() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

func (t *inside) uptime() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.up
}

func (t *inside) pass(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now, t.up = t.now.Add(d), t.up+d
}

func (t *inside) back(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = t.now.Add(-d)
}

func (t *inside) wall() time.Time { return t.clock() }

func (t *inside) start() (err error) {
	var opener register.Opener
	if t.j, err = journal.Open(t.journal(), journal.Options{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: segment, Opening: opener.Opening, ScrubEvery: -1,
	}); err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	if t.v, err = view.Open(t.index(), t.j, view.Options{Pace: func(<-chan struct{}) {}}); err != nil {
		return err
	}
	if t.r, err = register.Open(t.j, t.v, register.Options{
		Store: "S1", Terminal: "T1", Operator: "0", Currency: euro, Segment: segment, Opener: &opener, Now: t.clock, Uptime: t.uptime,
		Synced: func() bool { return false },
		Settings: register.Settings{Repeat: repeatTime, Operators: t.operators, Rounding: t.mode, Coin: pos.Money(t.coin),
			Taxes: t.taxes},
	}); err != nil {
		return fmt.Errorf("open the register: %w", err)
	}
	t.cat = catalogue.Open(filepath.Join(t.dir, "catalogue.db"))
	if t.s, err = httpapi.New(httpapi.Options{
		Terminal: config.Terminal{Store: "S1", ID: "T1", Operator: "0", Currency: euro, TimeZone: time.UTC},
		Journal:  t.j, View: t.v, Register: t.r, Catalogue: t.cat, Tokens: filepath.Join(t.dir, "tokens"), Operators: t.dir, Release: "lab",
	}); err != nil {
		return err
	}
	t.stopView = following(t.v.Run)
	stop := following(t.r.Run)
	t.stopLoop = func() { stop() }
	t.running = true
	return t.r.Alive(context.Background())
}

// following runs f until the returned function is called, which returns its error.
func following(f func(context.Context) error) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceValue(func() error { cancel(); return <-done })
}

func (t *inside) stop() error {
	if !t.running {
		return nil
	}
	t.running = false
	t.stopLoop()
	return errors.Join(t.stopView(), t.cat.Close(), t.v.Close(), t.j.Close(), copyFile(t.index(), t.early()))
}

// kill leaves what a killed process would: the index of some moment, then the journal's
// files of this one. What the old process does after that happens in a folder that
// nobody reads.
func (t *inside) kill() error {
	t.running = false
	old, was := t.folder(), t.index()
	newest := t.rng.IntN(3)
	if newest == 0 { // the index had just been committed
		if err := errors.Join(t.stopView(), t.v.Close()); err != nil {
			return err
		}
		t.stopView = func() error { return nil }
	}
	t.gen++
	if err := errors.Join(os.MkdirAll(t.folder(), 0o700), picture(filepath.Join(old, "journal"), t.journal())); err != nil {
		return err
	}
	t.stopLoop()
	err := errors.Join(t.stopView(), t.cat.Close())
	switch newest {
	case 0:
		err = errors.Join(err, copyFile(was, t.index()))
	case 1: // it had never been committed
		err = errors.Join(err, t.v.Close())
	default:
		err = errors.Join(err, t.v.Close(), copyFile(t.early(), t.index()))
	}
	err = errors.Join(err, t.j.Close(), os.RemoveAll(old))
	return err
}

// picture copies a journal's folder while its owner lives: the floor note first, then
// the segments from the newest on, so that nothing in the copy vouches for something
// that was copied before it. Segments that have ended are shared with the original.
func picture(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if x, y := isSegment(a), isSegment(b); x != y {
			return map[bool]int{true: 1, false: -1}[x]
		}
		return strings.Compare(b.Name(), a.Name())
	})
	segments := 0
	for _, e := range entries {
		old, now := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if isSegment(e) {
			segments++
		}
		switch {
		case e.Name() == "lock" || !e.Type().IsRegular():
		case segments > 4:
			err = os.Link(old, now)
		default:
			err = copyFile(old, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isSegment(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".seg") }

// copyFile copies, if there is something to copy.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func (t *inside) records(each func(seq uint64, payload []byte) error) error {
	return recordsOf(t.journal(), each)
}

func recordsOf(dir string, each func(seq uint64, payload []byte) error) error {
	_, err := journal.Verify(context.Background(), dir, journal.VerifyOptions{Each: func(r chain.Record, _ chain.Head) error {
		if r.Type != event.RecordType {
			return each(r.Seq, nil)
		}
		return each(r.Seq, r.Payload)
	}})
	return err
}

func (t *inside) unheard(c call) error { _, err := t.do(c); return err }

func (t *inside) do(c call) (answer, error) {
	r := httptest.NewRequest(c.method, "http://127.0.0.1"+c.path, strings.NewReader(c.body))
	c.headers(r)
	w := httptest.NewRecorder()
	t.s.ServeHTTP(w, r)
	return read(w.Result().StatusCode, w.Header(), w.Body.Bytes()), nil
}

func (c *call) headers(r *http.Request) {
	r.Header.Set("Authorization", "Bearer "+token)
	if c.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", c.key)
	}
	if c.session != "" {
		r.Header.Set("Posd-Session", c.session)
	}
	if c.match != "" {
		r.Header.Set("If-Match", `"`+c.match+`"`)
	}
}

// read takes an answer apart.
func read(status int, h http.Header, body []byte) answer {
	a := answer{status: status, body: body, replayed: h.Get("Idempotency-Replayed") == "true"}
	if status >= 400 {
		_, rest, _ := bytes.Cut(body, []byte(`"type":"urn:posd:problem:`))
		slug, _, _ := bytes.Cut(rest, []byte(`"`))
		a.slug = string(slug)
	}
	return a
}
