package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"posd/packaging/lab/figures"
	"posd/packaging/lab/place"

	"golang.org/x/sys/unix"
)

// What is measured of our journal alone.

// measureFirstFill counts from before the journal is made until its first
// segment is used again.
func measureFirstFill(t task) (any, error) {
	device, err := place.Count(t.Dir, t.Counter)
	if err != nil {
		return nil, err
	}
	s, err := createOurs(t.Dir)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var out sample
	for r := newRecord(0); s.rolled() == 0; out.Commits++ {
		if err := s.commit(r); err != nil {
			return nil, err
		}
	}
	out.Bytes, err = device.Bytes()
	return out, err
}

// recordsPerGroup fill a page: as many groups as fit into a segment. A start
// reads only the newest segment, so the groups before are larger, to save time.
const (
	recordsPerGroup      = 12
	recordsPerOlderGroup = 20 * recordsPerGroup
	recordsInNewest      = recordsPerGroup * (4 << 20) / pageSize
)

// fillJournal makes a journal with t.Commits records, none of them settled, and
// says how many segments it has.
func fillJournal(t task) (any, error) {
	s, err := createOurs(t.Dir)
	if err != nil {
		return nil, err
	}
	r := newRecord(0)
	for left := t.Commits; left > 0; {
		n := recordsPerOlderGroup
		if left <= recordsInNewest {
			n = min(recordsPerGroup, left)
		}
		if _, err := s.appendMany(r, n); err != nil {
			return nil, err
		}
		left -= n
	}
	return s.j.Stats().Segments, nil
}

// measureOpen is in ms.
func measureOpen(t task) (any, error) {
	begin := time.Now()
	s, err := openOurs(t.Dir, 0)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	if last, _ := s.j.Floor(); last < uint64(t.Commits) {
		return nil, fmt.Errorf("%d records of %d are left", last, t.Commits)
	}
	return float64(took.Microseconds()) / 1e3, nil
}

// openTime is the median of five starts after a cut, in ms: the process that
// had the journal open was killed, its pages are dropped, and the lock
// file names another boot, as after a loss of power.
func (p *bench) openTime(ctx context.Context, records int) (ms float64, segments int, err error) {
	dir, err := os.MkdirTemp(p.Dir, "open")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	t := task{Contender: oursName, Procs: 2, Env: []string{goMemory}, Commits: records, Dir: dir, Die: true}
	t.Kind = "fill"
	if err := p.do(ctx, t, &segments); err != nil {
		return 0, 0, err
	}
	t.Kind = "open"
	var times []float64
	for range 5 {
		lock := []byte("1 00000000-0000-0000-0000-000000000000 open\n")
		if err := os.WriteFile(filepath.Join(dir, "journal", "lock"), lock, 0o640); err != nil {
			return 0, 0, err
		}
		if err := dropPages(filepath.Join(dir, "journal")); err != nil {
			return 0, 0, err
		}
		var took float64
		if err := p.do(ctx, t, &took); err != nil {
			return 0, 0, err
		}
		times = append(times, took)
	}
	return figures.Median(times), segments, nil
}

// dropPages has the kernel forget the pages of the files in dir, and nobody
// else's: to drop all caches of a busy machine can take minutes.
func dropPages(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// recent is how many of the newest records are read at random.
const recent = 1000

// serveReads answers each byte that comes from the parent with one record's
// read. One writer commits meanwhile if the task says so.
func serveReads(t task) (any, error) {
	s, err := createOurs(t.Dir)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := warmOurs(s); err != nil {
		return nil, err
	}
	if _, err := drive(s, 1, 2*recent, time.Minute); err != nil { // groups as a till makes them
		return nil, err
	}
	conn, err := net.Dial("unix", t.Socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var stop atomic.Bool
	written := make(chan error, 1)
	go func() {
		var err error
		for r := newRecord(0); t.Busy && err == nil && !stop.Load(); {
			err = s.commit(r)
		}
		written <- err
	}()
	reads, err := s.answer(conn)
	stop.Store(true)
	return reads, errors.Join(err, <-written)
}

func (s *ours) answer(conn net.Conn) (reads int, err error) {
	var b [1]byte
	for ; ; reads++ {
		if _, err := conn.Read(b[:]); err == io.EOF {
			return reads, nil
		} else if err != nil {
			return reads, err
		}
		last, _ := s.j.Floor()
		r, err := s.j.Reader(last - rand.Uint64N(recent))
		if err != nil {
			return reads, err
		}
		rec, err := r.Next()
		if err == nil {
			copy(b[:], rec.Payload) // an opening state is empty here
			_, err = conn.Write(b[:])
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return reads, err
		}
	}
}

// readP99 asks for n reads, about one a millisecond, over a socket, as a till
// would: from another core, so that only the answer waits for the board's one
// core. In µs.
func (p *bench) readP99(ctx context.Context, procs, n int, busy bool) (float64, error) {
	dir, err := os.MkdirTemp("", "bench-journal-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket")})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	latencies := make(chan []time.Duration, 1)
	go func() { latencies <- ask(l, n) }()
	var reads int
	t := task{Kind: "reads", Contender: oursName, Procs: procs, Env: []string{goMemory}, Busy: busy, Socket: l.Addr().String()}
	if err := p.do(ctx, t, &reads); err != nil {
		return 0, err
	}
	l.Close()
	d := <-latencies
	if len(d) != n {
		return 0, fmt.Errorf("%d reads of %d were answered", len(d), n)
	}
	return quantile(d, 0.99), nil
}

func ask(l *net.UnixListener, n int) (d []time.Duration) {
	l.SetDeadline(time.Now().Add(30 * time.Second))
	conn, err := l.Accept()
	if err != nil {
		return nil
	}
	defer conn.Close()
	var b [1]byte
	for range n {
		time.Sleep(time.Millisecond)
		begin := time.Now()
		if _, err := conn.Write(b[:]); err != nil {
			return d
		}
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return d
		}
		d = append(d, time.Since(begin))
	}
	return d
}

// measureMemory is how far the process's anonymous memory has grown, in KiB,
// over t.Commits commits, at its largest.
func measureMemory(t task) (any, error) {
	debug.FreeOSMemory()
	before, err := anonymous()
	if err != nil {
		return nil, err
	}
	s, err := createOurs(t.Dir)
	if err != nil {
		return nil, err
	}
	if t.Busy {
		if err := s.close(); err != nil {
			return nil, err
		}
		if s, err = openOurs(t.Dir, time.Second); err != nil {
			return nil, err
		}
	}
	defer s.close()
	largest := 0.0
	for range t.Commits / 100 {
		if _, err := drive(s, 1, 100, time.Minute); err != nil {
			return nil, err
		}
		now, err := anonymous()
		if err != nil {
			return nil, err
		}
		largest = math.Max(largest, now-before)
	}
	return largest, nil
}

// anonymous is the process's RssAnon in KiB.
func anonymous() (float64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		}
	}
	return 0, errors.New("/proc/self/status has no RssAnon")
}
