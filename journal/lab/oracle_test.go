package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"posd/journal"
	"posd/journal/chain"
	"posd/journal/internal/hook"
)

// shop is a journal in the model without faults, and what was told to an oracle.
type shop struct {
	t      *testing.T
	fs     *modelFS
	oracle Oracle
}

func newShop(t *testing.T) *shop {
	s := &shop{t: t, fs: newModelFS(rand.New(rand.NewPCG(1, 1)))}
	s.oracle.Opening = opening
	_, err := journal.Create("", journal.CreateOptions{Identity: till, SegmentSize: segmentSize, Opening: opening,
		Lab: &hook.Lab{FS: s.fs, Page: page}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open starts the journal; the drive is the lab's.
func (s *shop) open() (*journal.Journal, hook.Drive, error) {
	lab := &hook.Lab{FS: s.fs, Boot: "b", Page: page, Manual: true}
	j, err := journal.Open("", journal.Options{Identity: till, SegmentSize: segmentSize, Opening: opening, Lab: lab})
	return j, lab.Drive, err
}

func (s *shop) sell(payloads ...string) uint64 {
	j, drive, err := s.open()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range payloads {
		if _, err := j.Append(chain.TypeOwner, journal.Durable, len(p), record{&s.oracle, []byte(p)}); err != nil {
			s.t.Fatal(err)
		}
		drive.Commit()
	}
	floor, _ := j.Floor()
	s.oracle.Acknowledged(floor)
	if err := j.Close(); err != nil {
		s.t.Fatal(err)
	}
	return floor
}

// TestVerdicts: one situation for each thing that the oracle must see. Each row
// changes what was told, or the medium, after three sales as records 3 to 5.
func TestVerdicts(t *testing.T) {
	rows := []struct {
		name  string
		after func(s *shop)
		want  Kind
	}{
		{"all is there", func(s *shop) {}, OK},
		{"more is there than was acknowledged", func(s *shop) { s.oracle.acked = 3 }, OK},
		{"an acknowledged record is gone", func(s *shop) { s.oracle.Appended(6, 1); s.oracle.Acknowledged(6) }, Lost},
		{"another record stands in its place", func(s *shop) { s.oracle.Appended(4, SumOf([]byte("other"))) }, Phantom},
		{"a record that nobody wrote", func(s *shop) { delete(s.oracle.wrote, 5); s.oracle.acked = 4 }, Phantom},
		{"a record that was gone at an earlier start", func(s *shop) { s.oracle.Restarted(4) }, Phantom},
		{"an owner's record where an opening state belongs", func(s *shop) { s.oracle.Appended(2, 1) }, Phantom},
		{"an opening state with another content", func(s *shop) {
			s.oracle.Opening = func(dst []byte, _ uint64) []byte { return append(dst, "other"...) }
		}, Phantom},
		{"a start that is refused", func(s *shop) {
			f := s.fs.dir.find("0000000001.seg")
			f.mem, f.dur[0] = nil, f.dur[0]^1
		}, FalseAlarm},
		{"no floor note", func(s *shop) { s.fs.dir = s.fs.dir.drop("floor") }, FalseAlarm},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newShop(t)
			s.sell("a", "b", "c")
			row.after(s)
			j, _, err := s.open()
			if v := s.oracle.Start(j, err); v.Kind != row.want {
				t.Errorf("start: %v, want %v", v, row.want)
			}
			if row.name == "no floor note" {
				return // a copy may lack it
			}
			v := s.oracle.Verify(context.Background(), "", journal.VerifyOptions{Lab: &hook.Lab{FS: s.fs, Page: page}})
			if v.Kind != row.want {
				t.Errorf("verify: %v, want %v", v, row.want)
			}
		})
	}
}

// TestFreedTooEarly: what was not settled must not be freed.
func TestFreedTooEarly(t *testing.T) {
	s := newShop(t)
	big := make([]byte, maxPayload-100)
	var all []string
	for range 12 {
		all = append(all, string(big))
	}
	s.sell(all...)
	j, drive, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	floor, _ := j.Floor()
	j.Settle(floor)
	if err := drive.Prepare(); err != nil || j.Oldest() == 1 {
		t.Fatalf("nothing was freed: oldest %d, %v", j.Oldest(), err)
	}
	if v := s.oracle.Start(j, nil); v.Kind != Lost {
		t.Errorf("%v, want lost", v)
	}
	s.oracle.Settled(floor)
	if v := s.oracle.Start(j, nil); v.Kind != OK {
		t.Errorf("%v, want ok", v)
	}
}

func TestDamaged(t *testing.T) {
	corrupt := fmt.Errorf("open: %w", &journal.CorruptError{})
	page0, middle, last := Damage{}, Damage{First: 5, Last: 7}, Damage{First: 8, Last: 9}
	rows := []struct {
		name  string
		d     Damage
		err   error
		floor uint64
		noted uint64
		want  Kind
	}{
		{"reported", middle, corrupt, 0, 4, OK},
		{"a newer format is a report", middle, journal.ErrNewer, 0, 4, OK},
		{"another terminal's is a report", page0, journal.ErrForeign, 0, 4, OK},
		{"another error is none", middle, errors.New("other"), 0, 4, Undetected},
		{"in the middle, unseen", middle, nil, 9, 4, Undetected},
		{"in the middle, taken for the end", middle, nil, 4, 4, Undetected},
		{"page 0, unseen", page0, nil, 9, 4, Undetected},
		{"the last group, which no note saw", last, nil, 7, 4, OK},
		{"the last group, and one more is gone", last, nil, 6, 4, Lost},
		{"the last group, which a note saw", last, nil, 7, 9, Undetected},
		{"the last group, half of it noted", last, nil, 7, 8, OK},
	}
	for _, row := range rows {
		o := Oracle{acked: 9, noted: row.noted}
		if v := o.Damaged(row.d, row.err, row.floor); v.Kind != row.want {
			t.Errorf("%s: %v, want %v", row.name, v, row.want)
		}
	}
}

// TestFailedFreeKeepsOrder: a segment that could not be removed is not skipped.
func TestFailedFreeKeepsOrder(t *testing.T) {
	s := newShop(t)
	j, drive, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if _, err := j.Append(chain.TypeOwner, journal.Durable, 3000, record{&s.oracle, make([]byte, 3000)}); err != nil {
			t.Fatal(err)
		}
	}
	floor, _ := j.Floor()
	j.Settle(floor)
	s.oracle.Settled(floor)
	s.fs.refuse = 1 // one removal or renaming fails
	if err := drive.Prepare(); err == nil {
		t.Fatal("the failure is not reported")
	}
	if err := drive.Prepare(); err != nil {
		t.Fatal(err)
	}
	s.fs.restart()
	j, _, err = s.open()
	if v := s.oracle.Start(j, err); v.Kind != OK {
		t.Fatal(v)
	}
}
