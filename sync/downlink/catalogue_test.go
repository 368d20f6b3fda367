package downlink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/sync/wire"
)

// shelves is head office's bucket of contents, and the terminal's catalogue.
type shelves struct {
	w     *world
	cat   jetstream.KeyValue
	path  string
	items *catalogue.Catalogue
	full  atomic.Bool // the disk
	taxes atomic.Pointer[map[string]bool]
	asked func() // behind each look at what is configured; nil: nothing happens then
	stop  func()
}

func newShelves(w *world) *shelves {
	w.t.Helper()
	js, err := jetstream.New(w.dial())
	must(w.t, err)
	s := &shelves{w: w, path: filepath.Join(w.dir, "catalogue.db")}
	s.taxes.Store(&map[string]bool{"A": true})
	s.cat, err = js.CreateKeyValue(context.Background(), jetstream.KeyValueConfig{Bucket: wire.ContentBucket})
	must(w.t, err)
	w.t.Cleanup(s.end)
	s.start()
	return s
}

// start is a start of posd with a link.
func (s *shelves) start() {
	s.w.t.Helper()
	s.end()
	s.items = catalogue.Open(s.path)
	s.w.itemsTo = &Items{Path: s.path, InUse: s.inUse, Room: s.room,
		Options: func(context.Context) catalogue.ImportOptions {
			o := catalogue.ImportOptions{Taxes: *s.taxes.Load(), Currency: pos.Currency{Code: "EUR", Exponent: 2}}
			if s.asked != nil {
				s.asked()
			}
			return o
		}}
	d := s.w.start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Supply(ctx) }()
	s.stop = func() { cancel(); <-done; s.stop = nil }
	s.w.link()
}

func (s *shelves) room(int64) error {
	if s.full.Load() {
		return errors.New("the disk has no room")
	}
	return nil
}

// inUse does not wait until the file is looked at again.
func (s *shelves) inUse() (string, int) {
	c := catalogue.Open(s.path)
	defer c.Close()
	return c.Version(), c.Len()
}

// end is the end of posd.
func (s *shelves) end() {
	s.w.unlink()
	if s.stop != nil {
		s.stop()
		s.items.Close()
	}
}

// publish puts a catalogue into the bucket, but for those chunks that hide says, and
// returns the order.
func (s *shelves) publish(serial uint64, version, csv string, key ed25519.PrivateKey, hide func(i int) bool, change ...func(*wire.Order)) []byte {
	t := s.w.t
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.db")
	_, err := catalogue.Import(context.Background(), strings.NewReader("code,description,department,unit,price,tax\n"+csv), path,
		catalogue.ImportOptions{Currency: pos.Currency{Code: "EUR", Exponent: 2}, Version: version, Serial: serial})
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	m := catalogue.Manifest{Serial: serial, Version: version, Currency: "EUR"}
	i := 0
	m.Chunks, err = catalogue.Split(f, func(c catalogue.Chunk, b []byte) error {
		i++
		if hide != nil && hide(i-1) {
			return nil
		}
		return s.put(c.Sum, b)
	})
	must(t, err)
	b, err := m.Sign(nil, office)
	must(t, err)
	sum := sha256.Sum256(b)
	must(t, s.put(sum, b))
	offer := wire.Offer{Version: version, Manifest: sum}
	o := wire.Order{Store: "s1", Terminal: "t1", Serial: serial, Kind: wire.KindCatalogue, Body: offer.Append(nil)}
	for _, c := range change {
		c(&o)
	}
	raw, err := o.Sign(nil, key)
	must(t, err)
	return raw
}

func (s *shelves) put(sum [32]byte, b []byte) error {
	_, err := s.cat.Put(context.Background(), wire.ContentKey(sum), wire.PackContent(b))
	return err
}

// order puts an order where the terminal looks for it.
func (s *shelves) order(raw []byte) {
	s.w.t.Helper()
	_, err := s.w.kv.Put(context.Background(), wire.CatalogueKey("s1", "t1"), raw)
	must(s.w.t, err)
}

func (s *shelves) take(raw []byte) wire.Answer {
	s.w.t.Helper()
	s.order(raw)
	return s.w.answer()
}

func (s *shelves) version() string { v, _ := s.inUse(); return v }

// until waits for the status to say so.
func (s *shelves) until(what string, ok func(CatalogueStatus) bool) {
	s.w.t.Helper()
	for end := time.Now().Add(giveUp); !ok(s.w.d.CatalogueStatus()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.w.t.Fatalf("%s: %+v", what, s.w.d.CatalogueStatus())
		}
	}
}

func rows(n int, tax string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,Item number %d,,pc,1.%02d,%s\n", i, i, i%100, tax)
	}
	return b.String()
}

func init() {
	maps.Copy(scenarios, map[string]func(*world) error{
		"a catalogue is taken, kept and told once": func(w *world) error {
			s := newShelves(w)
			raw := s.publish(5, "one-1", rows(300, "A"), office, nil)
			a := s.take(raw)
			s.start()
			again := w.answer()
			b := s.take(s.publish(6, "two-2", rows(301, "A"), office, nil))
			old := s.take(raw)
			same := s.take(s.publish(6, "evil-6", rows(1, "A"), office, nil))
			s.start()
			last := w.answer()
			return errors.Join(
				check(a.State == wire.StateApplied && a.Serial == 5 && again.State == wire.StateApplied && again.Serial == 5, "%+v, %+v", a, again),
				check(b.State == wire.StateApplied && s.version() == "two-2", "%+v, in use %s", b, s.version()),
				check(old.State == wire.StateRefused && same.State == wire.StateRefused && last.State == wire.StateRefused && strings.Contains(last.Reason, "not above 6"), "%+v, %+v, %+v", old, same, last),
				check(strings.Join(w.events, ",") == "catalogue 5 one-1,catalogue 6 two-2,no catalogue 5,no catalogue 6", "%v", w.events))
		},
		"a catalogue whose file is gone or damaged comes again at the next link": func(w *world) error {
			s := newShelves(w)
			s.take(s.publish(5, "one-1", rows(3, "A"), office, nil))
			s.end()
			must(w.t, os.Remove(s.path))
			s.start()
			gone := w.answer()
			inUse := s.version()
			s.end()
			must(w.t, os.WriteFile(s.path, bytes.Repeat([]byte("rot"), 10000), 0o600))
			s.start()
			damaged := w.answer()
			return errors.Join(
				check(gone.State == wire.StateApplied && gone.Serial == 5 && inUse == "one-1", "%+v, in use %q", gone, inUse),
				check(damaged.State == wire.StateApplied && s.version() == "one-1", "%+v, in use %q", damaged, s.version()),
				check(strings.Join(w.events, ",") == "catalogue 5 one-1,catalogue 5 one-1,catalogue 5 one-1", "%v", w.events))
		},
		"a catalogue for another terminal": func(w *world) error {
			s := newShelves(w)
			a := s.take(s.publish(5, "one-1", rows(3, "A"), office, nil, func(o *wire.Order) { o.Terminal = "t2" }))
			return check(a.State == wire.StateRefused && s.version() == "" && strings.Contains(a.Reason, "for terminal t2"), "%+v, %s", a, s.version())
		},
		"a stranger's catalogue": func(w *world) error {
			s := newShelves(w)
			a := s.take(s.publish(5, "one-1", rows(3, "A"), stranger, nil))
			config := s.take(order(6, tax("7"), office, "t1")) // signed, but by the wrong door
			good := s.take(s.publish(1, "good-1", rows(3, "A"), office, nil))
			return errors.Join(check(a.State == wire.StateRefused && a.Serial == 0 && config.State == wire.StateRefused && rate(w.d.Config()) == "19", "%+v, %+v", a, config),
				check(good.State == wire.StateApplied && s.version() == "good-1", "%+v, %s", good, s.version()))
		},
		"a manifest that the order does not mean": func(w *world) error {
			s := newShelves(w)
			body := func(o *wire.Order) {
				offer, _ := wire.ParseOffer(o.Body)
				offer.Version = "other-1"
				o.Body = offer.Append(nil)
			}
			a := s.take(s.publish(5, "one-1", rows(3, "A"), office, nil, body))
			return check(a.State == wire.StateRefused && strings.Contains(a.Reason, "the order names other-1") && s.version() == "", "%+v", a)
		},
		"a catalogue with an unknown tax code": func(w *world) error {
			s := newShelves(w)
			s.take(s.publish(5, "one-1", rows(3, "A"), office, nil))
			a := s.take(s.publish(6, "two-2", rows(3, "B"), office, nil))
			s.start()
			again := w.answer()
			s.taxes.Store(&map[string]bool{"A": true, "B": true})
			b := s.take(s.publish(7, "two-2", rows(3, "B"), office, nil))
			return errors.Join(check(a.State == wire.StateRefused && strings.Contains(a.Reason, "3 items have the code B") && again.Reason == a.Reason, "%+v, %+v", a, again),
				check(b.State == wire.StateApplied && s.version() == "two-2", "%+v", b),
				check(strings.Join(w.events, ",") == "catalogue 5 one-1,no catalogue 6,catalogue 7 two-2", "%v", w.events))
		},
		"a tax code that is pushed while its catalogue comes": func(w *world) error {
			s := newShelves(w)
			s.asked = func() { s.taxes.Store(&map[string]bool{"A": true, "B": true}) }
			s.start()
			a := s.take(s.publish(5, "one-1", rows(3, "B"), office, nil))
			b := s.take(s.publish(6, "two-2", rows(3, "C"), office, nil))
			s.asked = func() { s.taxes.Store(&map[string]bool{"A": true}) } // and one that is taken away
			s.start()
			w.answer()
			c := s.take(s.publish(7, "three-3", rows(4, "B"), office, nil))
			return check(a.State == wire.StateApplied && b.State == wire.StateRefused && c.State == wire.StateRefused && s.version() == "one-1", "%+v, %+v, %+v", a, b, c)
		},
		"a catalogue whose order was replaced too late to stop it": func(w *world) error {
			s := newShelves(w)
			s.end() // no link: whoever begins fails
			late := &want{order: wire.Order{Serial: 5}, offer: wire.Offer{Version: "one-1"}}
			w.d.mu.Lock()
			w.d.supply.wants = &want{order: wire.Order{Serial: 6}}
			w.d.mu.Unlock()
			err := w.d.attempt(context.Background(), func() {}, late)
			if err != nil {
				return fmt.Errorf("it is carried out: %w", err)
			}
			for _, state := range []string{wire.StateRefused, wire.StateApplied} {
				_, bad := w.d.keepCatalogue(context.Background(), late, &catalogueState{Version: "one-1", State: state, Former: "zero-0"})
				err = errors.Join(err, bad)
			}
			return errors.Join(err, check(strings.Join(w.events, ",") == "catalogue 5 one-1" && w.d.st.Catalogue == nil, "%v, %+v", w.events, w.d.st.Catalogue))
		},
		"a chunk that head office has lost": func(w *world) error {
			s := newShelves(w)
			raw := s.publish(5, "one-1", rows(3000, "A"), office, func(i int) bool { return i == 2 })
			s.order(raw)
			s.until("stuck", func(c CatalogueStatus) bool {
				return c.State == StateFetching && strings.Contains(c.Reason, "chunk 3 of")
			})
			stuck := w.d.CatalogueStatus()
			s.end() // as a kill leaves it: the folder is never synced, nor is anything kept of it
			kept, _ := filepath.Glob(s.path + ".chunks/*")
			s.publish(5, "one-1", rows(3000, "A"), office, nil)
			s.start()
			a := w.answer()
			return errors.Join(check(stuck.Got == 2 && len(kept) == 2, "%+v, kept %d", stuck, len(kept)),
				check(a.State == wire.StateApplied && s.version() == "one-1", "%+v, %s", a, s.version()),
				check(strings.Join(w.events, ",") == "catalogue 5 one-1", "%v", w.events))
		},
		"a chunk that is another": func(w *world) error {
			s := newShelves(w)
			raw := s.publish(5, "one-1", rows(300, "A"), office, nil)
			keys, err := s.cat.Keys(context.Background())
			must(w.t, err)
			for _, k := range keys {
				_, err := s.cat.Put(context.Background(), k, wire.PackContent([]byte("another")))
				must(w.t, err)
			}
			s.order(raw)
			s.until("stuck", func(c CatalogueStatus) bool { return strings.Contains(c.Reason, "not what its name says") })
			s.publish(5, "one-1", rows(300, "A"), office, nil)
			a := w.answer() // by itself, after a pause
			return check(a.State == wire.StateApplied && s.version() == "one-1", "%+v", a)
		},
		"a newer catalogue takes the place of one on its way": func(w *world) error {
			s := newShelves(w)
			old := s.publish(5, "one-1", rows(300, "A"), office, func(i int) bool { return i == 0 })
			s.order(old)
			s.until("stuck", func(c CatalogueStatus) bool { return c.Reason != "" })
			a := s.take(s.publish(6, "two-2", rows(300, "A"), office, nil))
			b := s.take(old)
			return errors.Join(check(a.Serial == 6 && a.State == wire.StateApplied && s.version() == "two-2", "%+v", a),
				check(b.State == wire.StateRefused, "%+v", b))
		},
		"an old catalogue does not hold one up that is on its way": func(w *world) error {
			s := newShelves(w)
			s.order(s.publish(6, "two-2", rows(300, "A"), office, func(i int) bool { return i == 0 }))
			s.until("stuck", func(c CatalogueStatus) bool { return c.Reason != "" })
			a := s.take(s.publish(5, "one-1", rows(300, "A"), office, nil))
			status := w.d.CatalogueStatus()
			return check(a.State == wire.StateRefused && a.Serial == 5 && status.Version == "two-2" && status.State == StateFetching, "%+v, %+v", a, status)
		},
		"no room for a catalogue": func(w *world) error {
			s := newShelves(w)
			s.full.Store(true)
			s.order(s.publish(5, "one-1", rows(300, "A"), office, nil))
			s.until("stuck", func(c CatalogueStatus) bool { return strings.Contains(c.Reason, "no room") })
			none, _ := filepath.Glob(s.path + "*")
			s.full.Store(false)
			a := w.answer()
			return check(a.State == wire.StateApplied && len(none) == 0, "%+v, %v", a, none)
		},
		"no link while a catalogue was published": func(w *world) error {
			s := newShelves(w)
			w.unlink()
			s.order(s.publish(5, "one-1", rows(300, "A"), office, nil))
			s.order(s.publish(6, "two-2", rows(300, "A"), office, nil))
			w.link()
			a := w.answer()
			return check(a.Serial == 6 && s.version() == "two-2" && strings.Join(w.events, ",") == "catalogue 6 two-2", "%+v %v", a, w.events)
		},
		"killed between the swap and the note of it": func(w *world) error {
			s := newShelves(w)
			s.take(s.publish(5, "one-1", rows(300, "A"), office, nil))
			before, err := os.ReadFile(w.opt.StatePath)
			must(w.t, err)
			s.take(s.publish(6, "two-2", rows(300, "A"), office, nil))
			s.end()
			w.events = nil
			must(w.t, os.WriteFile(w.opt.StatePath, before, 0o600))
			s.start()
			a := w.answer()
			return check(a.Serial == 6 && a.State == wire.StateApplied && strings.Join(w.events, ",") == "catalogue 6 two-2", "%+v %v", a, w.events)
		},
		"configurations, commands and catalogues have numbers of their own": func(w *world) error {
			s := newShelves(w)
			a := s.take(s.publish(9, "one-1", rows(3, "A"), office, nil))
			c := w.push(order(5, tax("7"), office, "t1"))
			b := s.take(s.publish(10, "two-2", rows(3, "A"), office, nil))
			d := w.push(order(6, tax("9"), office, "t1"))
			s.start()
			var last [2]wire.Answer
			for range last {
				a := w.answer()
				last[map[string]int{wire.KindConfig: 0, wire.KindCatalogue: 1}[a.Kind]] = a
			}
			return check(a.State == wire.StateApplied && c.State == wire.StateApplied && b.State == wire.StateApplied && d.State == wire.StateApplied &&
				last[0].Serial == 6 && last[1].Serial == 10 && rate(w.d.Config()) == "9" && s.version() == "two-2", "%+v %+v %+v %+v %+v", a, c, b, d, last)
		},
		"a terminal that takes no catalogue": func(w *world) error {
			s := newShelves(w)
			w.itemsTo = nil
			w.start()
			w.link()
			a := s.take(s.publish(5, "one-1", rows(3, "A"), office, nil))
			return check(a.State == wire.StateRefused && s.version() == "", "%+v", a)
		},
	})
}

// FuzzWeigh: whatever comes as an order, unsigned, changes nothing.
func FuzzWeigh(f *testing.F) {
	w := newWorld(f, noBug)
	s := newShelves(w)
	good := s.publish(5, "one-1", rows(1, "A"), office, nil)
	f.Add(good[130:])
	f.Add(good)
	good[3] ^= 1 // of the signature
	nc := w.dial()
	f.Fuzz(func(t *testing.T, b []byte) {
		w.d.offered(context.Background(), nc, append(append([]byte(nil), good[:129]...), b...))
		if c := w.d.CatalogueStatus(); c.Serial != 0 {
			t.Fatalf("%+v", c)
		}
	})
}
