package view

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"posd/journal"
	"posd/pos"
	"posd/pos/event"
)

// rig is a real journal and an index of it.
type rig struct {
	t    testing.TB
	dir  string
	j    *journal.Journal
	v    *View
	n    int // sales made
	seqs map[int]uint64
	log  bytes.Buffer
	stop func()
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, dir: t.TempDir(), seqs: map[int]uint64{}}
	r.create()
	t.Cleanup(func() { r.close(); r.closeJournal() })
	return r
}

func (r *rig) create() {
	r.t.Helper()
	if _, err := journal.Create(filepath.Join(r.dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: 64 << 10}); err != nil {
		r.t.Fatal(err)
	}
	r.openJournal(journal.Options{SegmentSize: 64 << 10})
}

func (r *rig) openJournal(o journal.Options) {
	r.t.Helper()
	var err error
	if r.j, err = journal.Open(filepath.Join(r.dir, "journal"), o); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) closeJournal() {
	if r.j != nil {
		if err := r.j.Close(); err != nil {
			r.t.Error(err)
		}
		r.j = nil
	}
}

func (r *rig) path() string { return filepath.Join(r.dir, "view.db") }

// open opens the index and runs it.
func (r *rig) open(o Options) {
	r.t.Helper()
	r.log.Reset()
	o.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	o.calm = max(o.calm, 1)
	var err error
	if r.v, err = Open(r.path(), r.j, o); err != nil {
		r.t.Fatal(err)
	}
	r.run()
}

// newIndex is a rig whose index of so many sales is closed; it was committed in steps.
func newIndex(t *testing.T, commit, sales int) *rig {
	t.Helper()
	r := newRig(t)
	r.open(Options{CommitEvents: commit})
	r.sell(sales)
	r.mustCheck()
	r.close()
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := r.v.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.stop = func() { cancel(); wg.Wait() }
}

func (r *rig) close() {
	if r.v == nil {
		return
	}
	r.stop()
	if err := r.v.Close(); err != nil {
		r.t.Error(err)
	}
	r.v = nil
}

type encoder func(dst []byte, seq uint64) ([]byte, error)

func (e encoder) AppendRecord(dst []byte, seq uint64) ([]byte, error) { return e(dst, seq) }

func hashOf(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "body %d", i))
	return hex.EncodeToString(sum[:])
}

// sell journals n sales; every third carries no key.
func (r *rig) sell(n int) {
	r.t.Helper()
	var last uint64
	for range n {
		i := r.n
		r.n++
		h := event.Header{Time: time.Now(), Clock: event.ClockUnsynced}
		if i%3 != 2 {
			h.Key, h.Hash = fmt.Sprint("key ", i), hashOf(i)
		}
		seq, err := r.j.Append(event.RecordType, journal.Durable, 1000, encoder(func(dst []byte, seq uint64) ([]byte, error) {
			e := event.SaleCompleted{Sale: event.SaleID(r.j.ID(), seq), Receipt: fmt.Sprint("T1-1-", i+1), Currency: pos.Currency{Code: "EUR", Exponent: 2}}
			return e.AppendEvent(dst, h)
		}))
		if err != nil {
			r.t.Fatal(err)
		}
		r.seqs[i], last = seq, seq
	}
	if err := r.j.Wait(within(r.t), last); err != nil {
		r.t.Fatal(err)
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// check looks up every sale in all three ways. It is the oracle of all tests here.
func (r *rig) check() error {
	floor, _ := r.j.Floor()
	if err := r.v.WaitApplied(within(r.t), floor); err != nil {
		return err
	}
	oldest := r.j.Oldest()
	for i, want := range r.seqs {
		held := want >= oldest
		seq, ok, err := r.v.BySale(event.SaleID(r.j.ID(), want))
		if err != nil || ok != held || ok && seq != want {
			return fmt.Errorf("sale of record %d (held %v): %d %v %w", want, held, seq, ok, err)
		}
		seq, ok, err = r.v.ByReceipt(fmt.Sprint("T1-1-", i+1))
		if err != nil || ok != held || ok && seq != want {
			return fmt.Errorf("receipt of record %d: %d %v %w", want, seq, ok, err)
		}
		seq, ok, err = r.v.ByKey(fmt.Sprint("key ", i), 0)
		if keyed := i%3 != 2 && held; err != nil || ok != keyed || ok && seq != want {
			return fmt.Errorf("key of record %d: %d %v %w", want, seq, ok, err)
		}
	}
	if _, ok, err := r.v.BySale("ffffffff-1"); ok || err != nil {
		return fmt.Errorf("a sale that never was: %v %w", ok, err)
	}
	return nil
}

func (r *rig) mustCheck() {
	r.t.Helper()
	if err := r.check(); err != nil {
		r.t.Error(err)
	}
}

func TestFollows(t *testing.T) {
	r := newRig(t)
	r.open(Options{CommitEvents: 7})
	for range 5 {
		r.sell(10)
		r.mustCheck()
	}
	r.close()
	r.open(Options{})
	if at := r.v.Applied(); at < r.seqs[r.n-1] {
		t.Errorf("the file ends at %d, Close should have brought it to %d", at, r.seqs[r.n-1])
	}
	if strings.Contains(r.log.String(), "rebuilt") {
		t.Errorf("a good file was rebuilt: %s", r.log.String())
	}
	r.mustCheck()
	r.sell(3)
	r.mustCheck()
}

// TestLookupIsNotPaced: who waits for the index does not wait for its pacer.
func TestLookupIsNotPaced(t *testing.T) {
	r := newRig(t)
	r.sell(2000)
	paced := make(chan struct{}, 1)
	r.open(Options{Pace: func(done <-chan struct{}) {
		select {
		case paced <- struct{}{}:
		default:
		}
		<-done
	}})
	defer r.close()
	select {
	case <-paced:
	case <-time.After(time.Minute):
		t.Fatal("it was never paced: this test sees nothing")
	}
	floor, _ := r.j.Floor()
	if err := r.v.WaitApplied(within(t), floor); err != nil {
		t.Error(err)
	}
}

// TestUncommitted: what a killed process had not committed is read again.
func TestUncommitted(t *testing.T) {
	r := newRig(t)
	r.open(Options{})
	r.sell(20)
	r.mustCheck()
	r.stop()
	r.v.file.close() // as a kill does: without a commit
	r.v = nil
	r.open(Options{})
	r.mustCheck()
}

func TestCommitAfterTime(t *testing.T) {
	r := newRig(t)
	r.open(Options{CommitAfter: time.Millisecond})
	r.sell(1)
	for deadline := within(t); ; {
		var n int
		r.v.mu.RLock()
		n = len(r.v.sales)
		r.v.mu.RUnlock()
		if n == 0 && r.v.Applied() >= r.seqs[0] {
			break
		}
		if deadline.Err() != nil {
			t.Fatal("never committed")
		}
		time.Sleep(time.Millisecond)
	}
	r.mustCheck()
}

func TestRebuilds(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(r *rig)
		says   string
		aside  bool
	}{
		"missing": {func(r *rig) { os.Remove(r.path()) }, "it is new", false},
		"schema":  {func(r *rig) { r.poke(metaSchema, []byte{0, 99}) }, "schema 99", false},
		"journal": {func(r *rig) { r.poke(metaJournal, make([]byte, 16)) }, "belongs to journal 0000", false},
		"ahead":   {func(r *rig) { r.poke(metaApplied, appendSeq(nil, 1<<40)) }, "the journal ends at", false},
		"fork":    {func(r *rig) { r.poke(metaHead, bytes.Repeat([]byte{1}, 32)) }, "holds another record", false},
		"no mark": {func(r *rig) { r.poke(metaHead, []byte{1}) }, "it is new", false},
		"garbage": {func(r *rig) { r.write(0, bytes.Repeat([]byte("no bbolt"), 4096)) }, "damaged", true},
		"short":   {func(r *rig) { os.Truncate(r.path(), 1000) }, "damaged", true},
		"empty":   {func(r *rig) { os.Truncate(r.path(), 0) }, "it is new", false},
		"pages":   {func(r *rig) { r.write(2*4096, bytes.Repeat([]byte{0xff}, 64<<10)) }, "damaged", true},
		"tail":    {func(r *rig) { os.Truncate(r.path(), 2*4096) }, "damaged", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newIndex(t, 5, 40)
			c.damage(r)
			r.open(Options{CommitEvents: 5})
			r.mustCheck()
			r.sell(5)
			r.mustCheck()
			r.close()
			if log := r.log.String(); !strings.Contains(log, c.says) {
				t.Errorf("the log does not say %q: %s", c.says, log)
			}
			if _, err := os.Stat(r.path() + ".damaged"); (err == nil) != c.aside {
				t.Errorf("kept aside: %v, want %v", err == nil, c.aside)
			}
		})
	}
}

// TestIndexOfTheReleaseBefore is taken over. Where this release ran before that one, the
// receipts that it gave out are added; the control is the schema before it.
func TestIndexOfTheReleaseBefore(t *testing.T) {
	for _, c := range []struct {
		old     byte
		given   int
		rebuilt bool
	}{{schemaWithoutPapers, 0, false}, {schemaWithoutPapers, 3, false}, {schemaWithoutPapers, 30, true}, {schemaWithoutPapers - 1, 0, true}} {
		r := newRig(t)
		r.open(Options{CommitEvents: 5})
		r.sell(20)
		sale := event.SaleID(r.j.ID(), r.seqs[3])
		for n := range c.given {
			r.give(sale, n)
		}
		r.sell(20)
		r.mustCheck()
		r.close()
		r.poke(metaSchema, []byte{0, c.old})
		r.uncount()
		if c.old == schemaWithoutPapers {
			r.wantUncounted(sale)
		}
		for start := range 2 {
			r.open(Options{CommitEvents: 5})
			for end := time.Now().Add(time.Minute); !r.v.countsPapers() && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			r.mustCheck()
			r.wantReceipts(sale, c.given, max(0, c.given-1))
			r.sell(5)
			r.mustCheck()
			r.close()
			if got := strings.Contains(r.log.String(), "is rebuilt"); got != (c.rebuilt && start == 0) {
				t.Errorf("%+v: start %d: rebuilt %v: %s", c, start, got, r.log.String())
			}
		}
	}
}

// An old part of the journal that cannot be read does not stop the index of the release
// before, which is past it.
func TestIndexOfTheReleaseBeforeOverRot(t *testing.T) {
	r := newIndex(t, 5, 300)
	r.poke(metaSchema, []byte{0, schemaWithoutPapers})
	r.closeJournal()
	files, err := filepath.Glob(filepath.Join(r.dir, "journal", "0*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	r.openJournal(journal.Options{SegmentSize: 64 << 10})
	r.open(Options{CommitEvents: 5})
	r.sell(5)
	sale := event.SaleID(r.j.ID(), r.seqs[302])
	r.give(sale, 0)
	r.wantReceipts(sale, 1, 0)
	r.close()
	if !strings.Contains(r.log.String(), "cannot tell of all receipts") || strings.Contains(r.log.String(), "stands still") {
		t.Errorf("the control: nothing was damaged, or the index stands still: %s", r.log.String())
	}
}

// wantUncounted opens an index of the release before, but does not let it run: nobody has
// looked for receipts yet, and all else is known.
func (r *rig) wantUncounted(sale string) {
	r.t.Helper()
	v, err := Open(r.path(), r.j, Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := v.Receipts(sale); !errors.Is(err, ErrRebuilding) {
		r.t.Errorf("receipts are counted before anybody has looked: %v", err)
	}
	if _, ok, err := v.BySale(sale); !ok || err != nil {
		r.t.Errorf("sale %s: %v, %v", sale, ok, err)
	}
	if err := v.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// uncount forgets the receipts that were given out, which the release before passes over.
func (r *rig) uncount() {
	r.change(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketBack)
		return b.ForEach(func(k, _ []byte) error {
			if !bytes.HasSuffix(k, []byte{0, 0, 0, 0, 0}) {
				return nil
			}
			return b.Delete(k)
		})
	})
}

// poke changes a value of the mark.
func (r *rig) poke(key, value []byte) {
	r.change(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(key, value) })
}

func (r *rig) change(fn func(*bolt.Tx) error) {
	db, err := bolt.Open(r.path(), 0o600, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) write(at int64, b []byte) {
	f, err := os.OpenFile(r.path(), os.O_WRONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		r.t.Fatal(err)
	}
}

// TestDamageWhileOpen: pages go bad under an open index. Lookups say that they
// cannot know, and the index comes back by itself.
func TestDamageWhileOpen(t *testing.T) {
	r := newRig(t)
	r.open(Options{CommitEvents: 5})
	r.sell(200)
	r.mustCheck()
	info, err := os.Stat(r.path())
	if err != nil {
		t.Fatal(err)
	}
	r.write(2*4096, bytes.Repeat([]byte{0xff}, int(info.Size())-2*4096))
	seen := false
	for deadline := within(t); deadline.Err() == nil; {
		r.sell(1)
		err := r.check()
		if err == nil && seen {
			break
		}
		if err != nil && !errors.Is(err, ErrRebuilding) {
			t.Fatal(err)
		}
		seen = seen || err != nil || strings.Contains(r.logged(), "damaged")
	}
	if !seen {
		t.Error("the damage was not noticed")
	}
	r.mustCheck()
}

// logged waits for nothing: the log is written by Run, read between its steps.
func (r *rig) logged() string {
	r.v.mu.RLock()
	defer r.v.mu.RUnlock()
	if _, err := os.Stat(r.path() + ".damaged"); err == nil {
		return "damaged"
	}
	return ""
}

// TestCheckSees is the control of check: an index that lacks one event fails it.
func TestCheckSees(t *testing.T) {
	r := newRig(t)
	r.open(Options{})
	r.sell(10)
	r.mustCheck()
	r.v.mu.Lock()
	delete(r.v.keys, idOf("key 4"))
	r.v.mu.Unlock()
	if r.check() == nil {
		t.Error("a missing key was not noticed")
	}
}

// TestFreed: entries of freed segments go away, a few with each commit.
func TestFreed(t *testing.T) {
	r := newRig(t)
	r.closeJournal()
	r.openJournal(journal.Options{SegmentSize: 64 << 10, Retention: time.Nanosecond})
	r.open(Options{CommitEvents: 20})
	first := r.j.Oldest()
	for deadline := within(t); r.j.Oldest() < first+100; {
		r.sell(10)
		floor, _ := r.j.Floor()
		r.j.Settle(floor)
		if deadline.Err() != nil {
			t.Fatalf("the journal still begins at %d", r.j.Oldest())
		}
	}
	r.eventuallyCheck(t)
	r.sell(100)
	r.eventuallyCheck(t)
	oldest := r.j.Oldest()
	r.sell(100) // five commits, which drop more than there can be: the journal may just have moved on
	r.eventuallyCheck(t)
	r.close()
	db, err := bolt.Open(r.path(), 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.View(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(bucketSeq).Cursor().First()
		if seq, _ := seqOf(k); seq < oldest {
			t.Errorf("the index still knows record %d, the journal begins at %d", seq, oldest)
		}
		if n, want := tx.Bucket(bucketSale).Stats().KeyN, tx.Bucket(bucketSeq).Stats().KeyN; n != want {
			t.Errorf("%d sales, %d records", n, want)
		}
		return nil
	})
}

// eventuallyCheck is mustCheck beside a journal that frees meanwhile.
func (r *rig) eventuallyCheck(t *testing.T) {
	for deadline := within(t); ; time.Sleep(time.Millisecond) {
		err := r.check()
		if err == nil {
			return
		}
		if deadline.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: commits fail for a while; lookups stay right, sales go on, and
// memory stays bounded.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	r.open(Options{CommitEvents: 4, retry: 10 * time.Millisecond})
	r.sell(10)
	r.mustCheck()
	r.stop()
	r.v.file.db.MaxSize = 1 // bbolt refuses to grow, as on a full disk
	for !r.v.refused {      // the file has free pages for a while
		r.run()
		r.sell(1)
		r.mustCheck()
		r.stop()
	}
	r.run()
	r.mustCheck() // from memory
	r.sell(600)
	r.stop()
	if n := len(r.v.late); n < r.v.most() || n > r.v.most()+1000 {
		t.Errorf("%d events in memory", n)
	}
	if !strings.Contains(r.log.String(), "kept in memory") || !strings.Contains(r.log.String(), "stands still") {
		t.Errorf("log: %s", r.log.String())
	}
	r.v.file.db.MaxSize = 0
	r.run()
	r.mustCheck()
}

func TestWaitEnds(t *testing.T) {
	r := newRig(t)
	r.open(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.v.WaitApplied(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSecondProcess(t *testing.T) {
	r := newRig(t)
	r.open(Options{})
	if _, err := Open(r.path(), r.j, Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
}

func FuzzSaleNames(f *testing.F) {
	e := event.SaleCompleted{Sale: "3f9a0c1e-1042", Receipt: `T"1-1-7`}
	f.Add(e.AppendData(nil))
	f.Add([]byte(`{"receipt":"b","x":{"sale":[1]},"sale":"a"}`))
	f.Add([]byte(`{"sale":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		sale, receipt, err := saleNames(b)
		if err == nil && (sale == "" || receipt == "" || len(sale) > maxName || len(receipt) > maxName) {
			t.Errorf("%q gives %q %q", b, sale, receipt)
		}
	})
}

func FuzzSeqValue(f *testing.F) {
	e := entry{sale: "a-1", receipt: "T-1-1", keyed: true, key: idOf("k")}
	f.Add(e.appendSeqValue(nil))
	f.Add([]byte{255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := parseSeqValue(b)
		if !ok {
			return
		}
		again := entry{sale: string(n[0]), receipt: string(n[1]), keyed: len(n[2]) > 0}
		copy(again.key[:], n[2])
		if got := again.appendSeqValue(nil); !bytes.Equal(got, b) {
			t.Errorf("%x is read and written as %x", b, got)
		}
	})
}
