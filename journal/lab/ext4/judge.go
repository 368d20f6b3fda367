package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"posd/journal"
	"posd/journal/chain"
	"posd/journal/lab"
)

// Trial judges one image that a cut has left.
type Trial struct {
	Till
	Seed   uint64
	Append int // so many records afterwards
	Flips  int // so many flipped bits after that
}

// Judged is what came out.
type Judged struct {
	Kind  lab.Kind
	Why   string
	Flips int
}

func (out *Judged) take(v lab.Verdict, at string) bool {
	if v.Kind == lab.OK {
		return true
	}
	out.Kind, out.Why = v.Kind, at+": "+v.Why.Error()
	return false
}

// Judge has the oracle look at the journal as it lies there, at the start, and
// again after some more records and an orderly stop.
func (*Player) Judge(t Trial, out *Judged) error {
	rng := rand.New(rand.NewPCG(t.Seed, 5))
	// The machine has booted again: the lock file must not say that the page
	// cache of its last holder still stands.
	if err := os.Remove(filepath.Join(t.Dir, "lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	o := t.oracle()
	if !t.exists() {
		j, err := journal.Open(t.Dir, t.options())
		if errors.Is(err, journal.ErrNoJournal) {
			return nil
		}
		if out.take(o.Start(j, err), "a start after a cut while it was created") {
			return j.Close()
		}
		return nil
	}
	verify := journal.VerifyOptions{Lab: t.options().Lab}
	if rng.IntN(3) == 0 && !out.take(o.Verify(context.Background(), t.Dir, verify), "verify before the start") {
		return nil
	}
	j, err := journal.Open(t.Dir, t.options())
	if !out.take(o.Start(j, err), "start") {
		if j != nil {
			j.Close()
		}
		return nil
	}
	if err := t.goOn(j, o, rng); err != nil {
		return err
	}
	if rng.IntN(3) == 0 && !out.take(o.Verify(context.Background(), t.Dir, verify), "verify after an orderly stop") {
		return nil
	}
	for range t.Flips {
		if err := t.flip(o, rng, out); err != nil || out.Kind != lab.OK {
			return err
		}
	}
	return nil
}

// goOn appends some records and stops in order.
func (t *Trial) goOn(j *journal.Journal, o *lab.Oracle, rng *rand.Rand) error {
	r, err := t.reporter()
	if err != nil {
		return err
	}
	defer r.f.Close()
	floor, _ := j.Floor()
	o.Restarted(floor)
	if err := r.say(restarted, floor, 0); err != nil {
		return err
	}
	for range t.Append {
		p := make([]byte, rng.IntN(3000))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		seq, err := j.Append(chain.TypeOwner, journal.Durable, len(p), payload{p, r})
		if errors.Is(err, journal.ErrNoSpace) {
			break
		}
		if err == nil {
			o.Appended(seq, lab.SumOf(p))
			err = j.Wait(context.Background(), seq)
		}
		if err != nil {
			return fmt.Errorf("append after a cut: %w", err)
		}
		o.Acknowledged(seq)
		if err := r.say(acked, seq, 0); err != nil {
			return err
		}
	}
	if err := j.Close(); err != nil {
		return fmt.Errorf("stop after a cut: %w", err)
	}
	floor, _ = j.Floor()
	o.Acknowledged(floor)
	o.Noted(floor)
	return nil
}

// flip changes one bit of acknowledged data on the image, sees that it is
// reported, and puts it back.
func (t *Trial) flip(o *lab.Oracle, rng *rand.Rand, out *Judged) error {
	d, last, err := t.choose(rng)
	if err != nil || d.File == "" {
		return err
	}
	path := filepath.Join(t.Dir, d.File)
	bit := byte(1) << rng.IntN(8)
	if err := flipBit(path, d.Offset, bit); err != nil {
		return err
	}
	out.Flips++
	if last {
		j, err := journal.Open(t.Dir, t.options())
		var floor uint64
		if j != nil {
			floor, _ = j.Floor()
			defer j.Close()
		}
		if !out.take(o.Damaged(d, err, floor), "start after a flipped bit") {
			return nil
		}
	}
	rep, err := journal.Verify(context.Background(), t.Dir, journal.VerifyOptions{Lab: t.options().Lab})
	if !out.take(o.Damaged(d, err, rep.Last), "verify after a flipped bit") {
		return nil
	}
	return flipBit(path, d.Offset, bit)
}

func flipBit(path string, off int64, bit byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return err
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b[:], off); err != nil {
		return err
	}
	return f.Sync()
}

// page0Used is how much of a segment's page 0 says something.
const page0Used = 256

// choose picks a byte of acknowledged data: often in the last group, which only
// the floor note vouches for. A start reads all of the last segment in use; it
// may be one that was begun and holds nothing yet.
func (t *Trial) choose(rng *rand.Rand) (d lab.Damage, last bool, err error) {
	segments, err := t.inUse()
	if err != nil || len(segments) == 0 {
		return d, false, err
	}
	i := len(segments) - 1
	for i > 0 && len(segments[i].groups) == 0 || rng.IntN(4) == 0 {
		i = rng.IntN(len(segments))
	}
	s := segments[i]
	d.File, last = s.name, i == len(segments)-1
	if len(s.groups) == 0 || rng.IntN(8) == 0 {
		d.Offset = int64(rng.IntN(page0Used))
		return d, last, nil
	}
	g := s.groups[len(s.groups)-1]
	if rng.IntN(2) == 0 {
		g = s.groups[rng.IntN(len(s.groups))]
	}
	d.Offset, d.First, d.Last = int64(g.Off+rng.IntN(g.Size)), g.First, g.Last
	return d, last, nil
}

type held struct {
	name   string
	groups []lab.Group
}

// inUse lists the segments in use, in order, and the groups in them.
func (t *Trial) inUse() ([]held, error) {
	entries, err := os.ReadDir(t.Dir)
	if err != nil {
		return nil, err
	}
	var all []held
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".seg") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(t.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		no, _ := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".seg"), 10, 32)
		if len(b) >= page0Used && string(b[:8]) == "POSDSEG1" && binary.LittleEndian.Uint32(b[40:]) == uint32(no) {
			all = append(all, held{e.Name(), lab.Groups(b, uint32(no))})
		}
	}
	slices.SortFunc(all, func(a, b held) int { return strings.Compare(a.name, b.name) })
	return all, nil
}
