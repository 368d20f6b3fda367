package uplink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/sync/wire"
)

// The state file is the newest watermark that was believed, as the hub writes
// it: the one thing worth knowing without a link.

// load takes over the state file, if it is this journal's.
func (u *Uplink) load() {
	u.state.Journal = u.j.ID()
	w, err := readState(u.opt.StatePath)
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
}

// checkState refuses a state that does not belong to this journal's history.
func (u *Uplink) checkState(w *wire.Watermark) error {
	if w.Journal != u.j.ID() {
		return fmt.Errorf("it is about journal %s, this one is %s", w.Journal, u.j.ID())
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

func readState(path string) (wire.Watermark, error) {
	f, err := os.Open(path)
	if err != nil {
		return wire.Watermark{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return wire.Watermark{}, err
	}
	return wire.ParseWatermark(b)
}

// saveDue writes the state if it has changed and the last write is long ago:
// flash wears, and an old state costs little.
func (u *Uplink) saveDue() {
	if u.dirty && time.Since(u.saved) >= u.opt.t.save {
		u.save()
	}
}

func (u *Uplink) save() {
	if !u.dirty {
		return
	}
	u.saved = time.Now()
	if err := writeState(u.opt.StatePath, u.state.Append(nil)); err != nil {
		u.log.Warn("uplink: state not written", "file", u.opt.StatePath, "error", err)
		return
	}
	u.dirty = false
}

// writeState replaces the file at once or not at all, whenever the power goes.
func writeState(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Settled is how far the state file at path says that head office has journal id,
// and the head there; 0 if it says nothing about it.
func Settled(path string, id chain.ID) (uint64, chain.Head) {
	w, err := readState(path)
	if err != nil || w.Journal != id {
		return 0, chain.Head{}
	}
	return w.Seq, w.Head
}
