package journal

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system with room for so many bytes, all files being segments.
type smallDisk struct {
	disk.FS
	size uint64
}

func (d *smallDisk) Free() (uint64, error) {
	names, err := d.Names()
	if err != nil {
		return 0, err
	}
	free := d.size
	for _, name := range names {
		f, err := d.Open(name)
		if errors.Is(err, fs.ErrNotExist) { // taken away meanwhile
			continue
		}
		if err != nil {
			return 0, err
		}
		n, err := f.Size()
		f.Close()
		if err != nil {
			return 0, err
		}
		free -= min(free, uint64(n))
	}
	return free, nil
}

func (d *smallDisk) Create(name string, size int64, pause func()) error {
	if free, err := d.Free(); err != nil {
		return err
	} else if free < uint64(size) {
		return unix.ENOSPC
	}
	return d.FS.Create(name, size, pause)
}

// TestRetentionGivesWay: where there is no more room, by the budget or on the disk, what
// head office has settled is given up before its time, but not what its backups may lack;
// what it has not settled never is.
func TestRetentionGivesWay(t *testing.T) {
	const room = 5
	for _, row := range []struct {
		name    string
		onDisk  bool
		settled bool
		age     time.Duration
		sells   bool
	}{
		{"budget", false, true, 48 * time.Hour, true},
		{"budget, young", false, true, time.Hour, false},
		{"budget, not settled", false, false, 48 * time.Hour, false},
		{"disk", true, true, 48 * time.Hour, true},
		{"disk, young", true, true, time.Hour, false},
		{"disk, not settled", true, false, 48 * time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := testOptions()
			o.ScrubEvery, o.Retention = -1, 30*24*time.Hour
			j, dir := newJournal(t, o)
			j.Close()
			o.Lab = hookFor(t, dir)
			o.Lab.Manual = false
			small := &smallDisk{FS: o.Lab.FS, size: 1 << 40}
			o.Lab.FS = small
			if row.onDisk {
				small.size = room*uint64(o.SegmentSize) + headroom
			} else {
				o.MaxBytes = room * o.SegmentSize
			}
			j = reopen(t, dir, o)
			err := sellUntilRefused(t, j)
			if !errors.Is(err, ErrNoSpace) || !j.Full() {
				t.Fatalf("full: %v", err)
			}
			until(t, func() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.surveyed })
			j.mu.Lock()
			for _, s := range j.segs {
				s.created -= row.age.Milliseconds()
			}
			j.mu.Unlock()
			if end, _ := j.Floor(); row.settled {
				j.Settle(end)
			}
			for i := range 200 { // many segments
				if err := sell(t, j); (err == nil) != row.sells {
					t.Fatalf("sale %d after that: %v", i, err)
				}
				if !row.sells {
					break
				}
				j.mu.Lock()
				j.segs[len(j.segs)-1].created = time.Now().Add(-row.age).UnixMilli()
				j.mu.Unlock()
				end, _ := j.Floor()
				j.Settle(end)
			}
			if st := j.Stats(); j.Full() == row.sells || (st.Freed > 0) != row.sells {
				t.Fatalf("full %v, %d segments were freed", j.Full(), st.Freed)
			}
		})
	}
}

// refusing is a file system whose folder may not be changed.
type refusing struct {
	disk.FS
	on atomic.Bool
}

func (d *refusing) Create(name string, size int64, pause func()) error {
	if d.on.Load() {
		return &fs.PathError{Op: "open", Path: name, Err: unix.EACCES}
	}
	return d.FS.Create(name, size, pause)
}

// TestFolderNotWritable: a journal that can make no segment refuses what it has no room
// for, says so to who asks whether it is full, and sells on when the folder was put right.
func TestFolderNotWritable(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	j.Close()
	o.Lab = hookFor(t, dir)
	o.Lab.Manual = false
	r := &refusing{FS: o.Lab.FS}
	o.Lab.FS = r
	j = reopen(t, dir, o)
	until(t, func() bool { return j.Stats().SpareReady })
	r.on.Store(true)
	err := sellUntilRefused(t, j)
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, fs.ErrPermission) || !j.Full() {
		t.Fatalf("full %v, refused with: %v", j.Full(), err)
	}
	r.on.Store(false)
	until(t, func() bool { return sell(t, j) == nil })
	if j.Full() {
		t.Error("it is still full")
	}
}

// TestFloorNotReadable: a file of root's is not damage that wants a salvage.
func TestFloorNotReadable(t *testing.T) {
	o := testOptions()
	j, dir := newJournal(t, o)
	j.Close()
	o.Lab = hookFor(t, dir)
	d := &sickDir{FS: o.Lab.FS, names: []string{noteName}, err: unix.EACCES}
	d.sick.Store(true)
	o.Lab.FS = d
	var damage *CorruptError
	if _, err := Open(dir, o); !errors.Is(err, fs.ErrPermission) || errors.As(err, &damage) {
		t.Errorf("got %v", err)
	}
}

// sell makes a record durable that takes a page.
func sell(t *testing.T, j *Journal) error {
	p := payload(make([]byte, 3000))
	seq, err := j.Append(chain.TypeOwner, Durable, len(p), p)
	if err == nil {
		err = j.Wait(t.Context(), seq)
	}
	return err
}

// sellUntilRefused returns why there is no more room.
func sellUntilRefused(t *testing.T, j *Journal) (err error) {
	for n := 0; n < 1000 && err == nil; n++ {
		err = sell(t, j)
	}
	return err
}
