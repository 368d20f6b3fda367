package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"posd/journal/internal/disk"
	"posd/journal/internal/hook"
)

// sickDir is a file system that does not give some files, nor takes their names away.
type sickDir struct {
	disk.FS
	names []string
	err   error
	sick  atomic.Bool
}

func (d *sickDir) check(op, name string) error {
	if d.sick.Load() && slices.Contains(d.names, name) {
		return &fs.PathError{Op: op, Path: name, Err: d.err}
	}
	return nil
}

func (d *sickDir) Open(name string) (disk.File, error) {
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	return d.FS.Open(name)
}

func (d *sickDir) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *sickDir) Rename(from, to string) error {
	if err := d.check("rename", from); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

// TestUnusableFile: the file of an older segment is gone or cannot be opened, at the start
// or while all runs. The shop sells, who ships goes round it, and what is settled is freed,
// also over the next start.
func TestUnusableFile(t *testing.T) {
	for _, row := range []struct {
		name string
		nos  []uint32
		err  error // nil: the files are removed
		late bool  // when page 0 is known
	}{
		{name: "the oldest missing", nos: []uint32{1}},
		{name: "the two oldest missing", nos: []uint32{1, 2}},
		{name: "one in the middle missing", nos: []uint32{2}},
		{name: "all but the last missing", nos: []uint32{1, 2, 3, 4}},
		{name: "the oldest unreadable", nos: []uint32{1}, err: unix.EIO},
		{name: "the oldest and one more broken", nos: []uint32{1, 3}, err: unix.EUCLEAN},
		{name: "two in the middle broken", nos: []uint32{2, 3}, err: unix.EBADMSG},
		{name: "the oldest taken away", nos: []uint32{1}, late: true},
		{name: "one in the middle taken away", nos: []uint32{2}, late: true},
		{name: "the oldest unreadable later", nos: []uint32{1}, err: unix.EIO, late: true},
		{name: "one in the middle broken later", nos: []uint32{3}, err: unix.EUCLEAN, late: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, want := damagedJournal(t)
			lost := 0
			for _, no := range row.nos {
				firstOf := func(no uint32) uint64 {
					var buf [minAlign]byte
					b, err := os.ReadFile(f.path(no))
					if err != nil {
						t.Fatal(err)
					}
					copy(buf[:], b)
					h, err := decodeSegmentHead(buf[:])
					if err != nil {
						t.Fatal(err)
					}
					return h.firstSeq
				}
				lost += int(firstOf(no+1) - firstOf(no))
			}
			harm := func(d *sickDir) {
				if d.sick.Store(row.err != nil); row.err != nil {
					return
				}
				for _, no := range row.nos {
					if err := os.Remove(f.path(no)); err != nil {
						t.Fatal(err)
					}
				}
			}
			o := testOptions()
			o.ScrubEvery, o.MaxBytes = -1, 10*o.SegmentSize
			o.Lab = hookFor(t, f.dir)
			o.Lab.Manual = false
			d := &sickDir{FS: o.Lab.FS, err: row.err}
			o.Lab.FS = d
			for _, no := range row.nos {
				d.names = append(d.names, segmentName(no))
			}
			if !row.late {
				harm(d)
			}
			var damage *CorruptError
			if _, err := Verify(t.Context(), "", VerifyOptions{Lab: &hook.Lab{FS: d}}); (err != nil) == row.late {
				t.Fatalf("verify: %v", err)
			} else if row.err == nil && !row.late && !errors.As(err, &damage) {
				t.Fatalf("verify: %v", err)
			}
			j, err := Open(f.dir, o)
			if err != nil {
				t.Fatalf("the start is refused: %v", err)
			}
			until(t, func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.surveyed })
			if row.late {
				harm(d)
			}

			got, missing := readAround(t, j, 1)
			for seq, n := range want {
				_, there := got[seq]
				gone := slices.ContainsFunc(missing, func(m *MissingError) bool { return m.First <= seq && seq <= m.Last })
				if there == gone || there && got[seq] != n {
					t.Fatalf("record %d: there %v, missing %v, or another one", seq, there, gone)
				}
			}
			if n := int(sum(missing)); n != lost {
				t.Fatalf("%d records are missing, the files had %d", n, lost)
			}
			for _, m := range missing {
				if !m.Unreadable {
					t.Errorf("it may come back: %v", m)
				}
			}
			for _, no := range row.nos {
				if !slices.ContainsFunc(j.Damage(), func(e *CorruptError) bool { return e.Segment == no }) {
					t.Errorf("segment %d is not called damaged: %v", no, j.Damage())
				}
			}

			sell := func(n int) {
				t.Helper()
				for range n {
					floor, _ := j.Floor()
					j.Settle(floor)
					until(t, func() bool { return !j.Full() })
					mustAppend(t, j, bytes.Repeat([]byte("f"), 3000))
				}
			}
			for range 3 {
				sell(150)
				until(t, func() bool { return j.Stats().Damaged == 0 })
				if s := j.Stats(); s.Freed < uint64(len(row.nos)) {
					t.Fatalf("%d segments were freed", s.Freed)
				}
				contents(t, j)
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				if j, err = Open(f.dir, o); err != nil {
					t.Fatal(err)
				}
				until(t, func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.surveyed })
				if d := j.Damage(); len(d) != 0 {
					t.Fatalf("what was freed is called damaged: %v", d)
				}
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestUnusableOnlyByItsFile: what is the process's own trouble is not called damage.
func TestUnusableOnlyByItsFile(t *testing.T) {
	for _, err := range []error{unix.EMFILE, unix.ENOMEM, unix.EACCES, ErrNewer} {
		var damage *CorruptError
		if got := unusable(1, err); errors.As(got, &damage) || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
