package hub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// till is a terminal's journal that sells, is cloned and copies from others.
type till struct {
	history
	dir string
	key ed25519.PrivateKey
}

var (
	keyA = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	keyB = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

// newTill has a birth, an opening, and nothing more.
func newTill(t testing.TB, terminal string, key ed25519.PrivateKey, parent *chain.Parent) *till {
	t.Helper()
	o := journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: terminal}, Parent: parent}
	if key != nil {
		o.PublicKey = key.Public().(ed25519.PublicKey)
	}
	dir := filepath.Join(t.TempDir(), "journal")
	id, err := journal.Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	k := &till{history{t, nil, id}, dir, key}
	k.open()
	t.Cleanup(func() { k.j.Close() })
	return k
}

func (k *till) open() {
	k.t.Helper()
	var err error
	if k.j, err = journal.Open(k.dir, journal.Options{Key: k.key}); err != nil {
		k.t.Fatal(err)
	}
}

// clone copies the disk.
func (k *till) clone() *till {
	k.t.Helper()
	c := &till{history{k.t, nil, k.id}, filepath.Join(k.t.TempDir(), "journal"), nil}
	err := errors.Join(k.j.Close(), os.CopyFS(c.dir, os.DirFS(k.dir)))
	if err != nil {
		k.t.Fatal(err)
	}
	k.open()
	c.open()
	k.t.Cleanup(func() { c.j.Close() })
	return c
}

func (k *till) add(t chain.Type, payload string) uint64 {
	k.t.Helper()
	seq, err := k.j.Append(t, journal.Durable, len(payload), blob(payload))
	if err == nil {
		err = k.j.Wait(context.Background(), seq)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return seq
}

func sale(receipt string, total int) string {
	return fmt.Sprintf(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"receipt":%q,"total":%d}}`, receipt, total)
}

// sell makes n sales, with receipts t1-<branch>-<seq>.
func (k *till) sell(branch, total, n int) {
	k.t.Helper()
	for range n {
		k.add(event.RecordType, sale(fmt.Sprintf("t1-%d-%d", branch, k.last()+1), total))
	}
}

func (k *till) last() uint64 { seq, _ := k.j.Floor(); return seq }

func (k *till) record(seq uint64) (chain.Record, chain.Head) {
	k.t.Helper()
	r, err := k.j.Reader(seq)
	if err != nil {
		k.t.Fatal(err)
	}
	defer r.Close()
	rec, err := r.Next()
	if err != nil {
		k.t.Fatal(err)
	}
	rec.Payload = bytes.Clone(rec.Payload)
	h, err := k.j.Head(seq)
	if err != nil {
		k.t.Fatal(err)
	}
	return rec, h
}

// copyOf is the payload of a copy; a copy of a copy is the same bytes.
func copyOf(k *till, seq uint64) string {
	rec, h := k.record(seq)
	if rec.Type == chain.TypeCopy {
		return string(rec.Payload)
	}
	return string(chain.AppendCopy(nil, k.id, rec, h))
}

func (k *till) copy(o *till, first, last uint64) {
	k.t.Helper()
	for seq := first; seq <= last; seq++ {
		k.add(chain.TypeCopy, copyOf(o, seq))
	}
}

// cut makes parcels of at most n records.
func (k *till) cut(n uint64) (all []message) {
	for first := uint64(1); first <= k.last(); first += n {
		all = append(all, k.message(first, min(first+n-1, k.last())))
	}
	return all
}

func (k *till) message(first, last uint64) message {
	return prepare(wire.UpSubject(0, "s1", "t1", k.id), 1, bytes.Clone(bytesOf(k.t, k.parcel(first, last))))
}

// events are those that a journal wrote itself.
func (k *till) events(into map[ledger.Name]string) map[ledger.Name]string {
	for seq := uint64(1); seq <= k.last(); seq++ {
		if rec, h := k.record(seq); rec.Type == event.RecordType {
			into[ledger.Name{Journal: k.id, Seq: seq, Head: h}] = string(rec.Payload)
		}
	}
	return into
}

// bench is a ledger with a judge.
type bench struct {
	t testing.TB
	l ledger.Ledger
	g judge
}

func newBench(t testing.TB, b bug) *bench {
	l, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &bench{t, l, judge{lane: "S", accepts: func(string) bool { return true }, now: time.Now, bug: b}}
}

func (b *bench) apply(m message) (c ledger.Chain, v verdict) {
	b.t.Helper()
	if err := b.l.Update(b.t.Context(), func(tx ledger.Tx) (err error) {
		b.g.out, b.g.receipts, b.g.returns, b.g.tally.collisions = nil, nil, nil, nil
		if c, v, _, err = b.g.apply(tx, &m); err != nil {
			return err
		}
		pos, err := tx.Position("S")
		next := pos
		return errors.Join(err, b.g.finish(tx, &next), tx.SetPosition("S", pos, next))
	}); err != nil {
		b.t.Fatal(err)
	}
	return c, v
}

// listed are the events of the ledger.
func (b *bench) listed() (map[ledger.Name]string, error) { return listed(b.l) }

func listed(l ledger.Ledger) (all map[ledger.Name]string, err error) {
	all = make(map[ledger.Name]string)
	return all, l.View(context.Background(), func(tx ledger.Tx) error {
		return tx.Events(ledger.Cursor{}, func(e ledger.Event) (bool, error) {
			if _, twice := all[e.Name]; twice {
				return false, fmt.Errorf("event %d of %s is listed twice", e.Seq, e.Journal)
			}
			all[e.Name] = string(e.Payload)
			return true, nil
		})
	})
}

// proves compares a ledger with what has to be in it: all events, each once.
func proves(l ledger.Ledger, want map[ledger.Name]string) error {
	got, err := listed(l)
	if err != nil {
		return err
	}
	for n, p := range want {
		if got[n] != p {
			return fmt.Errorf("event %d of %s with head %s is %q, want %q", n.Seq, n.Journal, n.Head, got[n], p)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d events, want %d", len(got), len(want))
	}
	receipts := make(map[string]int)
	for _, p := range want {
		if r := ledger.ReceiptOf([]byte(p)); r != "" {
			receipts[r]++
		}
	}
	return l.View(context.Background(), func(tx ledger.Tx) error {
		several, n := uint64(0), 0
		for _, k := range receipts {
			if k > 1 {
				several, n = several+1, n+k
			}
		}
		err := tx.Collisions(ledger.Receipt{}, func(r ledger.Receipt, at time.Time) (bool, error) {
			if ledger.ReceiptOf([]byte(want[r.Event])) != r.Number || receipts[r.Number] < 2 || r.Store != "s1" || r.Terminal != "t1" || at.IsZero() {
				return false, fmt.Errorf("collision %+v", r)
			}
			n--
			return true, nil
		})
		if err != nil {
			return err
		}
		if k, err := tx.CollisionCount(); k != several || n != 0 || err != nil {
			return fmt.Errorf("%d receipt numbers collide, want %d; %d events not listed, %w", k, several, n, err)
		}
		return tx.Chains(func(c ledger.Chain) error {
			n := uint64(0)
			for name := range want {
				if name.Journal == c.Journal {
					n++
				}
			}
			if c.Events != n || c.Records+c.Lost != c.Last || c.Copied > c.Events {
				return fmt.Errorf("%d events of this journal in %+v", n, c)
			}
			return nil
		})
	})
}

// family is a terminal whose disk was cloned: a goes on with the journal, b is the
// clone, heir continues b, and grandheir continues heir.
type family struct{ a, b, heir, grandheir *till }

func newFamily(t testing.TB) (f family) {
	f.a = newTill(t, "t1", keyA, nil)
	f.a.sell(1, 100, 10)
	f.b = f.a.clone()
	f.a.sell(1, 1000, 9)
	f.b.sell(1, 7, 6)
	_, end := f.b.j.Floor()
	f.heir = newTill(t, "t1", keyB, &chain.Parent{Journal: f.b.id.String(), Seq: f.b.last(), Head: end.String(), Reason: "clone"})
	f.heir.copy(f.b, 5, f.b.last())
	f.heir.sell(2, 30, 5)
	_, end = f.heir.j.Floor()
	f.grandheir = newTill(t, "t1", nil, &chain.Parent{Journal: f.heir.id.String(), Seq: f.heir.last(), Head: end.String(), Reason: "restore"})
	f.grandheir.copy(f.heir, 1, f.heir.last())
	f.grandheir.sell(3, 31, 5)
	return f
}

// orders of arrival, as the letters of the family's parcels.
func (f *family) plays(rng *rand.Rand) map[string][]message {
	pile := map[rune][]message{'o': f.a.cut(7), 'n': f.heir.cut(6), 'g': f.grandheir.cut(5)}
	plays := map[string][]message{}
	for _, order := range []string{"o", "n", "on", "no", "oonn", "nnoo", "ng", "gn", "ong", "gno", "gon", "gngo", "ogogn"} {
		for _, c := range order {
			plays[order] = append(plays[order], pile[c]...)
		}
	}
	for i := range 20 { // all mixed: gaps are asked for until they are filled
		var all []message
		for range 3 {
			for _, c := range "ong" {
				all = append(all, pile[c]...)
			}
		}
		name := fmt.Sprintf("ong mixed %d", i)
		for range 8 {
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			plays[name] = append(plays[name], all...)
		}
	}
	return plays
}

// expected are the events that must take effect once those journals have arrived.
func (f *family) expected(order string) map[ledger.Name]string {
	want := make(map[ledger.Name]string)
	for _, c := range order {
		switch c {
		case 'o':
			f.a.events(want)
		case 'g':
			f.grandheir.events(want)
			fallthrough
		case 'n':
			f.heir.events(want)
			for n, p := range f.b.events(make(map[ledger.Name]string)) {
				if n.Seq >= 5 {
					want[n] = p
				}
			}
		}
	}
	return want
}

func (f *family) play(t testing.TB, b bug, plays map[string][]message) (errs []error) {
	for name, messages := range plays {
		order, _, _ := strings.Cut(name, " ")
		bench := newBench(t, b)
		for _, m := range messages {
			bench.apply(m)
		}
		err := proves(bench.l, f.expected(order))
		if err == nil {
			err = bench.l.View(context.Background(), func(tx ledger.Tx) error {
				c, _, err := tx.Chain(f.a.id)
				seq, head := f.a.j.Floor()
				if strings.Contains(order, "o") && (c.Last != seq || c.Head != head || c.Want != 0) {
					return fmt.Errorf("the first journal ends at %d and wants %d", c.Last, c.Want)
				}
				if !strings.Contains(order, "o") && c.Last != 0 {
					return fmt.Errorf("copies moved the end of their origin: %+v", c)
				}
				if n, _ := tx.QuarantineCount(); n != 0 {
					return fmt.Errorf("%d messages in quarantine", n)
				}
				return err
			})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errs
}

// TestCopiesInAnyOrder: each event takes effect once under its own name, whatever
// comes first and however often, and both histories of the clone stay.
func TestCopiesInAnyOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	f := newFamily(t)
	plays := f.plays(rand.New(rand.NewPCG(seed, 0)))
	for _, err := range f.play(t, noBug, plays) {
		t.Errorf("seed %d: %v", seed, err)
	}
	for _, b := range []bug{bugNoNames, bugNoHeads} {
		if f.play(t, b, plays) == nil {
			t.Errorf("bug %d passes too: the check proves nothing", b)
		}
	}
}

// TestCopyAcrossAHole: what was declared lost and comes as a copy takes effect.
func TestCopyAcrossAHole(t *testing.T) {
	f := newFamily(t)
	b := newBench(t, noBug)
	b.apply(f.a.message(1, 6))
	h := f.a.parcel(7, 9)
	b.apply(prepare(wire.UpSubject(0, "s1", "t1", f.a.id), 1,
		bytesOf(t, &wire.Parcel{Journal: f.a.id, First: 7, Last: 9, Hole: true, Head: h.Head})))
	if c, v := b.apply(f.a.message(10, f.a.last())); v != entered || c.Lost != 3 {
		t.Fatalf("verdict %d, %+v", v, c)
	}
	for _, m := range f.heir.cut(4) {
		b.apply(m)
	}
	if err := proves(b.l, f.expected("on")); err != nil {
		t.Error(err)
	}
}

// refuses checks that m is set aside for cause, and leaves nothing behind.
func (b *bench) refuses(m message, cause string) error {
	before, err := b.listed()
	if err != nil {
		return err
	}
	var was ledger.Chain
	b.l.View(context.Background(), func(tx ledger.Tx) error { was, _, err = tx.Chain(m.id); return err })
	c, v := b.apply(m)
	if v != aside || c.Last != was.Last || !strings.HasPrefix(c.Held, cause+": ") {
		return fmt.Errorf("verdict %d, chain %+v", v, c)
	}
	after, err := b.listed()
	if err != nil || len(after) != len(before) {
		return fmt.Errorf("%d events before, %d after, %w", len(before), len(after), err)
	}
	return b.l.View(context.Background(), func(tx ledger.Tx) error {
		found := errors.New("not in quarantine")
		tx.Quarantine(func(q ledger.Quarantined) error {
			whole, _, err := tx.Quarantined(q.Key)
			if q.Cause == cause && q.Reason != "" && bytes.Equal(whole.Body, m.body) {
				found = nil
			}
			return err
		})
		return found
	})
}

// altered is a copy with something else in it.
func altered(k *till, seq uint64, change func(*chain.Copy)) string {
	c, err := chain.ParseCopy([]byte(copyOf(k, seq)))
	if err != nil {
		k.t.Fatal(err)
	}
	change(&c)
	return string(chain.AppendCopy(nil, c.Journal, c.Record, c.Head))
}

func TestCopiesRefused(t *testing.T) {
	f := newFamily(t)
	alien := newTill(t, "t9", nil, nil)
	alien.add(event.RecordType, sale("t9-1-3", 5))
	cheap := []byte(sale("t1-1-8", 1))
	flags := []byte(copyOf(f.b, 8))
	flags[26] = 1
	type row struct {
		copies []string
		cause  string
		first  bool // the originals have come before
		bug    bug  // with which it passes
	}
	forge := func(seq uint64) string {
		return altered(f.b, seq, func(c *chain.Copy) { c.Record.Payload = cheap })
	}
	for name, r := range map[string]row{
		"rubbish":                      {[]string{"rubbish"}, CauseCopy, true, noBug},
		"nothing":                      {[]string{""}, CauseCopy, true, noBug},
		"of a newer format":            {[]string{string(flags)}, CauseCopy, true, noBug},
		"cut short":                    {[]string{copyOf(f.b, 8)[:100]}, CauseCopy, true, noBug},
		"no such number":               {[]string{altered(f.b, 8, func(c *chain.Copy) { c.Record.Seq = ^uint64(0) })}, CauseCopy, true, noBug},
		"another terminal's":           {[]string{copyOf(alien, 3)}, CauseIdentity, true, noBug},
		"another terminal's by birth":  {[]string{copyOf(alien, 1)}, CauseIdentity, false, noBug},
		"forged within a run":          {[]string{copyOf(f.b, 6), copyOf(f.b, 7), forge(8), copyOf(f.b, 9)}, CauseCopy, false, bugBlindCopies},
		"forged head within a run":     {[]string{copyOf(f.b, 6), altered(f.b, 7, func(c *chain.Copy) { c.Head[3] ^= 1 })}, CauseCopy, false, bugBlindCopies},
		"forged at the end of a run":   {[]string{copyOf(f.b, 6), copyOf(f.b, 7), forge(8)}, CauseCopy, true, noBug},
		"forged beginning of a run":    {[]string{forge(8), copyOf(f.b, 9)}, CauseCopy, true, noBug},
		"forged first record":          {[]string{altered(f.b, 1, func(c *chain.Copy) { c.Head[3] ^= 1 })}, CauseCopy, false, bugBlindCopies},
		"an event for no event":        {[]string{altered(f.b, 2, func(c *chain.Copy) { c.Record.Type, c.Record.Payload = event.RecordType, cheap })}, CauseCopy, true, noBug},
		"no event for an event":        {[]string{altered(f.b, 8, func(c *chain.Copy) { c.Record.Type = chain.TypeOpening })}, CauseCopy, true, noBug},
		"one name twice in one parcel": {[]string{copyOf(f.b, 12), forge(12)}, CauseCopy, false, noBug},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTill(t, "t1", nil, nil)
			n.copy(f.b, 5, 5)
			for _, c := range r.copies {
				n.add(chain.TypeCopy, c)
			}
			n.sell(2, 30, 1)
			try := func(bug bug) error {
				b := newBench(t, bug)
				if r.first {
					b.apply(f.a.message(1, f.a.last()))
				}
				alienSubject := wire.UpSubject(0, "s1", "t9", alien.id)
				if r.cause == CauseIdentity && r.first {
					b.apply(prepare(alienSubject, 1, bytesOf(t, alien.parcel(1, 3))))
				}
				return b.refuses(n.message(1, n.last()), r.cause)
			}
			if err := try(noBug); err != nil {
				t.Error(err)
			}
			if r.bug != noBug && try(r.bug) == nil {
				t.Error("passes with the check left out too")
			}
		})
	}
	t.Run("of its own journal", func(t *testing.T) {
		n := newTill(t, "t1", nil, nil)
		n.sell(2, 30, 1)
		n.copy(n, 3, 3)
		if err := newBench(t, noBug).refuses(n.message(1, n.last()), CauseCopy); err != nil {
			t.Error(err)
		}
	})
	t.Run("a run over two parcels", func(t *testing.T) {
		n := newTill(t, "t1", nil, nil)
		n.copy(f.b, 5, 7)
		end := n.last()
		n.add(chain.TypeCopy, forge(8))
		try := func(bug bug) error {
			b := newBench(t, bug)
			b.apply(n.message(1, end))
			return b.refuses(n.message(end+1, n.last()), CauseCopy)
		}
		if err := try(noBug); err != nil {
			t.Error(err)
		}
		if try(bugBlindCopies) == nil {
			t.Error("passes with the check left out too")
		}
	})
	t.Run("the original comes later", func(t *testing.T) {
		n := newTill(t, "t1", nil, nil)
		n.add(chain.TypeCopy, forge(8))
		b := newBench(t, noBug)
		if _, v := b.apply(n.message(1, n.last())); v != entered {
			t.Fatalf("verdict %d", v)
		}
		if err := b.refuses(f.a.message(1, f.a.last()), CauseCopy); err != nil {
			t.Error(err)
		}
	})
	t.Run("the origin turns out to be another terminal's", func(t *testing.T) {
		n := newTill(t, "t1", nil, nil)
		n.copy(alien, 3, 3)
		b := newBench(t, noBug)
		b.apply(n.message(1, n.last()))
		m := prepare(wire.UpSubject(0, "s1", "t9", alien.id), 1, bytesOf(t, alien.parcel(1, 3)))
		if _, v := b.apply(m); v != aside {
			t.Errorf("verdict %d", v)
		}
	})
}

// TestCopyOfAnything: whatever stands in a copy, the hub neither panics nor stops,
// and what it had stays.
func TestCopyOfAnything(t *testing.T) {
	f := newFamily(t)
	n := newTill(t, "t1", nil, nil)
	rng := rand.New(rand.NewPCG(4, 2))
	b := newBench(t, noBug)
	b.apply(f.a.message(1, f.a.last()))
	c, _ := b.apply(n.message(1, n.last()))
	var verdicts [aside + 1]int
	for range 3000 {
		p := wire.Parcel{Journal: n.id, First: c.Last + 1, Last: c.Last + 1 + rng.Uint64N(3), Prev: c.Head, Head: c.Head}
		for seq := p.First; seq <= p.Last; seq++ {
			payload := []byte(copyOf(f.b, 1+rng.Uint64N(f.b.last())))
			for range rng.IntN(3) {
				payload[rng.IntN(len(payload))] ^= 1 << rng.IntN(8)
			}
			payload = payload[:len(payload)-rng.IntN(5)/4*rng.IntN(len(payload))]
			frame := make([]byte, chain.FrameSize(len(payload)))
			copy(frame[chain.FrameHeader:], payload)
			chain.PutFrame(frame, len(payload), chain.TypeCopy, 0, seq)
			p.Frames, p.Head = append(p.Frames, frame...), p.Head.Next(frame)
		}
		var v verdict
		c, v = b.apply(prepare(wire.UpSubject(0, "s1", "t1", n.id), 1, bytes.Clone(bytesOf(t, &p))))
		verdicts[v]++
	}
	got, err := b.listed()
	if err != nil || verdicts[entered] == 0 || verdicts[aside] == 0 {
		t.Error(verdicts, err)
	}
	for name, p := range f.a.events(map[ledger.Name]string{}) {
		if got[name] != p {
			t.Errorf("event %d is %q", name.Seq, got[name])
		}
	}
}

func TestCheckpoints(t *testing.T) {
	checkpoint := func(k *till, key ed25519.PrivateKey, change func(*chain.Checkpoint)) string {
		seq, head := k.j.Floor()
		c := chain.Checkpoint{Seq: seq, Head: head, At: time.Now()}
		if change != nil {
			change(&c)
		}
		return string(chain.AppendCheckpoint(nil, k.id, c, key))
	}
	sign := func(k *till, key ed25519.PrivateKey, change func(*chain.Checkpoint)) {
		k.sell(1, 100, 3)
		k.add(chain.TypeCheckpoint, checkpoint(k, key, change))
	}
	t.Run("right", func(t *testing.T) {
		k := newTill(t, "t1", keyA, nil)
		k.sell(1, 100, 3)
		if err := k.j.Checkpoint(); err != nil { // as the journal writes it
			t.Fatal(err)
		}
		sign(k, keyA, nil)
		for _, n := range []uint64{1, 4, 99} {
			b := newBench(t, noBug)
			var c ledger.Chain
			for _, m := range k.cut(n) {
				if c, _ = b.apply(m); c.Held != "" {
					t.Fatal(c.Held)
				}
			}
			if c.Signed != k.last()-1 || !bytes.Equal(c.PublicKey, keyA.Public().(ed25519.PublicKey)) || b.g.tally.signed != 2 {
				t.Errorf("chain %+v, %+v", c, b.g.tally)
			}
		}
	})
	t.Run("wrong", func(t *testing.T) {
		newer := func(k *till) string {
			c := []byte(checkpoint(k, keyA, nil))
			c[0] = 2
			return string(c)
		}
		for name, r := range map[string]struct {
			key     ed25519.PrivateKey // of the birth record
			payload func(k *till) string
			refused bool
		}{
			"another key":     {keyA, func(k *till) string { return checkpoint(k, keyB, nil) }, true},
			"another head":    {keyA, func(k *till) string { return checkpoint(k, keyA, func(c *chain.Checkpoint) { c.Head[0] ^= 1 }) }, true},
			"another number":  {keyA, func(k *till) string { return checkpoint(k, keyA, func(c *chain.Checkpoint) { c.Seq-- }) }, true},
			"a flipped bit":   {keyA, func(k *till) string { c := []byte(checkpoint(k, keyA, nil)); c[100] ^= 1; return string(c) }, true},
			"rubbish":         {keyA, func(*till) string { return "rubbish" }, true},
			"a newer version": {keyA, newer, false},
			"no key is known": {nil, func(k *till) string { return checkpoint(k, keyB, nil) }, false},
		} {
			k := newTill(t, "t1", r.key, nil)
			if r.key != nil {
				sign(k, keyA, nil)
			}
			good := k.last()
			k.sell(1, 100, 1)
			k.add(chain.TypeCheckpoint, r.payload(k))
			try := func(bug bug) error {
				b := newBench(t, bug)
				b.apply(k.message(1, good))
				if r.refused {
					return b.refuses(k.message(good+1, k.last()), CauseSignature)
				}
				c, v := b.apply(k.message(good+1, k.last()))
				if v != entered || c.Signed > good || b.g.tally.unverified != 1 {
					return fmt.Errorf("verdict %d, %+v, %+v", v, c, b.g.tally)
				}
				return nil
			}
			if err := try(noBug); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if r.refused && try(bugBlindKeys) == nil {
				t.Errorf("%s passes with the check left out too", name)
			}
		}
	})
	hole := func(k *till, b *bench, first, last uint64) {
		p := k.parcel(first, last)
		b.apply(prepare(wire.UpSubject(0, "s1", "t1", k.id), 1,
			bytesOf(t, &wire.Parcel{Journal: k.id, First: first, Last: last, Hole: true, Head: p.Head})))
	}
	t.Run("behind a hole", func(t *testing.T) {
		k := newTill(t, "t1", keyA, nil)
		sign(k, keyA, nil)
		for birth, want := range map[uint64]uint64{1: k.last() - 1, 0: 0} { // with it in the hole nobody knows the key
			b := newBench(t, noBug)
			if birth == 1 {
				b.apply(k.message(1, 1))
			}
			hole(k, b, birth+1, 4)
			if c, v := b.apply(k.message(5, k.last())); v != entered || c.Signed != want {
				t.Errorf("verdict %d, %+v", v, c)
			}
		}
	})
	t.Run("copied", func(t *testing.T) {
		for _, wrong := range []bool{false, true} {
			k := newTill(t, "t1", keyA, nil)
			key := keyA
			if wrong {
				key = keyB
			}
			sign(k, key, nil)
			n := newTill(t, "t1", nil, nil)
			n.copy(k, 1, k.last())
			m := n.message(1, n.last())
			b := newBench(t, noBug)
			if wrong {
				if err := b.refuses(m, CauseSignature); err != nil {
					t.Error(err)
				}
				continue
			}
			b.apply(m)
			if b.g.tally.signed != 1 {
				t.Errorf("%+v", b.g.tally)
			}
			if c, v := b.apply(k.message(1, k.last())); v != entered || c.Signed != k.last()-1 || c.Events != 3 || c.Copied != 3 {
				t.Errorf("verdict %d, %+v", v, c)
			}
		}
	})
}

// totals adds up what the hub's list of sales says.
func (r *rig) totals(path string) (sum, lines int) {
	r.t.Helper()
	w := r.get(path, r.h.api)
	for line := range strings.Lines(w.Body.String()) {
		var l struct {
			Journal, Head string
			Seq           uint64
			Copy          *struct {
				Journal string
				Seq     uint64
			}
			Event struct{ Data struct{ Total int } }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || len(l.Journal) != 32 || len(l.Head) != 64 || l.Copy != nil && l.Copy.Seq == 0 {
			r.t.Fatalf("%s: %v", line, err)
		}
		sum += l.Event.Data.Total
		lines++
	}
	return sum, lines
}

// TestCloneAtTheHub: a cloned till, its heirs and a stream that is read twice, all
// through a real server.
func TestCloneAtTheHub(t *testing.T) {
	f := newFamily(t)
	r := newRig(t, noBug)
	r.start()
	ship := func(ms []message) {
		for _, m := range ms {
			r.settle(r.publish(m.subject, m.body))
		}
	}
	ship(f.a.cut(5)[:2])
	ship(f.heir.cut(9))
	ship(f.grandheir.cut(4)[:3])
	ship(f.a.cut(5))
	r.stop()
	r.start()
	ship(f.grandheir.cut(4))
	if err := r.js.DeleteStream(context.Background(), r.h.shards[0].stream); err != nil {
		t.Fatal(err)
	}
	r.eventually("a new stream is read", func() bool { return r.h.m.restarts.Get() == 1 && r.h.shards[0].reading.Load() })
	ship(f.heir.cut(8))
	ship(f.a.cut(8))
	ship(f.grandheir.cut(8))
	if err := proves(r.h.ledger, f.expected("ong")); err != nil {
		t.Error(err)
	}
	want := 10*100 + 9*1000 + 6*7 + 5*30 + 5*31
	if sum, n := r.totals("/v1/events?store=s1&terminal=t1"); sum != want || n != 35 {
		t.Errorf("%d events over %d in all, want 35 and %d", n, sum, want)
	}
	origin := "/v1/events?journal=" + f.a.id.String()
	if sum, n := r.totals(origin); sum != 10*100+9*1000+6*7 || n != 25 {
		t.Errorf("%d events over %d of the first journal", n, sum)
	}
	// Whoever reads on behind the last number that he was given misses nothing.
	got, pages := map[string]bool{}, 0
	for after := ""; ; pages++ {
		body := r.get(origin+"&limit=1"+after, r.h.api).Body.String()
		if body == "" {
			break
		}
		for line := range strings.Lines(body) {
			var l struct{ Seq uint64 }
			if err := json.Unmarshal([]byte(line), &l); err != nil || got[line] {
				t.Fatalf("%s: %v", line, err)
			}
			got[line], after = true, fmt.Sprintf("&after=%d", l.Seq)
		}
	}
	if len(got) != 25 || pages != 19 { // six numbers were given by both histories
		t.Errorf("%d events in %d pages", len(got), pages)
	}
	for path, say := range map[string][]string{
		"/v1/events":     {fmt.Sprintf(`"copy":{"journal":"%s","seq":12},"event"`, f.heir.id)},
		"/v1/status":     {`"collisions":6`, `"copied":`, `"quarantined":0`, `"events":35`},
		"/v1/terminals":  {`"signed":`, `"reason":"clone"`, `"copied":`, `"public_key":`},
		"/v1/collisions": {`"receipt":"t1-1-14","event":{"journal":"` + f.a.id.String() + `","seq":14,`},
		"/metrics":       {"poshub_receipt_collisions 6", `poshub_copied_events_total{result="known"} `, `poshub_checkpoints_total{result="verified"}`},
	} {
		body := r.get(path, r.h.api).Body.String()
		for _, s := range say {
			if !strings.Contains(body, s) {
				t.Errorf("%s does not say %s: %s", path, s, body)
			}
		}
	}
	if n := strings.Count(r.get("/v1/collisions", r.h.api).Body.String(), "\n"); n != 12 {
		t.Errorf("%d lines of collisions, want 12", n)
	}
	if w := r.get("/v1/collisions", ""); w.Code != 401 {
		t.Errorf("collisions without a token: %d", w.Code)
	}
}

// TestHeldUntilRestart: the terminal of a refused copy is told to hold, and a hub
// that starts, perhaps of a newer release, lets it try again.
func TestHeldUntilRestart(t *testing.T) {
	n := newTill(t, "t1", nil, nil)
	n.add(chain.TypeCopy, "of a newer release")
	m := n.message(1, n.last())
	r := newRig(t, noBug)
	r.start()
	r.settle(r.publish(m.subject, m.body))
	if c := r.chain(n.id); !strings.HasPrefix(c.Held, "copy: ") {
		t.Errorf("%+v", c)
	}
	r.stop()
	r.start()
	r.eventually("released", func() bool { return r.chain(n.id).Held == "" })
	r.settle(r.publish(m.subject, m.body))
	if c := r.chain(n.id); c.Held == "" || r.h.quarantineCount() != 1 {
		t.Errorf("%+v, %d in quarantine", c, r.h.quarantineCount())
	}
}
