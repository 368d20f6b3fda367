package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"posd/journal/chain"
)

var till = Identity{Store: "s1", Terminal: "t1"}

// payload is an Encoder for tests.
type payload []byte

func (p payload) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, p...), nil }

func testOptions() Options {
	return Options{Identity: till, SegmentSize: 64 << 10, Opening: func(dst []byte, seq uint64) []byte {
		return fmt.Appendf(dst, `{"before":%d}`, seq)
	}}
}

// newJournal makes and opens a journal; the test's end closes it.
func newJournal(t testing.TB, o Options) (*Journal, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	if _, err := Create(dir, CreateOptions{Identity: till, SegmentSize: o.SegmentSize, Opening: o.Opening}); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, o), dir
}

func reopen(t testing.TB, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, p []byte) uint64 {
	t.Helper()
	seq, err := j.Append(chain.TypeOwner, Durable, len(p), payload(p))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Wait(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

// contents reads all owner records.
func contents(t testing.TB, j *Journal) map[uint64]string {
	t.Helper()
	r, err := j.Reader(j.Oldest())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[uint64]string{}
	want := j.Oldest()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Seq != want {
			t.Fatalf("record %d where %d belongs", rec.Seq, want)
		}
		want++
		if rec.Type >= chain.TypeOwner {
			got[rec.Seq] = string(rec.Payload)
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	rng := rand.New(rand.NewPCG(1, 2))
	want := map[uint64]string{}
	for i := range 400 { // over several segments
		p := bytes.Repeat([]byte{byte('a' + i%26)}, rng.IntN(3000))
		seq, err := j.Append(chain.TypeOwner, Durable, rng.IntN(2000), payload(p)) // the hint is often wrong
		if err != nil {
			t.Fatal(err)
		}
		want[seq] = string(p)
		if rng.IntN(3) == 0 {
			if err := j.Wait(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := j.Stats().NextSeq - 1
	if err := j.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	seq, head := j.Floor()
	if seq != last {
		t.Fatalf("floor %d, want %d", seq, last)
	}
	check := func(j *Journal) {
		t.Helper()
		got := contents(t, j)
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for s, p := range want {
			if got[s] != p {
				t.Fatalf("record %d differs", s)
			}
		}
	}
	check(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = reopen(t, dir, o)
	if s, h := j.Floor(); s != seq || h != head {
		t.Fatalf("reopened at %d %s, want %d %s", s, h, seq, head)
	}
	if j.Recovered() != "" {
		t.Fatalf("orderly stop, but: %s", j.Recovered())
	}
	check(j)
	rep, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Last != seq || rep.Head != head || rep.First != 1 || rep.Segments < 5 {
		t.Fatalf("verify: %+v", rep)
	}
}

func TestHeadOfEveryRecord(t *testing.T) {
	j, dir := newJournal(t, testOptions())
	for i := range 300 {
		n := 1 + i%5
		for range n {
			if _, err := j.Append(chain.TypeOwner, Soon, 10, payload(fmt.Appendf(nil, "r%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, j, bytes.Repeat([]byte("x"), 900))
	}
	want := map[uint64]chain.Head{0: j.ID().Head0()}
	if _, err := Verify(t.Context(), dir, VerifyOptions{Each: func(r chain.Record, h chain.Head) error { want[r.Seq] = h; return nil }}); err != nil {
		t.Fatal(err)
	}
	for seq, h := range want {
		got, err := j.Head(seq)
		if err != nil || got != h {
			t.Fatalf("head of %d: %v, %v", seq, got, err)
		}
	}
	if _, err := j.Head(uint64(len(want))); !errors.Is(err, ErrBeyond) {
		t.Fatalf("head beyond the end: %v", err)
	}
}

func TestGroupsAreWholeAndTailing(t *testing.T) {
	j, _ := newJournal(t, testOptions())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := j.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var wg sync.WaitGroup
	const writers, each = 8, 100
	for range writers {
		wg.Go(func() {
			for range each {
				seq, err := j.Append(chain.TypeOwner, Durable, 200, payload(bytes.Repeat([]byte("y"), 200)))
				if err == nil {
					err = j.Wait(ctx, seq)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	head, next, owner := j.ID().Head0(), uint64(1), 0
	for owner < writers*each {
		g, err := r.NextGroup()
		if err == io.EOF {
			if err := j.WaitBeyond(ctx, next-1); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if g.First != next {
			t.Fatalf("group begins with %d, want %d", g.First, next)
		}
		for rest := g.Frames; len(rest) > 0; next++ {
			rec, more, err := chain.NextFrame(rest)
			if err != nil || rec.Seq != next {
				t.Fatalf("frame %d: %v", rec.Seq, err)
			}
			if rec.Type == chain.TypeOwner {
				owner++
			}
			head, rest = head.Next(rec.Frame), more
		}
		if head != g.Head || next != g.Last+1 {
			t.Fatalf("group up to %d does not continue the chain", g.Last)
		}
	}
	wg.Wait()
	if s := j.Stats(); s.Groups >= s.Records {
		t.Logf("no grouping happened: %+v", s)
	}
}

func TestOpeningStatesAndFreeing(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	for range 100 {
		mustAppend(t, j, bytes.Repeat([]byte("z"), 3000))
	}
	var rec chain.Record
	if err := j.Read(j.LastOpening(), func(r chain.Record) error { rec = r; return nil }); err != nil {
		t.Fatal(err)
	}
	if rec.Type != chain.TypeOpening || string(rec.Payload) != fmt.Sprintf(`{"before":%d}`, rec.Seq) {
		t.Fatalf("opening state %d: %q", rec.Type, rec.Payload)
	}
	r, err := j.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	seq, _ := j.Floor()
	j.Settle(seq)
	until(t, func() bool { mustAppend(t, j, []byte("tick")); return j.Stats().SpareReady })
	if j.Oldest() != 1 {
		t.Fatalf("freed under a reader: oldest is %d", j.Oldest())
	}
	r.Close()
	until(t, func() bool { return j.Stats().Segments <= 2 })
	if _, err := j.Reader(1); !errors.Is(err, ErrFreed) {
		t.Fatalf("reader of a freed record: %v", err)
	}
	used := j.Stats().SegmentBytes
	for range 100 { // recycled segments hold stale groups behind the new ones
		seq := mustAppend(t, j, bytes.Repeat([]byte("w"), 2500))
		j.Settle(seq)
	}
	until(t, func() bool { return j.Stats().Segments <= 2 })
	if now := j.Stats().SegmentBytes; now > used+2*o.SegmentSize {
		t.Fatalf("segments grew from %d to %d bytes", used, now)
	}
	if s := j.Stats(); s.Recycled == 0 {
		t.Fatalf("no segment was used again: %+v", s)
	}
	want := contents(t, j)
	j.Close()
	j = reopen(t, dir, o)
	if got := contents(t, j); len(got) != len(want) {
		t.Fatalf("%d records after reopening, want %d", len(got), len(want))
	}
	if _, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil {
		t.Fatal(err)
	}
}

// until polls a condition that background work brings about.
func until(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("condition was not reached in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRefusals(t *testing.T) {
	o := testOptions()
	o.SegmentSize = 1 << 20
	j, dir := newJournal(t, o)
	if _, err := Create(dir, CreateOptions{Identity: till}); !errors.Is(err, ErrExists) {
		t.Errorf("create over a journal: %v", err)
	}
	if _, err := Open(dir, o); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	before := j.Stats().NextSeq
	if _, err := j.Append(chain.TypeOwner, Durable, 1, payload(make([]byte, chain.MaxRecord+1))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	own := errors.New("encoder says no")
	if _, err := j.Append(chain.TypeOwner, Durable, 1, failing{own}); !errors.Is(err, own) {
		t.Errorf("failing encoder: %v", err)
	}
	if now := j.Stats().NextSeq; now != before {
		t.Errorf("refused records took numbers: %d → %d", before, now)
	}
	if seq := mustAppend(t, j, make([]byte, chain.MaxRecord)); seq != before {
		t.Errorf("largest record got %d, want %d", seq, before)
	}
	if err := j.Read(before+1, nil); !errors.Is(err, ErrBeyond) {
		t.Errorf("read beyond: %v", err)
	}
	j.Close()
	if _, err := j.Append(chain.TypeOwner, Durable, 1, payload("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	foreign := o
	foreign.Identity.Terminal = "t2"
	if _, err := Open(dir, foreign); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "absent"), o); !errors.Is(err, ErrNoJournal) {
		t.Errorf("absent: %v", err)
	}
	if _, err := Open(t.TempDir(), o); !errors.Is(err, ErrNoJournal) {
		t.Errorf("empty folder: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	le.PutUint16(raw[8:], version+1)
	reseal(raw)
	os.WriteFile(filepath.Join(dir, segmentName(1)), raw, 0o640)
	if _, err := Open(dir, o); !errors.Is(err, ErrNewer) {
		t.Errorf("newer: %v", err)
	}
}

type failing struct{ err error }

func (f failing) AppendRecord([]byte, uint64) ([]byte, error) { return nil, f.err }

// TestNoSpace: the budget is used up. Appends are refused, nothing happened,
// what is there can be read, and after settling it goes on.
func TestNoSpace(t *testing.T) { fullJournal(t, testOptions()) }

// TestNoSpaceLateSpare: the reserve is kept also where a segment is full before the
// next one was made.
func TestNoSpaceLateSpare(t *testing.T) {
	o := testOptions()
	o.SegmentSize = 1 << 20 // filled in several parts, each of which waits
	o.Pace = func(<-chan struct{}) { time.Sleep(200 * time.Millisecond) }
	fullJournal(t, o)
}

func fullJournal(t *testing.T, o Options) {
	o.MaxBytes = 3 * o.SegmentSize
	j, dir := newJournal(t, o)
	var last uint64
	var err error
	for range 1000 {
		var seq uint64
		if seq, err = j.Append(chain.TypeOwner, Durable, 3000, payload(bytes.Repeat([]byte("n"), 3000))); err != nil {
			break
		}
		if err := j.Wait(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		last = seq
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("full: %v", err)
	}
	if _, err := j.Append(chain.TypeOwner, Durable, 3000, payload(bytes.Repeat([]byte("n"), 3000))); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("still full: %v", err)
	}
	if seq, _ := j.Floor(); seq != last {
		t.Fatalf("floor %d, last acknowledged %d", seq, last)
	}
	// The reserve is there for what must be finished, and only for that.
	if !j.Stats().SpareReady {
		t.Fatal("no segment was kept in reserve")
	}
	seq, err := j.Append(chain.TypeOwner, Finishing, 3000, payload(bytes.Repeat([]byte("f"), 3000)))
	if err == nil {
		err = j.Wait(t.Context(), seq)
	}
	if err != nil {
		t.Fatalf("finishing on the full disk: %v", err)
	}
	for err == nil {
		seq, err = j.Append(chain.TypeOwner, Finishing, 3000, payload(bytes.Repeat([]byte("f"), 3000)))
		if err == nil {
			last = seq
		}
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("the reserve has an end: %v", err)
	}
	// A start on the full disk works too, and all that is held can be shipped.
	j.Close()
	j = reopen(t, dir, o)
	if got, _ := j.Floor(); got != last {
		t.Fatalf("reopened at %d, want %d", got, last)
	}
	contents(t, j)
	j.Settle(last)
	until(t, func() bool { return j.Stats().Freed > 0 && j.Stats().SpareReady })
	if seq := mustAppend(t, j, bytes.Repeat([]byte("n"), 3000)); seq <= last {
		t.Fatalf("went on with %d after %d", seq, last)
	}
}

func TestSoonRecordsBecomeDurable(t *testing.T) {
	j, _ := newJournal(t, testOptions())
	seq, err := j.Append(chain.TypeOwner, Soon, 4, payload("soon"))
	if err != nil {
		t.Fatal(err)
	}
	if floor, _ := j.Floor(); floor >= seq {
		t.Fatal("a soon record was synced at once")
	}
	if err := j.WaitBeyond(t.Context(), seq-1); err != nil { // does not urge
		t.Fatal(err)
	}
}

func TestWaiterMayLeave(t *testing.T) {
	j, _ := newJournal(t, testOptions())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.WaitBeyond(ctx, j.Stats().NextSeq); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled wait: %v", err)
	}
	seq, err := j.Append(chain.TypeOwner, Durable, 4, payload("left"))
	if err != nil {
		t.Fatal(err)
	}
	_ = j.Wait(ctx, seq)
	if err := j.Wait(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	o := testOptions()
	o.SegmentSize = 16 << 20
	j, _ := newJournal(t, o)
	var e Encoder = payload(bytes.Repeat([]byte("a"), 300))
	mustAppend(t, j, []byte("warm"))
	ctx := t.Context()
	n := testing.AllocsPerRun(500, func() {
		seq, err := j.Append(chain.TypeOwner, Durable, 300, e)
		if err == nil {
			err = j.Wait(ctx, seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n >= 1 {
		t.Errorf("%v allocations per durable append", n)
	}
	r, err := j.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n := testing.AllocsPerRun(400, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per record read", n)
	}
}

func BenchmarkDurable300(b *testing.B) {
	for _, writers := range []int{1, 8, 32} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			o := testOptions()
			o.SegmentSize = 4 << 20
			j, _ := newJournal(b, o)
			e := payload(bytes.Repeat([]byte("a"), 300))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						seq, err := j.Append(chain.TypeOwner, Durable, 300, e)
						if err == nil {
							err = j.Wait(context.Background(), seq)
						}
						if err != nil {
							b.Error(err)
							return
						}
						j.Settle(seq)
					}
				})
			}
			wg.Wait()
			s := j.Stats()
			b.ReportMetric(float64(s.Bytes)/float64(b.N), "syncedB/op")
			b.ReportMetric(float64(s.Records)/float64(s.Groups), "records/group")
		})
	}
}
