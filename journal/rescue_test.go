package journal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"posd/journal/chain"
)

// rot changes n bytes of a segment's file under an open journal, as a device does.
func (f folder) rot(no uint32, off int64, n int) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(no), os.O_RDWR, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, n)
	if _, err := file.ReadAt(b, off); err != nil {
		f.t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0x55
	}
	if _, err := file.WriteAt(b, off); err != nil {
		f.t.Fatal(err)
	}
}

// readAround reads all records as who ships them does: with a Reader, and with a
// Rescue where that fails. from is where it begins.
func readAround(t *testing.T, j *Journal, from uint64) (got map[uint64]named, missing []*MissingError) {
	got = map[uint64]named{}
	floor, _ := j.Floor()
	var head chain.Head
	take := func(g Group) {
		for rest := g.Frames; len(rest) > 0; {
			rec, after, err := chain.NextFrame(rest)
			if err != nil {
				t.Fatal(err)
			}
			head, rest = head.Next(rec.Frame), after
			got[rec.Seq] = named{string(rec.Payload), rec.Type, head}
		}
		if head != g.Head {
			t.Fatalf("records %d to %d do not lead to their head", g.First, g.Last)
		}
		from = g.Last + 1
	}
	for turns := 0; from <= floor; turns++ {
		if turns > 50 {
			t.Fatal("reader and rescue hand each other the same record")
		}
		if r, err := j.Reader(from); err == nil {
			if head, err = j.Head(from - 1); err != nil {
				t.Fatal(err)
			}
			for err == nil {
				var g Group
				if g, err = r.NextGroup(); err == nil {
					take(g)
				}
			}
			r.Close()
		}
		if from > floor {
			break
		}
		r, err := j.Rescue(from)
		if err != nil {
			t.Fatal(err)
		}
		for {
			g, err := r.NextGroup()
			var m *MissingError
			if errors.As(err, &m) {
				if m.First != from {
					t.Fatalf("missing from %d, %d was asked for", m.First, from)
				}
				missing = append(missing, m)
				from, head = m.Last+1, m.Head
				continue
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.First == from && len(got) == 0 && len(missing) == 0 {
				head = r.Before()
			}
			take(g)
		}
		r.Close()
	}
	return got, missing
}

// TestRescue: whatever rots under a running journal, every record that can still be
// proved is read, no other one, and what is missing ends with the head that what
// follows proves.
func TestRescue(t *testing.T) {
	const page = minAlign
	rows := []struct {
		name   string
		damage func(f folder, active uint32)
		lost   int // groups
		hard   bool
		whole  bool // all can be read, though not by a Reader
	}{
		{name: "nothing", damage: func(folder, uint32) {}, whole: true},
		{name: "one byte", damage: func(f folder, _ uint32) { f.rot(2, 3*page+200, 1) }, lost: 1},
		{name: "a header", damage: func(f folder, _ uint32) { f.rot(2, 3*page, 100) }, lost: 1},
		{name: "three pages in a row", damage: func(f folder, _ uint32) { f.rot(2, 3*page, 3*page) }, lost: 3},
		{name: "two places", damage: func(f folder, _ uint32) { f.rot(2, 3*page, page); f.rot(2, 6*page, page) }, lost: 2},
		{name: "the first group of a segment", damage: func(f folder, _ uint32) { f.rot(2, page, page) }, lost: 1},
		{name: "page 0: the records are all there", damage: func(f folder, _ uint32) { f.rot(2, 0, page) }, whole: true},
		{name: "page 0 and a group", damage: func(f folder, _ uint32) { f.rot(2, 0, page); f.rot(2, 4*page, page) }, lost: 1},
		{name: "two pages 0", damage: func(f folder, _ uint32) { f.rot(2, 0, page); f.rot(3, 0, page) }, whole: true},
		{name: "a whole segment", damage: func(f folder, _ uint32) { f.rot(2, page, 15*page) }, lost: 15},
		{name: "a segment cut short", hard: true, damage: func(f folder, _ uint32) {
			if err := os.Truncate(f.path(2), 10*page); err != nil {
				f.t.Fatal(err)
			}
		}, lost: 6},
		{name: "the first record of all", damage: func(f folder, _ uint32) { f.rot(1, page, page) }, lost: 1},
		{name: "the active segment", damage: func(f folder, active uint32) { f.rot(active, page+200, 1) }, lost: 1},
		{name: "all of the active segment", damage: func(f folder, active uint32) { f.rot(active, page, 15*page) }, lost: 5},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o := testOptions()
			o.SegmentSize, o.ScrubEvery = 16*page, -1
			j, dir := newJournal(t, o)
			for i := 0; ; i++ {
				mustAppend(t, j, bytes.Repeat([]byte{byte(i)}, 3000))
				j.mu.Lock()
				done := len(j.segs) >= 4 && j.floorEnd == 6*page
				j.mu.Unlock()
				if done {
					break
				}
			}
			want := map[uint64]named{}
			r, err := j.Reader(1)
			if err != nil {
				t.Fatal(err)
			}
			groups := map[uint64]uint64{} // last record of a group: first
			head := j.ID().Head0()
			for {
				g, err := r.NextGroup()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				groups[g.Last] = g.First
				for rest := g.Frames; len(rest) > 0; {
					rec, after, _ := chain.NextFrame(rest)
					head, rest = head.Next(rec.Frame), after
					want[rec.Seq] = named{string(rec.Payload), rec.Type, head}
				}
			}
			r.Close()
			f := folder{t, dir}
			row.damage(f, j.segs[len(j.segs)-1].no)

			check := func(from uint64) (lost int) {
				got, missing := readAround(t, j, from)
				for seq, n := range got {
					if n != want[seq] {
						t.Fatalf("record %d is not the one that was written", seq)
					}
				}
				for _, m := range missing {
					for seq := m.First; seq <= m.Last; seq++ {
						if _, there := got[seq]; there {
							t.Fatalf("record %d is there and missing", seq)
						}
						if _, is := groups[seq]; is {
							lost++
						}
					}
					if m.Head != want[m.Last].head {
						t.Fatalf("what is missing up to %d ends with a wrong head", m.Last)
					}
					if m.Unreadable != row.hard {
						t.Errorf("unreadable %v: %v", m.Unreadable, m)
					}
				}
				if n := uint64(len(got)); n+sum(missing) != uint64(len(want))+1-from {
					t.Fatalf("%d records read and %d missing, of %d from %d", n, sum(missing), len(want), from)
				}
				return lost
			}
			if lost := check(1); lost != row.lost {
				t.Fatalf("%d groups are lost, not %d", lost, row.lost)
			}
			for from := uint64(2); from <= uint64(len(want)); from += 3 {
				check(from)
			}
			_, missing := readAround(t, j, 1)
			for seq := range want {
				h, err := j.Head(seq)
				inside := slices.ContainsFunc(missing, func(m *MissingError) bool { return m.First <= seq && seq < m.Last })
				if (err != nil) != inside || err == nil && h != want[seq].head {
					t.Fatalf("head of record %d (in what is missing: %v): %v", seq, inside, err)
				}
			}
			for seq := range want {
				err := j.Read(seq, func(rec chain.Record) error {
					if w := want[seq]; rec.Seq != seq || string(rec.Payload) != w.payload || rec.Type != w.typ {
						return errors.New("another record")
					}
					return nil
				})
				lost := slices.ContainsFunc(missing, func(m *MissingError) bool { return m.First <= seq && seq <= m.Last })
				if (err != nil) != lost {
					t.Fatalf("record %d (missing: %v) is read: %v", seq, lost, err)
				}
			}
			if row.hard {
				if err := os.Truncate(f.path(2), 16*page); err != nil { // the journal ends with a map of it
					t.Fatal(err)
				}
			}
		})
	}
}

func sum(all []*MissingError) (n uint64) {
	for _, m := range all {
		n += m.Last + 1 - m.First
	}
	return n
}

// TestRescueAgain: what could not be read a moment ago counts as there when it can be.
func TestRescueAgain(t *testing.T) {
	o := testOptions()
	o.SegmentSize, o.ScrubEvery = 16*minAlign, -1
	j, dir := newJournal(t, o)
	for i := range 40 {
		mustAppend(t, j, bytes.Repeat([]byte{byte(i)}, 3000))
	}
	f := folder{t, dir}
	f.rot(2, 3*minAlign+200, 1)
	if _, missing := readAround(t, j, 1); len(missing) != 1 || missing[0].Unreadable {
		t.Fatalf("%v", missing)
	}
	f.rot(2, 3*minAlign+200, 1) // the same again: as it was
	if _, missing := readAround(t, j, 1); len(missing) != 0 {
		t.Fatalf("%v", missing)
	}
	floor, _ := j.Floor()
	for _, from := range []uint64{0, floor + 1} {
		if _, err := j.Rescue(from); !errors.Is(err, ErrBeyond) {
			t.Fatalf("record %d: %v", from, err)
		}
	}
}
