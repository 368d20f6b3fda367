package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestWindowsAtOnce: many windows work on one till at the same time, on each other's
// baskets and on goods of the same few sales, and send half of their calls twice at once.
// No model can say what each of them is told; the auditor says whether the journal
// holds what it promises, after each kill.
func TestWindowsAtOnce(t *testing.T) {
	lives := 12
	if testing.Short() {
		lives = 4
	}
	w, err := playWindows(t.TempDir(), lives, 150)
	t.Logf("%d calls, %d refused, %d sent twice at once; %d sales, %d came back", w.calls.Load(), w.refused.Load(), w.twice.Load(), len(w.audit.sales), w.back)
	if err != nil {
		t.Fatal(err)
	}
	if w.back == 0 || w.twice.Load() == 0 {
		t.Error("too little happened to prove anything")
	}
}

type windows struct {
	term  *inside
	audit *audit
	seen  uint64
	back  int // lines that came back

	calls, refused, twice, next atomic.Int64

	mu      sync.Mutex
	baskets []string
	sales   []string // with one line of three pieces or more
	wrong   error
}

func playWindows(dir string, lives, calls int) (*windows, error) {
	term, err := newInside(dir, 5, false, rand.New(rand.NewPCG(1, 5)))
	if err != nil {
		return nil, err
	}
	w := &windows{term: term, audit: newAudit(5)}
	defer term.stop()
	for life := range lives {
		var wg sync.WaitGroup
		for n := range 6 {
			rng := rand.New(rand.NewPCG(uint64(life), uint64(n)))
			wg.Go(func() {
				for range calls {
					w.one(rng)
				}
			})
		}
		wg.Wait()
		end := term.kill
		if life%3 == 2 {
			end = term.stop
		}
		if err := end(); err != nil {
			return w, err
		}
		if err := w.judge(); err != nil {
			return w, fmt.Errorf("life %d: %w", life, err)
		}
		if err := term.start(); err != nil {
			return w, err
		}
	}
	return w, w.wrong
}

// judge lets the auditor see what is new.
func (w *windows) judge() error {
	return w.term.records(func(seq uint64, payload []byte) error {
		if seq <= w.seen || payload == nil {
			return nil
		}
		w.seen = seq
		e, err := recorded(seq, payload)
		if err != nil {
			return err
		}
		for _, l := range e.sale.Lines {
			if l.Return != nil {
				w.back++
			}
		}
		return w.audit.see(e)
	})
}

func (w *windows) pick(rng *rand.Rand, list *[]string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(*list) == 0 {
		return "none"
	}
	return (*list)[len(*list)-1-rng.IntN(min(len(*list), 4))]
}

func (w *windows) keep(list *[]string, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, name)
}

// one makes one call, or the same call twice at once.
func (w *windows) one(rng *rand.Rand) {
	at := "/v1/baskets/" + w.pick(rng, &w.baskets)
	sale := w.pick(rng, &w.sales)
	c := call{method: "POST", key: fmt.Sprint("w-", w.next.Add(1))}
	switch n := rng.IntN(20); {
	case n < 2:
		c.path, c.body = "/v1/baskets", `{}`
	case n < 4:
		c.path, c.body = at+"/lines", fmt.Sprintf(`{"description":"x","tax":"A","price":%d,"quantity":3}`, 1+rng.IntN(900))
	case n < 9:
		c.path, c.body = at+"/lines", fmt.Sprintf(`{"quantity":%d,"reason":"sour","return":{"sale":%q,"line":1}}`, 1+rng.IntN(2), sale)
	case n < 13:
		c.path, c.body = at+"/tenders", fmt.Sprintf(`{"kind":"cash","amount":%d}`, (rng.IntN(3)-1)*5*(1+rng.IntN(2000)))
	case n < 16:
		c.path, c.body = at+"/complete", `{}`
	case n < 17:
		c.path, c.body = "/v1/sales/"+sale+"/void", `{"reason":"wrong"}`
	case n < 18:
		c.path, c.body = at+"/void", `{}`
	default:
		c.path, c.body = "/v1/checkout", `{"lines":[{"description":"x","tax":"B","price":100,"quantity":4}],"tenders":[{"kind":"card","amount":400,"reference":"s"}]}`
	}
	w.calls.Add(1)
	first := w.send(c, rng.IntN(2) == 0)
	if first.status >= 400 {
		w.refused.Add(1)
		return
	}
	e, err := answered(first.body)
	switch {
	case err != nil:
		w.fail(err)
	case e.kind == "basket.opened":
		w.keep(&w.baskets, e.basket.Basket)
	case e.kind == "sale.completed" && c.path == "/v1/checkout":
		w.keep(&w.sales, e.sale.Sale)
	}
	if e.kind == "line.added" && e.basket.Due != 0 && rng.IntN(3) == 0 { // it is paid at once
		due := e.basket.Due + toCoin(e.basket.Due, 5)
		w.send(call{method: "POST", key: c.key + "-pay", path: at + "/tenders", body: fmt.Sprintf(`{"kind":"cash","amount":%d}`, due)}, false)
		w.send(call{method: "POST", key: c.key + "-done", path: at + "/complete", body: `{}`}, false)
	}
}

// send makes a call, twice at once if it has to: whoever is told something is told the same.
func (w *windows) send(c call, twice bool) answer {
	other := make(chan answer, 1)
	if twice {
		w.twice.Add(1)
		go func() {
			b, err := w.term.do(c)
			if err != nil {
				w.fail(err)
			}
			other <- b
		}()
	}
	a, err := w.term.do(c)
	if err != nil {
		w.fail(err)
	}
	w.check(c, a)
	if twice {
		b := <-other
		w.check(c, b)
		if a.status < 300 && b.status < 300 && !bytes.Equal(a.body, b.body) {
			w.fail(fmt.Errorf("%s %s was answered in two ways:\n%s\n%s", c.key, c.path, a.body, b.body))
		}
		if a.status < 300 && b.status < 300 && a.replayed == b.replayed {
			w.fail(fmt.Errorf("%s %s: both answers are the first one, or none: %v", c.key, c.path, a.replayed))
		}
		if a.status >= 300 {
			return b
		}
	}
	return a
}

func (w *windows) check(c call, a answer) {
	if a.status >= 500 || a.status == 400 || a.status == 401 {
		w.fail(fmt.Errorf("%s %s: %d %s", c.path, c.body, a.status, a.body))
	}
}

func (w *windows) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = err
	}
}
