package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/journal/chain"
	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
	"posd/journal/lab"
)

// Player runs the journal on a mounted file system, in a process of its own:
// it may be killed, and a page fault that waits for the FUSE server must not
// stop that server.
type Player struct{}

// Till is what the lives of one journal have in common.
type Till struct {
	Dir               string // of the journal
	Reports           string // FUSE file
	Bug               hook.Bug
	Segment, MaxBytes int64
	Heard             []byte // reports so far, of a Life and of a Trial
}

// Life is one run from start to stop.
type Life struct {
	Till
	Seed     uint64
	Duration time.Duration
	Create   bool
	Suicide  bool // SIGKILL at a moment when names have changed
}

// Lived is how a life ended, if it was not killed.
type Lived struct {
	Kind    lab.Kind // of the start
	Why     string
	Failed  bool   // a sync failed
	Closed  string // what Close said
	Records int
}

// opening is the owner's state; the oracle checks its content.
func opening(dst []byte, seq uint64) []byte { return fmt.Appendf(dst, "state before record %d", seq) }

func (t *Till) oracle() *lab.Oracle {
	o := &lab.Oracle{Opening: opening}
	for b := t.Heard; len(b) > 0; b = b[reportSize:] {
		switch e := decodeReport(b); e.kind {
		case intended:
			o.Appended(e.seq, e.sum)
		case acked:
			o.Acknowledged(e.seq)
		case noted:
			o.Noted(e.seq)
		case settled:
			o.Settled(e.seq)
		case restarted:
			o.Restarted(e.seq)
		}
	}
	return o
}

// exists says whether Create had returned.
func (t *Till) exists() bool { return len(t.Heard) > 0 }

func (t *Till) options() journal.Options {
	return journal.Options{SegmentSize: t.Segment, MaxBytes: t.MaxBytes, Opening: opening, Lab: &hook.Lab{Bug: t.Bug}}
}

// open opens the journal. Where the lab must stand between journal and file
// system, that costs the lock, which nobody else wants here.
func (t *Till) open(afterName func(bool)) (*journal.Journal, func(), error) {
	o := t.options()
	if afterName == nil {
		j, err := journal.Open(t.Dir, o)
		return j, func() {}, err
	}
	d, err := disk.OpenDir(t.Dir)
	if err != nil {
		return nil, func() {}, err
	}
	o.Lab.FS = between{d, afterName}
	j, err := journal.Open(t.Dir, o)
	return j, func() { d.Close() }, err
}

// reporter writes to the device's log.
type reporter struct{ f *os.File }

func (t *Till) reporter() (reporter, error) {
	f, err := os.OpenFile(t.Reports, os.O_WRONLY, 0)
	return reporter{f}, err
}

func (r reporter) say(k kind, seq uint64, s lab.Sum) error {
	_, err := r.f.Write(entry{kind: k, seq: seq, sum: s}.appendTo(nil))
	return err
}

// payload reports itself before the record can be durable.
type payload struct {
	b []byte
	r reporter
}

func (p payload) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	if err := p.r.say(intended, seq, lab.SumOf(p.b)); err != nil {
		return nil, err
	}
	return append(dst, p.b...), nil
}

// Live starts the journal, judges the start, plays a load and stops in order.
func (*Player) Live(l Life, out *Lived) error {
	r, err := l.reporter()
	if err != nil {
		return err
	}
	defer r.f.Close()
	if l.Create {
		if _, err := journal.Create(l.Dir, journal.CreateOptions{Identity: identity, SegmentSize: l.Segment, Opening: opening}); err != nil {
			return err
		}
		if err := r.say(created, 2, 0); err != nil {
			return err
		}
	}
	j, release, err := l.open(l.afterName())
	defer release()
	if v := l.oracle().Start(j, err); v.Kind != lab.OK {
		out.Kind, out.Why = v.Kind, v.Why.Error()
		if j != nil {
			j.Close()
		}
		return nil
	}
	floor, _ := j.Floor()
	if err := r.say(restarted, floor, 0); err != nil {
		return err
	}
	l.play(j, r, out)
	out.Failed = j.Err() != nil
	if err := j.Close(); err != nil {
		out.Failed, out.Closed = true, err.Error()
		return nil
	}
	floor, _ = j.Floor()
	r.say(acked, floor, 0)
	r.say(noted, floor, 0)
	return nil
}

var identity = journal.Identity{Store: "s1", Terminal: "t1"}

// play runs writers and those who disturb them until the time is over.
func (l *Life) play(j *journal.Journal, r reporter, out *Lived) {
	ctx, cancel := context.WithTimeout(context.Background(), l.Duration)
	defer cancel()
	rng := rand.New(rand.NewPCG(l.Seed, 1))
	var wg, others sync.WaitGroup
	var records atomic.Int64
	for w := range 1 + rng.IntN(4) {
		wg.Go(func() { l.writer(ctx, j, r, rand.New(rand.NewPCG(l.Seed, uint64(100+w))), &records) })
	}
	others.Go(func() { l.settler(ctx, j, r, rand.New(rand.NewPCG(l.Seed, 2))) })
	others.Go(func() { l.flusher(ctx, rand.New(rand.NewPCG(l.Seed, 3))) })
	wg.Wait()
	cancel()
	others.Wait()
	out.Records = int(records.Load())
}

// size of a payload: small sales mostly, up to 20 KB.
func (l *Life) size(rng *rand.Rand) int {
	n := rng.IntN(600)
	switch rng.IntN(10) {
	case 0:
		n = rng.IntN(20 << 10)
	case 1, 2:
		n = rng.IntN(5000)
	}
	return min(n, int(l.Segment)/4-64)
}

func (l *Life) writer(ctx context.Context, j *journal.Journal, r reporter, rng *rand.Rand, records *atomic.Int64) {
	pause := time.Duration(rng.IntN(4)) * time.Millisecond
	for ctx.Err() == nil {
		p := make([]byte, l.size(rng))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		class := journal.Class(rng.IntN(4) / 3)
		seq, err := j.Append(chain.TypeOwner, class, len(p), payload{p, r})
		switch {
		case errors.Is(err, journal.ErrNoSpace): // nothing is settled yet
			time.Sleep(5 * time.Millisecond)
			continue
		case err != nil:
			return
		}
		records.Add(1)
		if class == journal.Durable && rng.IntN(5) > 0 {
			if j.Wait(context.Background(), seq) != nil {
				return
			}
			if r.say(acked, seq, 0) != nil {
				return
			}
		}
		if pause > 0 && rng.IntN(3) == 0 {
			time.Sleep(time.Duration(rng.Int64N(int64(pause))))
		}
	}
}

// settler lets segments be freed and used again.
func (l *Life) settler(ctx context.Context, j *journal.Journal, r reporter, rng *rand.Rand) {
	var last uint64
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		floor, _ := j.Floor()
		if seq := floor - min(floor, uint64(rng.IntN(200))); seq > last {
			last = seq
			r.say(settled, seq, 0)
			j.Settle(seq)
		}
	}
}

// afterName is what happens when a file of the journal has got another name and
// the folder was not synced yet: perhaps this process is killed.
func (l *Life) afterName() func(bool) {
	if !l.Suicide {
		return nil
	}
	rng := rand.New(rand.NewPCG(l.Seed, 4))
	return func(renamed bool) {
		if rng.IntN(6) == 0 || renamed && rng.IntN(2) == 0 {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
}

// flusher lets pages reach the device before anybody synced them, as the
// kernel does whenever it wants memory back.
func (l *Life) flusher(ctx context.Context, rng *rand.Rand) {
	kinds := []int{12, 10}[rng.IntN(2)] // in every other life metadata is left alone
	for ctx.Err() == nil {
		names, err := filepath.Glob(filepath.Join(l.Dir, "*"))
		if err != nil || len(names) == 0 {
			return
		}
		name := names[len(names)-1-rng.IntN(min(3, len(names)))]
		if f, err := os.Open(name); err == nil {
			const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
			switch rng.IntN(kinds) {
			case 10:
				unix.Syncfs(int(f.Fd()))
			case 11:
				f.Sync()
			default:
				unix.SyncFileRange(int(f.Fd()), 0, 0, all)
			}
			f.Close()
		}
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Microsecond)
	}
}

// Hold maps a file and reads all of it, so that its pages stay in the page cache
// for as long as this process lives.
func (*Player) Hold(path string, _ *struct{}) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Mlock(b)
}

// Fill opens the journal, has records of these sizes acknowledged, and leaves it
// open: whoever kills this process then has a journal without a floor note of
// its end.
func (*Player) Fill(t Till, last *uint64) error {
	j, err := journal.Open(t.Dir, t.options())
	if err != nil {
		return err
	}
	for range 5 {
		if *last, err = put(j, 300); err != nil {
			return err
		}
	}
	return nil
}

type plain []byte

func (p plain) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, p...), nil }

// put has one record of n bytes acknowledged.
func put(j *journal.Journal, n int) (uint64, error) {
	seq, err := j.Append(chain.TypeOwner, journal.Durable, n, plain(bytes.Repeat([]byte("x"), n)))
	if err == nil {
		err = j.Wait(context.Background(), seq)
	}
	return seq, err
}
