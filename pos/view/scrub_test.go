package view

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"posd/pos/event"
)

// eventuallyRight waits until the index has been looked through or built anew.
func (r *rig) eventuallyRight() error {
	for deadline := within(r.t); ; time.Sleep(time.Millisecond) {
		r.stop()
		quiet := r.v.file != nil && r.v.left == 0
		r.run()
		if quiet || deadline.Err() != nil {
			return errors.Join(r.check(), deadline.Err())
		}
	}
}

// TestScrub: a name that leads nowhere, or elsewhere, is damage, though bbolt sees none.
func TestScrub(t *testing.T) {
	move := func(bucket []byte, from, to func(r *rig) []byte) func(r *rig) {
		return func(r *rig) {
			r.change(func(tx *bolt.Tx) error {
				b := tx.Bucket(bucket)
				val := append([]byte(nil), b.Get(from(r))...)
				if len(val) == 0 {
					t.Fatal("the control: nothing is there")
				}
				return errors.Join(b.Delete(from(r)), b.Put(to(r), val))
			})
		}
	}
	set := func(bucket []byte, of func(r *rig) []byte, seq int) func(r *rig) {
		return func(r *rig) {
			r.change(func(tx *bolt.Tx) error {
				b := tx.Bucket(bucket)
				val := append([]byte(nil), b.Get(of(r))...)
				copy(val, appendSeq(nil, r.seqs[seq]))
				return b.Put(of(r), val)
			})
		}
	}
	sale := func(r *rig) []byte { return []byte(event.SaleID(r.j.ID(), r.seqs[7])) }
	receipt := func(*rig) []byte { return []byte("T1-1-8") }
	key := func(*rig) []byte { k := idOf("key 7"); return k[:] }
	record := func(r *rig) []byte { return appendSeq(nil, r.seqs[7]) }
	other := func(*rig) []byte { return []byte("another name....") }
	for name, damage := range map[string]func(r *rig){
		"sale": move(bucketSale, sale, other), "receipt": move(bucketReceipt, receipt, other), "key": move(bucketKey, key, other),
		"sale elsewhere": set(bucketSale, sale, 3), "receipt to a newer one": set(bucketReceipt, receipt, 9), "key elsewhere": set(bucketKey, key, 3),
		"record": move(bucketSeq, record, func(*rig) []byte { return []byte{1} }),
		"record's names": func(r *rig) {
			r.change(func(tx *bolt.Tx) error { return tx.Bucket(bucketSeq).Put(record(r), []byte{3, 9, 'x'}) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newIndex(t, 5, 40)
			damage(r)
			r.open(Options{CommitEvents: 5})
			for deadline := within(t); !strings.Contains(r.logged(), "damaged") && deadline.Err() == nil; {
				time.Sleep(time.Millisecond)
			}
			if err := r.eventuallyRight(); err != nil {
				t.Error(err)
			}
			r.close()
			if !strings.Contains(r.log.String(), "index is damaged") {
				t.Errorf("log: %s", r.log.String())
			}
		})
	}
}

// A sale that the journal holds is not denied, even before the index is looked through.
func TestHiddenSale(t *testing.T) {
	r := newIndex(t, 5, 40)
	id := event.SaleID(r.j.ID(), r.seqs[7])
	r.change(func(tx *bolt.Tx) error { return tx.Bucket(bucketSale).Delete([]byte(id)) })
	v, err := Open(r.path(), r.j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if seq, ok, err := v.BySale(id); !ok || seq != r.seqs[7] || err != nil {
		t.Errorf("%d, %v, %v", seq, ok, err)
	}
	if _, ok, err := v.BySale("ffffffff-7"); ok || err != nil {
		t.Errorf("a sale that never was: %v, %v", ok, err)
	}
	if _, ok, err := v.BySale(event.SaleID(r.j.ID(), 1)); ok || err != nil {
		t.Errorf("a record that is no sale: %v, %v", ok, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedBits: whatever bit is flipped, an index that was looked through says what the
// journal holds. The control does not look through it.
func TestFlippedBits(t *testing.T) {
	r := newIndex(t, 50, 300)
	good, err := os.ReadFile(r.path())
	if err != nil {
		t.Fatal(err)
	}
	live := r.live()
	wrong := 0
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	files := 0
	for ; files < 25 || wrong == 0 && files < 500; files++ {
		bad := append([]byte(nil), good...)
		bad[live[rnd.IntN(len(live))]*4096+rnd.IntN(4096)] ^= 1 << rnd.IntN(8)
		r.put(bad)
		if r.wrong() {
			wrong++
		}
		r.put(bad)
		r.open(Options{CommitEvents: 50})
		if err := r.eventuallyRight(); err != nil {
			t.Errorf("seed %d: %v: %s", seed, err, r.log.String())
		}
		r.stop()
		r.v.retire()
		r.v = nil
	}
	t.Logf("without scrubbing, %d of %d answered wrongly", wrong, files)
	if wrong == 0 {
		t.Error("the control: bbolt notices everything")
	}
}

// put lays a file there. One that was given up stays locked as long as it is mapped.
func (r *rig) put(b []byte) {
	os.Remove(r.path())
	if err := os.WriteFile(r.path(), b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// live returns the pages that hold names.
func (r *rig) live() (list []int) {
	r.change(func(tx *bolt.Tx) error {
		for id := 2; ; id++ {
			p, err := tx.Page(id)
			if p == nil || err != nil {
				return err
			}
			if p.Type == "leaf" || p.Type == "branch" {
				list = append(list, id)
			}
		}
	})
	return list
}

// wrong says that a sale's receipt or key is not found in a file that seems to be good.
func (r *rig) wrong() bool {
	v, err := Open(r.path(), r.j, Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.retire()
	lost := 0
	for i, seq := range r.seqs {
		if seq > v.Applied() {
			continue
		}
		at, ok, err := v.ByReceipt(fmt.Sprint("T1-1-", i+1))
		if err == nil && (!ok || at != seq) {
			lost++
		}
		if i%3 == 2 {
			continue
		}
		at, ok, err = v.ByKey(fmt.Sprint("key ", i), 0)
		if err == nil && (!ok || at != seq) {
			lost++
		}
	}
	return lost > 0 && v.damaged.Load() == nil
}

// BenchmarkScrub is one look through the index of 30 days of 3,000 sales.
func BenchmarkScrub(b *testing.B) {
	const sales = 90_000
	f, err := openFile(filepath.Join(b.TempDir(), "view.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.close()
	var list []entry
	for i := range uint64(sales) {
		list = append(list, entry{seq: 6*i + 2, sale: fmt.Sprintf("3f9a0c1e-%d", 6*i+2), receipt: fmt.Sprintf("T1-1-%d", i), keyed: true, key: idOf(fmt.Sprint(i))})
		if len(list) == 512 || i == sales-1 {
			if err := f.commit(mark{}, list, 0, 0); err != nil {
				b.Fatal(err)
			}
			list = list[:0]
		}
	}
	b.ResetTimer()
	for b.Loop() {
		if err := f.read(func(tx *bolt.Tx) error {
			left, err := scrubDown(tx, math.MaxUint64, time.Now().Add(time.Hour))
			if left != 0 {
				b.Error(left)
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// What one burst does not come to, the next ones do.
func TestScrubGoesOn(t *testing.T) {
	r := newIndex(t, 5, 40)
	id := event.SaleID(r.j.ID(), r.seqs[1])
	r.change(func(tx *bolt.Tx) error { return tx.Bucket(bucketSale).Delete([]byte(id)) })
	f, err := openFile(r.path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	left, turns := uint64(math.MaxUint64), 0
	for left != 0 && err == nil {
		turns++
		err = f.read(func(tx *bolt.Tx) (err error) {
			left, err = scrubDown(tx, left, time.Time{}) // one record
			return err
		})
	}
	if !errors.Is(err, errDamaged) || turns < 10 {
		t.Errorf("%d turns, %v", turns, err)
	}
}

// An index is left alone after the start, then looked through, and again a day later.
func TestScrubIsDaily(t *testing.T) {
	r := newIndex(t, 5, 40)
	v, err := Open(r.path(), r.j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if wait := time.Until(v.calm); wait < scrubAfter/2 {
		t.Errorf("it waits for %v", wait)
	}
	if busy, err := v.scrub(); busy || err != nil {
		t.Errorf("at once: %v, %v", busy, err)
	}
	v.calm = time.Now()
	for v.left != 0 {
		if _, err := v.scrub(); err != nil {
			t.Fatal(err)
		}
	}
	if busy, _ := v.scrub(); busy {
		t.Error("it does not end")
	}
	v.scrubbed = time.Now().Add(-scrubEvery)
	if busy, err := v.scrub(); !busy || err != nil {
		t.Errorf("the next day: %v, %v", busy, err)
	}
}

// The look through the file lets others work.
func TestScrubGivesWay(t *testing.T) {
	r := newIndex(t, 5, 40)
	var ways atomic.Int64
	r.open(Options{Pace: func(<-chan struct{}) { ways.Add(1) }})
	if err := r.eventuallyRight(); err != nil {
		t.Error(err)
	}
	r.close()
	if ways.Load() == 0 {
		t.Error("it was looked through in one go")
	}
}

// A name that several records have had is no damage, whatever was committed and freed.
func TestScrubOfSharedNames(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		f, err := openFile(filepath.Join(t.TempDir(), "view.db"))
		if err != nil {
			t.Fatal(err)
		}
		seq, oldest, left := uint64(1), uint64(0), uint64(math.MaxUint64)
		for range 30 {
			var list []entry
			for range rnd.IntN(30) {
				seq += 1 + rnd.Uint64N(3)
				e := entry{seq: seq}
				switch rnd.IntN(4) {
				case 0:
					e.sale, e.receipt = fmt.Sprint("s-", seq), fmt.Sprint("T1-1-", rnd.IntN(40))
				case 1:
					e.receipt = fmt.Sprint("Z/", rnd.IntN(10))
				}
				if rnd.IntN(2) == 0 || e.receipt == "" {
					e.keyed, e.key = true, idOf(fmt.Sprint(rnd.IntN(60)))
				}
				list = append(list, e)
			}
			if rnd.IntN(3) == 0 {
				oldest += rnd.Uint64N(seq - oldest + 1)
			}
			if err := f.commit(mark{applied: seq}, list, oldest, 1+rnd.IntN(20)); err != nil {
				t.Fatal(err)
			}
			for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} { // one record, then all others
				if err := f.read(func(tx *bolt.Tx) (err error) {
					left, err = scrubDown(tx, left, until)
					return err
				}); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if left != 0 {
				t.Errorf("seed %d: left %d", seed, left)
			}
			left = math.MaxUint64
		}
		f.close()
	}
}
