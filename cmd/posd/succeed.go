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

// wantSuccessor leaves word for the next start.
func (t *terminal) wantSuccessor(why string) error {
	b, err := json.Marshal(wanted{t.journal.ID().String(), why})
	if err == nil {
		err = writeDurably(filepath.Join(t.c.Data.Dir, wantedName), b)
	}
	if err != nil { // the uplink will find out again
		t.log.Error("the next start cannot be told to begin a new journal", "error", err)
	}
	return fmt.Errorf("%w: %s", errSuccessor, why)
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (t *terminal) forked() <-chan struct{} {
	if t.uplink == nil {
		return nil
	}
	return t.uplink.Forked()
}

// succeed begins a new journal where one is needed.
func (t *terminal) succeed() error {
	dir := filepath.Join(t.c.Data.Dir, "journal")
	former, err := journal.FinishSuccession(dir)
	if errors.Is(err, unix.EROFS) {
		return nil // nothing can be begun, and nothing sold
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if former != "" {
		t.log.Warn("an interrupted change of journals was finished", "former", former)
	}
	reason, why, err := t.needsSuccessor(dir)
	if err != nil || reason == "" {
		return err
	}
	t.log.Warn("beginning a new journal that continues the old one", "reason", reason, "why", why)
	err = t.beginSuccessor(dir, reason)
	if errors.Is(err, journal.ErrNoSpace) {
		t.log.Error("selling goes on in the old journal, head office will not take it", "error", err)
		return nil
	}
	if err == nil {
		os.Remove(filepath.Join(t.c.Data.Dir, wantedName)) // it names the former journal: of no effect any more
	}
	return err
}

func (t *terminal) needsSuccessor(dir string) (reason, why string, err error) {
	other, err := journal.OtherMachine(dir, journal.Machine())
	switch {
	case errors.Is(err, journal.ErrNoJournal), errors.Is(err, fs.ErrNotExist):
		return "", "", nil // journal.Open says so in full
	case err != nil:
		return "", "", err
	case other:
		return "clone", "the journal was made on another board than " + journal.Machine(), nil
	}
	b, err := os.ReadFile(filepath.Join(t.c.Data.Dir, wantedName))
	if err != nil {
		return "", "", nil
	}
	var w wanted
	id, err := journal.Identify(dir)
	if err == nil && json.Unmarshal(b, &w) == nil && w.Journal == id.String() {
		return "restore", w.Why, nil
	}
	return "", "", err
}

// beginSuccessor copies what head office has not settled, and the latest answers.
func (t *terminal) beginSuccessor(dir, reason string) error {
	c := t.c
	end, err := journal.Verify(context.Background(), dir, journal.VerifyOptions{From: ^uint64(0)})
	if err != nil {
		return err
	}
	if want := (journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID}); end.Identity != want {
		return nil // journal.Open refuses it
	}
	from := 1 + uplink.Settled(filepath.Join(c.Data.Dir, "uplink.state"), end.Journal)
	from = max(min(from, end.Last-min(end.Last, keepsAnswers)), end.First)
	var state register.Successor
	fold := journal.VerifyOptions{From: min(from, end.Opening), Each: func(r chain.Record, _ chain.Head) error {
		state.Add(r)
		return nil
	}}
	if _, err := journal.Verify(context.Background(), dir, fold); err != nil {
		return err
	}
	if err := roomFor(dir, end, from); err != nil {
		return err
	}
	o := journal.CreateOptions{
		Identity: end.Identity, MachineID: journal.Machine(), PublicKey: end.Key, SegmentSize: c.Data.Segment,
		Opening: state.Opening(),
		Parent:  &chain.Parent{Journal: end.Journal.String(), Seq: end.Last, Head: end.Head.String(), Reason: reason},
		Copies: func(add func(chain.ID, chain.Record, chain.Head) error) error {
			_, err := journal.Verify(context.Background(), dir, journal.VerifyOptions{From: from, Each: func(r chain.Record, h chain.Head) error {
				if r.Seq%10_000 == 0 { // a long queue takes its time
					notify(t.log, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", time.Minute.Microseconds()))
				}
				return add(end.Journal, r, h)
			}})
			return err
		},
	}
	id, former, err := journal.Succeed(dir, o)
	if err != nil {
		return fmt.Errorf("begin a new journal: %w", err)
	}
	t.log.Warn("a new journal continues the old one, which is kept", "journal", id.String(), "former", former,
		"copied_from", from, "copied_to", end.Last)
	return nil
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
	key, err := config.LoadKey(filepath.Join(t.c.Data.Dir, "terminal.key"))
	if err != nil {
		t.log.Error("the terminal's key cannot be used, the journal is not signed", "error", err)
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
