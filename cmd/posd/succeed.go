package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"posd/durable"
	"posd/journal"
	"posd/journal/chain"
	"posd/pos/config"
	"posd/pos/register"
	"posd/sync/uplink"
)

// A terminal begins a new journal that continues the old one when its disk was
// copied to another board, which the start sees by itself, or when head office
// knows another history of the journal: a restored backup. Selling must not wait
// for anybody to decide, and two histories must not go on under one name.

// wantedName is the file that asks the next start for a new journal.
const wantedName = "successor.wanted"

// keepsAnswers is how many records are copied even if head office has them: a call
// that was answered is not to make a second sale, whatever journal answered it.
const keepsAnswers = 8192

var errSuccessor = errors.New("this journal has another history at head office; the next start begins a new journal that continues it")

type wanted struct {
	Journal string `json:"journal"`
	Why     string `json:"why"`
}

// wantSuccessor leaves word for the next start. The error is errSuccessor, and posd
// has to end; nil says that it has to go on as it is.
func (t *terminal) wantSuccessor(why string) error {
	b, err := json.Marshal(wanted{t.journal.ID().String(), why})
	if err == nil {
		err = durable.Replace(filepath.Join(t.c.Data.Dir, wantedName), b)
	}
	if err != nil {
		t.stay = true
		t.log.Error("selling goes on in a journal that head office does not take: the next start cannot be told to begin a new one", "error", err)
		return nil
	}
	return fmt.Errorf("%w: %s", errSuccessor, why)
}

// forked is nil where nothing could be done about it: ending would not help.
func (t *terminal) forked() <-chan struct{} {
	if t.uplink == nil || t.stay {
		return nil
	}
	return t.uplink.Forked()
}

// succeed begins a new journal where one is needed. Where that fails selling goes on
// in the old one: head office does not take it, but the shop is open.
func (t *terminal) succeed() error {
	dir := filepath.Join(t.c.Data.Dir, "journal")
	former, err := journal.FinishSuccession(dir)
	if errors.Is(err, journal.ErrLocked) {
		return err
	}
	if err != nil {
		t.log.Warn("what an interrupted change of journals left is not in order", "error", err)
	}
	if former != "" {
		t.log.Warn("an interrupted change of journals was finished", "former", former)
	}
	reason, why := t.needsSuccessor(dir)
	if reason == "" {
		return nil
	}
	t.log.Warn("beginning a new journal that continues the old one", "reason", reason, "why", why)
	err = t.beginSuccessor(dir, reason)
	if errors.Is(err, journal.ErrLocked) {
		return err
	}
	if err != nil {
		t.stay = true
		t.log.Error("no new journal can be begun: selling goes on in the old one, which head office does not take; mend this, then restart posd", "error", err)
		return nil
	}
	os.Remove(filepath.Join(t.c.Data.Dir, wantedName)) // it names the former journal: of no effect any more
	return nil
}

// needsSuccessor says nothing where the journal cannot be looked at: journal.Open
// says what is wrong in full.
func (t *terminal) needsSuccessor(dir string) (reason, why string) {
	machine := journal.Machine()
	if other, err := journal.OtherMachine(dir, machine); err != nil {
		return "", ""
	} else if other {
		return "clone", "the journal was made on another board than " + machine
	}
	var w wanted
	b, err := os.ReadFile(filepath.Join(t.c.Data.Dir, wantedName))
	if err != nil || json.Unmarshal(b, &w) != nil {
		return "", ""
	}
	if id, err := journal.Identify(dir); err == nil && w.Journal == id.String() {
		return "restore", w.Why
	}
	return "", ""
}

// beginSuccessor copies what head office has not settled, and the latest answers. It
// reads like a salvage: rot in old records must not close the shop.
func (t *terminal) beginSuccessor(dir, reason string) error {
	c, ctx := t.c, context.Background()
	end, err := journal.Verify(ctx, dir, journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		return err
	}
	if want := (journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID}); end.Identity != want {
		return fmt.Errorf("%w: %s", journal.ErrForeign, end.Identity.Terminal)
	}
	from := max(min(t.unsettled(dir, end), end.Last-min(end.Last, keepsAnswers)), end.First)
	if err := roomFor(dir, end, from); err != nil {
		return err
	}
	var state register.Successor
	if _, err := journal.Salvage(ctx, dir, journal.SalvageOptions{From: end.Opening, Each: func(_ chain.ID, r chain.Record, _ chain.Head) error {
		state.Add(r) // the opening state has all that was before it
		return nil
	}}); err != nil {
		return err
	}
	id, former, err := journal.Succeed(dir, journal.CreateOptions{
		Identity: end.Identity, MachineID: journal.Machine(), PublicKey: end.Key, SegmentSize: c.Data.Segment,
		Opening: state.Opening(),
		Parent:  &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: reason},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			read, err := journal.Salvage(ctx, dir, journal.SalvageOptions{From: from, Each: func(id chain.ID, r chain.Record, h chain.Head) error {
				if r.Seq%10_000 == 0 { // a long queue takes its time
					notify(t.log, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", time.Minute.Microseconds()))
				}
				return add(id, r, h)
			}})
			for _, l := range read.Lost {
				t.log.Error("damaged records are not copied", "first", l.First, "last", l.Last, "file", l.File, "offset", l.Offset, "reason", l.Reason)
			}
			return err
		},
	})
	if id == (chain.ID{}) || former == "" && err != nil {
		return fmt.Errorf("begin a new journal: %w", err)
	}
	if err != nil {
		t.log.Warn("the former journal is not put aside yet", "error", err)
	}
	t.log.Warn("a new journal continues the old one, which is kept", "journal", id.String(), "former", former,
		"copied_from", from, "copied_to", end.Last)
	return nil
}

// unsettled is the first record that head office may lack. What the uplink has noted
// counts only for the history that it was noted for.
func (t *terminal) unsettled(dir string, end journal.Report) uint64 {
	seq, head := uplink.Settled(filepath.Join(t.c.Data.Dir, "uplink.state"), end.Journal)
	same := false
	errFound := errors.New("found")
	_, err := journal.Salvage(context.Background(), dir, journal.SalvageOptions{From: seq, Each: func(_ chain.ID, r chain.Record, h chain.Head) error {
		same = r.Seq == seq && h == head
		return errFound
	}})
	if seq == 0 || !same || !errors.Is(err, errFound) {
		return end.First
	}
	return seq + 1
}

// roomFor refuses before anything is copied.
func roomFor(dir string, end journal.Report, from uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	share := float64(end.Last+1-from) / float64(end.Last+1-end.First)
	need := uint64(share*float64(end.Bytes)) + 64<<20
	if free := st.Bavail * uint64(st.Bsize); free < need {
		return fmt.Errorf("%w: a new journal must continue the old one and may take %d bytes, %d are free; free space on the data partition", journal.ErrNoSpace, need, free)
	}
	return nil
}

// signingKey is the terminal's key; without it the shop sells unsigned.
func (t *terminal) signingKey() ed25519.PrivateKey {
	key, err := config.LoadKey(t.credential("terminal.key", filepath.Join(t.c.Data.Dir, config.KeyFile)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Error("the terminal's key cannot be used", "error", err)
	}
	return key
}

// compareWait is how long the first sale waits for head office after a power cut.
const compareWait = 3 * time.Second

// compareEnd asks head office, if it can be reached at once, whether it has more
// than an interrupted end of the journal shows: a last group that rotted while the
// power was cut looks like one that was never finished, but head office may have
// got it. Then the next sale must not take its number.
func (t *terminal) compareEnd() {
	if t.uplink == nil || t.journal.Recovered() == "" {
		return
	}
	select {
	case <-t.uplink.Compared():
		t.log.Info("head office agrees about the end of the journal")
	case <-t.uplink.Forked():
	case <-time.After(compareWait):
		t.log.Warn("head office cannot be asked about the interrupted end of the journal, selling begins")
	}
}
