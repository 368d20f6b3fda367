package main

import (
	"context"
	"crypto/ed25519"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"posd/journal"
)

// settleEvery is how many records head office acknowledges at a time.
const settleEvery = 256

// eventType is the type of an event's record.
const eventType = 256

// goMemory is the limit that posd gives to Go.
const goMemory = "GOMEMLIMIT=20MiB"

type ours struct {
	j       *journal.Journal
	settled atomic.Uint64
}

// oursContender is the journal of posd, which sets GOMAXPROCS to 2 on a board
// with one core, so that a sale does not wait for the sync of another.
func oursContender(name string, procs int) contender {
	return contender{name: name, how: "segments of 4 MiB, recycled as soon as they are settled", procs: []int{procs}, env: []string{goMemory},
		atLeast: 1, data: `\.seg$`, warm: warmOurs, count: countOurs,
		open: func(dir string, _ int) (store, error) { return createOurs(dir) }}
}

// key signs checkpoints, as a terminal's does.
var key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func createOurs(dir string) (*ours, error) {
	o := journal.CreateOptions{Identity: journal.Identity{Store: "s1", Terminal: "t1"}, PublicKey: key.Public().(ed25519.PublicKey)}
	if _, err := journal.Create(filepath.Join(dir, "journal"), o); err != nil {
		return nil, err
	}
	return openOurs(dir, 0)
}

// openOurs keeps no settled segment. It scrubs as posd does unless told to be
// faster.
func openOurs(dir string, scrubEvery time.Duration) (*ours, error) {
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{Key: key, ScrubEvery: scrubEvery})
	if err != nil {
		return nil, err
	}
	return &ours{j: j}, nil
}

func (s *ours) commit(r *record) error {
	seq, err := s.j.Append(eventType, journal.Durable, len(r), r)
	if err != nil {
		return err
	}
	if err := s.j.Wait(context.Background(), seq); err != nil {
		return err
	}
	if before := s.settled.Load(); seq >= before+settleEvery && s.settled.CompareAndSwap(before, seq) {
		s.j.Settle(seq)
	}
	return nil
}

func (s *ours) close() error { return s.j.Close() }

// rolled is how many segments were filled, freed and taken for new records.
func (s *ours) rolled() uint64 { return s.j.Stats().Recycled }

// appendMany appends n records that share a sync, and settles nothing.
func (s *ours) appendMany(r *record, n int) (last uint64, err error) {
	for range n {
		if last, err = s.j.Append(eventType, journal.Soon, len(r), r); err != nil {
			return 0, err
		}
	}
	return last, s.j.Wait(context.Background(), last)
}

// warmOurs fills the first segments, so that from then on they are recycled.
func warmOurs(st store) error {
	s, r := st.(*ours), newRecord(0)
	for s.rolled() < 2 {
		last, err := s.appendMany(r, settleEvery)
		if err != nil {
			return err
		}
		s.j.Settle(last)
	}
	return nil
}

func countOurs(dir string) (n int, err error) {
	s, err := openOurs(dir, 0)
	if err != nil {
		return 0, err
	}
	defer s.close()
	r, err := s.j.Reader(s.j.Oldest())
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if rec.Type == eventType {
			n++
		}
	}
}
