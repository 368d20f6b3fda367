package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"posd/journal"
	"posd/journal/chain"
)

const (
	freeMost = 256 // entries dropped with one commit: their keys lie on as many pages
	// burst is how long catching up may hold the processor at a time, so that sales
	// go on under a CPU quota.
	burst = time.Millisecond
)

// Run follows the journal until ctx ends or the journal closes, then returns
// nil. Other errors are final.
func (v *View) Run(ctx context.Context) error {
	v.work.Lock()
	defer v.work.Unlock()
	for {
		err := v.follow(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, journal.ErrClosed):
			return nil
		case v.damaged.Load() != nil:
			err = *v.damaged.Load()
			v.retire()
			err = v.replace(err, true)
		case errors.Is(err, journal.ErrFailed):
			return nil // the process is about to end; what the index lacks, it reads again
		case errors.Is(err, errDamaged):
			v.retire()
			err = v.replace(err, true)
		case errors.Is(err, errPapers):
			v.retire()
			err = v.replace(err, false)
		case errors.Is(err, journal.ErrFreed):
			v.retire()
			err = v.replace(errors.New("the journal has freed what the index had not read"), false)
		}
		if err != nil {
			v.o.Log.Error("index stands still, sales go on", "error", err, "again in", v.o.retry.String())
			if !sleep(ctx, v.o.retry) {
				return nil
			}
		}
	}
}

// retire takes the present file out of use. Readers hold v.mu while they are
// inside it.
func (v *View) retire() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.file != nil {
		v.file.abandon()
	}
	v.file = nil
}

// follow applies group after group. It returns at the first error.
func (v *View) follow(ctx context.Context) error {
	ctx, stir := context.WithCancel(ctx)
	defer stir()
	v.mu.Lock()
	v.stir = stir
	v.mu.Unlock()
	if err := v.ready(); err != nil {
		return err
	}
	if err := v.adopt(ctx); err != nil {
		return err
	}
	r, err := v.j.Reader(v.Applied() + 1)
	if err != nil {
		return fmt.Errorf("index: read journal: %w", err)
	}
	defer r.Close()
	r.DropBehind()
	began := time.Now()
	for ctx.Err() == nil {
		g, err := r.NextGroup()
		if errors.Is(err, io.EOF) {
			if err := v.idle(ctx); err != nil {
				return err
			}
			began = time.Now()
			continue
		}
		if err != nil {
			return fmt.Errorf("index: read journal: %w", err)
		}
		if err := r.Guard(func() error { v.apply(g); return nil }); err != nil {
			return fmt.Errorf("index: read journal: %w", err)
		}
		if v.full() || v.overdue() {
			if err := v.tryCommit(); err != nil {
				return err
			}
		}
		if time.Since(began) > burst {
			v.giveWay(ctx)
			began = time.Now()
		}
	}
	return ctx.Err()
}

// giveWay lets others work, unless a lookup waits for the index; one that comes
// meanwhile ends it.
func (v *View) giveWay(ctx context.Context) {
	ctx, hurry := context.WithCancel(ctx)
	defer hurry()
	v.mu.Lock()
	if v.waiting > 0 {
		v.mu.Unlock()
		return
	}
	v.hurry = hurry
	v.mu.Unlock()
	v.o.Pace(ctx.Done())
}

// ready makes sure that there is a file, and room in memory for another group.
func (v *View) ready() error {
	if v.file == nil {
		return v.replace(errors.New("the last try failed"), false)
	}
	if len(v.late) >= v.most() {
		return v.commit()
	}
	return nil
}

// most bounds what memory holds of events that cannot be committed, one group more.
func (v *View) most() int { return 4 * v.o.CommitEvents }

// tryCommit commits. A full disk is not an error as long as memory has room:
// sales made meanwhile can be found.
func (v *View) tryCommit() error {
	err := v.commit()
	if err == nil || errors.Is(err, errDamaged) || len(v.late) >= v.most() {
		return err
	}
	v.o.Log.Warn("index cannot be written, it is kept in memory", "error", err, "again in", v.o.retry.String())
	v.due = time.Now().Add(v.o.retry)
	v.refused = true
	return nil
}

// idle waits for the journal to grow; a commit that falls due comes first.
func (v *View) idle(ctx context.Context) error {
	if v.overdue() {
		return v.tryCommit()
	}
	if busy, err := v.scrub(); busy {
		v.giveWay(ctx)
		return err
	}
	wait := ctx
	if !v.due.IsZero() {
		timed, cancel := context.WithDeadline(ctx, v.due)
		defer cancel()
		wait = timed
	}
	err := v.j.WaitBeyond(wait, v.Applied())
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil // due
	}
	return err
}

// full says that a commit is worth it; after one that failed, its time decides.
func (v *View) full() bool {
	return len(v.late) >= v.most() || len(v.late) >= v.o.CommitEvents && !v.refused
}

func (v *View) overdue() bool { return !v.due.IsZero() && !time.Now().Before(v.due) }

// apply makes a group's events known to lookups.
func (v *View) apply(g journal.Group) {
	first := len(v.late)
	for rest := g.Frames; len(rest) > 0; {
		var rec chain.Record
		var err error
		if rec, rest, err = chain.NextFrame(rest); err != nil {
			v.o.Log.Error("index skips the rest of a group that cannot be parsed", "first", g.First, "last", g.Last, "error", err)
			break
		}
		if rec.Seq <= v.applied.applied {
			continue
		}
		e, ok, err := extract(rec)
		if err != nil {
			v.o.Log.Error("index skips an event that cannot be parsed", "error", err)
		} else if ok {
			v.late = append(v.late, e)
		}
	}
	if len(v.late) > 0 && v.due.IsZero() {
		v.due = time.Now().Add(v.o.CommitAfter)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.late[first:] {
		e := &v.late[first+i]
		if e.sale != "" {
			v.sales[e.sale] = e.seq
		}
		if e.receipt != "" {
			v.papers[e.receipt] = e.seq
		}
		v.backs = append(v.backs, e.back...)
		if e.keyed {
			v.keys[e.key] = e.seq
		}
	}
	v.applied.applied, v.applied.head = g.Last, g.Head
	if v.wake != nil {
		close(v.wake)
		v.wake = nil
	}
}

// commit writes what is late. Lookups go on from memory meanwhile.
func (v *View) commit() error {
	if err := v.file.commit(v.applied, v.late, v.j.Oldest(), freeMost); err != nil {
		return fmt.Errorf("commit index: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.sales)
	clear(v.papers)
	clear(v.keys)
	v.backs = nil
	clear(v.late)
	v.late, v.due, v.refused = v.late[:0], time.Time{}, false
	return nil
}

// Close commits what is late and closes the file. Run must have returned, or be
// about to.
func (v *View) Close() error {
	v.work.Lock()
	defer v.work.Unlock()
	if v.file == nil {
		return nil
	}
	err := v.commit()
	v.mu.Lock()
	defer v.mu.Unlock()
	if errors.Is(err, errDamaged) {
		v.file.abandon()
	} else {
		err = errors.Join(err, v.file.close())
	}
	v.file = nil
	return err
}

// rest is for a machine whose load nobody watches.
func rest(done <-chan struct{}) {
	t := time.NewTimer(3 * burst)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
