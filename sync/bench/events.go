package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/pos/event"
)

// shape says how the events of a journal stand in its groups.
type shape struct {
	name  string
	about string
	group func(r *rand.Rand) int // events of the next group
}

// A group takes a whole page, so how many events share one decides how many pages
// an uplink has to read for an event.
var shapes = []shape{
	{"single", "each event a group of its own: a till that rings up one thing after the other", func(*rand.Rand) int { return 1 }},
	{"mixed", "1 to 24 events a group, 8 on average: several front ends, a busy hour", func(r *rand.Rand) int {
		if r.IntN(4) == 0 {
			return 13 + r.IntN(12)
		}
		return 1 + r.IntN(7)
	}},
	{"full", "100 events a group: an import, or copies of an older journal", func(*rand.Rand) int { return 100 }},
}

// eventSize is the payload of an event, in bytes.
const eventSize = 300

// maker writes events of eventSize bytes that look like posd's: names repeat,
// hashes, keys and amounts do not.
type maker struct {
	rng *rand.Rand
	buf []byte
	n   int
}

func newMaker(seed uint64) *maker { return &maker{rng: rand.New(rand.NewPCG(seed, 300))} }

var goods = []string{"Bananas", "Rye bread", "Milk 1 l", "Diesel", "Crème brûlée", "Batteries AA", "Umbrella", "Coffee 500 g"}

// next is valid until the call after it.
func (m *maker) next() []byte {
	m.n++
	b := append(m.buf[:0], `{"v":1,"type":"basket.line","time":"2026-11-21T`...)
	b = fmt.Appendf(b, `%02d:%02d:%02d.%03dZ","clock":"synced","key":"%08x-%04x-4%03x-9%03x-%012x","front":"till-1","data":{"sale":"3f9a0c1e-%d","n":%d,`,
		9+m.n/3600%12, m.n/60%60, m.n%60, m.rng.IntN(1000), m.rng.Uint32(), m.rng.IntN(1<<16), m.rng.IntN(1<<12), m.rng.IntN(1<<12), m.rng.Uint64()>>16,
		m.n/5, 1+m.n%5)
	price, quantity := 1+m.rng.IntN(5000), 1+m.rng.IntN(4)
	b = fmt.Appendf(b, `"item":"%d","description":%q,"quantity":"%d","price":%d,"amount":%d,"note":"`,
		1000+m.rng.IntN(9000), goods[m.rng.IntN(len(goods))], quantity, price, price*quantity)
	for len(b) < eventSize-3 {
		b = strconv.AppendUint(b, uint64(m.rng.IntN(16)), 16)
	}
	m.buf = append(b[:eventSize-3], `"}}`...)
	return m.buf
}

// payload is what a record carries.
type payload []byte

// AppendRecord makes it the journal's.
func (p payload) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, p...), nil }

// fill appends n events in groups of the shape, each group durable before the next.
func fill(j *journal.Journal, m *maker, s shape, n int) error {
	for n > 0 {
		size := min(s.group(m.rng), n)
		var seq uint64
		for i := range size {
			class := journal.Soon // sealed with the last one of its group
			if i == size-1 {
				class = journal.Durable
			}
			var err error
			if seq, err = j.Append(event.RecordType, class, eventSize, payload(m.next())); err != nil {
				return err
			}
		}
		if err := j.Wait(context.Background(), seq); err != nil {
			return err
		}
		n -= size
	}
	return nil
}

const (
	store    = "s1"
	terminal = "t1"
)

// made describes a journal that an earlier run made.
type made struct{ Events int }

// makeJournal makes a journal of the seed with so many events below dir, or takes the one that
// is there. It is never settled, so no run changes what the next one reads.
func makeJournal(dir string, s shape, n int, seed uint64) (string, error) {
	name := fmt.Sprintf("journal-%s-%d", s.name, n)
	if seed > 1 {
		name += fmt.Sprint("-", seed)
	}
	dir = filepath.Join(dir, name)
	path, note := filepath.Join(dir, "journal"), filepath.Join(dir, "made.json")
	if b, err := os.ReadFile(note); err == nil {
		var was made
		if json.Unmarshal(b, &was) == nil && was.Events == n {
			return path, nil
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return "", err
	}
	if err := newJournal(path, store, terminal, 0, s, n, seed); err != nil {
		return "", err
	}
	b, err := json.Marshal(made{n})
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(note, b, 0o600)
}

// newJournal makes one and closes it.
func newJournal(path, store, terminal string, segment int64, s shape, n int, seed uint64) error {
	if _, err := journal.Create(path, journal.CreateOptions{Identity: journal.Identity{Store: store, Terminal: terminal}, SegmentSize: segment}); err != nil {
		return err
	}
	j, err := openJournal(path, segment)
	if err != nil {
		return err
	}
	return errors.Join(fill(j, newMaker(seed), s, n), j.Close())
}

// forget has the kernel drop what it holds of a journal.
func forget(dir string) error {
	return eachSegment(dir, func(f *os.File) error { return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) })
}

// fetch has the kernel hold all of a journal.
func fetch(dir string) error {
	return eachSegment(dir, func(f *os.File) error {
		_, err := io.Copy(io.Discard, f)
		return err
	})
}

func eachSegment(dir string, do func(*os.File) error) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err = errors.Join(do(f), f.Close()); err != nil {
			return err
		}
	}
	return err
}

func openJournal(path string, segment int64) (*journal.Journal, error) {
	// What a hub has settled in one run is kept: the next one reads the same journal.
	return journal.Open(path, journal.Options{SegmentSize: segment, MaxBytes: 64 << 30, ScrubEvery: -1, Retention: 1000 * time.Hour})
}
