package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"posd/durable"
	"posd/journal"
	"posd/journal/chain"
	"posd/sync/wire"
)

// The state file is the newest watermark that was believed, as the hub writes
// it, the one thing worth knowing without a link, and what own has beside it.

// load takes over the state file, if it is this journal's.
func (u *Uplink) load() {
	u.state.Journal = u.j.ID()
	w, o, written, err := readState(u.opt.StatePath)
	defer func() { u.loadMarks(written) }()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = u.checkState(&w)
	}
	if err != nil {
		u.log.Warn("uplink: state not used; the hub will say again what it has", "file", u.opt.StatePath, "error", err)
		return
	}
	u.state = w
	u.state.Want, u.state.Held = 0, ""
	u.confirmed = w.Seq
	u.next = w.Seq + 1
	u.j.Settle(w.Seq)
	u.st.Settled, u.st.Sent, u.st.Ledger = w.Seq, w.Seq, w.Ledger.String()
	u.own = o
}

// loadMarks puts the marks in order. What became durable after the file was written, and
// before a cut, is as old as the file at most.
func (u *Uplink) loadMarks(written time.Time) {
	now := time.Now()
	for i := range u.own.marks {
		if m := &u.own.marks[i]; m.at.Unix() < saneTime || m.at.After(now) {
			m.at = now
		}
	}
	u.own.shrank(u.settled())
	if floor, _ := u.j.Floor(); floor > u.settled() {
		if written.Unix() < saneTime || written.After(now) {
			written = now
		}
		u.own.grew(floor, written)
	}
}

// checkState refuses a state that does not belong to this journal's history.
func (u *Uplink) checkState(w *wire.Watermark) error {
	if w.Journal != u.j.ID() {
		return fmt.Errorf("it is about journal %s, this one is %s", w.Journal, u.j.ID())
	}
	if w.Seq == 0 {
		return nil // saved before head office was ever heard
	}
	h, err := u.j.Head(w.Seq)
	if errors.Is(err, journal.ErrFreed) {
		return nil // freed because it was settled
	}
	if err != nil {
		return err
	}
	if h != w.Head {
		return fmt.Errorf("head of record %d is %s there and %s in the journal", w.Seq, w.Head, h)
	}
	return nil
}

func readState(path string) (w wire.Watermark, o own, written time.Time, err error) {
	b, err := readSmall(path, 64<<10)
	if err != nil {
		return w, o, written, err
	}
	if st, err := os.Stat(path); err == nil {
		written = st.ModTime()
	}
	if w, err = wire.ParseWatermark(b); err == nil {
		o, err = parseOwn(b)
	}
	return w, o, written, err
}

// saveDue writes the state if it has changed and the last write is long ago:
// flash wears, and an old state costs little. Marks are worth less writing still.
func (u *Uplink) saveDue() {
	since := time.Since(u.saved)
	u.mu.Lock()
	marked := u.own.fresh && len(u.own.marks) > 0 && time.Since(u.own.marks[0].at) >= u.opt.t.marks
	u.mu.Unlock()
	if u.dirty && since >= u.opt.t.save || marked && since >= u.opt.t.marks {
		u.dirty = true
		u.save()
	}
}

func (u *Uplink) save() {
	if !u.dirty {
		return
	}
	u.saved = time.Now()
	w := u.state
	w.Want, w.Held = 0, ""
	u.mu.Lock()
	b := u.own.append(w.Append(nil))
	u.own.fresh = false
	u.mu.Unlock()
	if err := durable.Replace(u.opt.StatePath, append(b, '\n')); err != nil {
		u.log.Warn("uplink: state not written", "file", u.opt.StatePath, "error", err)
		return
	}
	u.dirty = false
}

// Settled is how far the state file at path says that head office has journal id,
// and the head there; 0 if it says nothing about it.
func Settled(path string, id chain.ID) (uint64, chain.Head) {
	w, _, _, err := readState(path)
	if err != nil || w.Journal != id {
		return 0, chain.Head{}
	}
	return w.Seq, w.Head
}
