package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/journal/internal/hook"
	"posd/journal/lab"
)

var (
	tmp    string
	cannot error // why nothing can be mounted here
)

func TestMain(m *testing.M) {
	if cannot = unable("ext4"); cannot == nil {
		tmp = enter(15 * time.Minute)
	}
	os.Exit(m.Run())
}

// testDisk is a mounted ext4 on a device that can be told to fail.
type testDisk struct {
	t       *testing.T
	devices *child
	device  Device
	loop    *loop
	mnt     string
	dir     string // of the journal
	segment int64
	max     int64
}

func newTestDisk(t *testing.T, mib int) *testDisk {
	t.Helper()
	if cannot != nil {
		if required() {
			t.Fatalf("must run here and cannot: %v", cannot)
		}
		t.Skipf("skipped, nothing was tested: %v", cannot)
	}
	img, err := format("ext4", mib<<20, t.TempDir(), "-b", "4096")
	check(t, err)
	d := &testDisk{t: t, segment: 64 << 10}
	d.devices, err = spawn("devices")
	check(t, err)
	t.Cleanup(d.devices.kill)
	check(t, d.devices.call("Devices.New", img, &d.device, callLimit))
	d.loop, err = attach(d.device.Path)
	check(t, err)
	t.Cleanup(func() { d.loop.close() })
	d.mnt, err = os.MkdirTemp(tmp, "mnt-")
	check(t, err)
	d.dir = filepath.Join(d.mnt, "journal")
	d.mount("")
	t.Cleanup(func() {
		d.inject()
		check(t, unmount(d.mnt))
	})
	return d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *testDisk) mount(options string) {
	d.t.Helper()
	check(d.t, mount(Mount{d.loop.path, d.mnt, "ext4", options}))
}

// remount empties the page cache, as a reboot does.
func (d *testDisk) remount(options string) {
	d.t.Helper()
	check(d.t, unmount(d.mnt))
	d.mount(options)
	os.Remove(filepath.Join(d.dir, "lock"))
}

func (d *testDisk) inject(f ...Fault) {
	d.t.Helper()
	check(d.t, d.devices.call("Devices.Inject", Injection{d.device.No, f}, &struct{}{}, callLimit))
}

func (d *testDisk) create() {
	d.t.Helper()
	_, err := journal.Create(d.dir, journal.CreateOptions{Identity: identity, SegmentSize: d.segment, Opening: opening})
	check(d.t, err)
}

func (d *testDisk) options(b hook.Bug) journal.Options {
	return journal.Options{SegmentSize: d.segment, MaxBytes: d.max, Opening: opening, ScrubEvery: -1, Lab: &hook.Lab{Bug: b}}
}

func (d *testDisk) open(b hook.Bug) *journal.Journal {
	d.t.Helper()
	j, err := journal.Open(d.dir, d.options(b))
	check(d.t, err)
	d.t.Cleanup(func() { j.Close() }) // before the disk is unmounted, also where the test failed
	return j
}

func (d *testDisk) put(j *journal.Journal, n int) uint64 {
	d.t.Helper()
	seq, err := put(j, n)
	check(d.t, err)
	return seq
}

// where is the place on the device of a byte of a file.
func (d *testDisk) where(name string, off int) int64 {
	d.t.Helper()
	f, err := os.Open(filepath.Join(d.dir, name))
	check(d.t, err)
	defer f.Close()
	const fibmap, block = 1, 4096
	at := uint32(off / block)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fibmap, uintptr(unsafe.Pointer(&at))); errno != 0 {
		d.t.Fatal("FIBMAP: ", errno)
	}
	return int64(at)*block + int64(off%block)
}

// groups of a segment, as they lie on the device.
func (d *testDisk) groups(no uint32) []lab.Group {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, segmentName(no)))
	check(d.t, err)
	return lab.Groups(b, no)
}

func segmentName(no uint32) string { return fmt.Sprintf("%010d.seg", no) }

// TestWriteBackFails: a group that the device refuses is not acknowledged, not
// even by the next start, whose page cache still shows it.
func TestWriteBackFails(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("pages held by another process %v", held), func(t *testing.T) {
			if acked, next := refusedGroup(t, 0, held); next != acked {
				t.Fatalf("%d records were acknowledged, %d are there at the next start", acked, next)
			}
		})
	}
	t.Run("planted: the sync is tried again", func(t *testing.T) {
		if acked, next := refusedGroup(t, hook.RetrySync, false); next >= acked {
			t.Fatal("not seen: nothing is lost")
		}
	})
	t.Run("planted: recovery from the page cache", func(t *testing.T) {
		if acked, next := refusedGroup(t, hook.CachedRead, true); next <= acked {
			t.Fatal("not seen: nothing came back")
		}
	})
}

// refusedGroup returns what was acknowledged and what the next start holds.
func refusedGroup(t *testing.T, b hook.Bug, held bool) (acked, next uint64) {
	d := newTestDisk(t, 16)
	d.create()
	j := d.open(b)
	acked = d.put(j, 300)
	holder, err := spawn("player")
	check(t, err)
	defer holder.kill()
	if held {
		check(t, holder.call("Player.Hold", filepath.Join(d.dir, segmentName(1)), &struct{}{}, callLimit))
	}
	d.inject(Fault{Prefix: "PRG1", Count: 1})
	seq, err := put(j, 300)
	if err == nil { // a retried sync: the record is nowhere
		check(t, j.Close())
		d.remount("")
		for _, g := range d.groups(1) {
			next = g.Last
		}
		return seq, next
	}
	failedForGood(t, j, acked, err)
	j.Close()
	d.inject()
	j = d.open(b)
	next, _ = j.Floor()
	if b == 0 {
		d.put(j, 300)
		holder.kill()
		d.goesOn(j)
	}
	j.Close()
	return acked, next
}

// failedForGood: nothing is acknowledged any more.
func failedForGood(t *testing.T, j *journal.Journal, acked uint64, err error) {
	t.Helper()
	if !errors.Is(err, journal.ErrFailed) {
		t.Fatalf("got %v, want ErrFailed", err)
	}
	select {
	case <-j.Failed():
	case <-time.After(callLimit):
		t.Fatal("the failure is not announced")
	}
	if _, err := put(j, 10); !errors.Is(err, journal.ErrFailed) {
		t.Fatalf("after the failure: %v, want ErrFailed", err)
	}
	if floor, _ := j.Floor(); floor != acked {
		t.Fatalf("the floor is %d, acknowledged were %d", floor, acked)
	}
}

// goesOn writes, stops and sees all of it on the device after a reboot.
func (d *testDisk) goesOn(j *journal.Journal) {
	d.t.Helper()
	for range 3 {
		d.put(j, 300)
	}
	check(d.t, j.Close())
	floor, _ := j.Floor()
	d.remount("")
	rep, err := journal.Verify(context.Background(), d.dir, journal.VerifyOptions{})
	check(d.t, err)
	if rep.Last != floor {
		d.t.Fatalf("%d records were acknowledged, %d are on the device", floor, rep.Last)
	}
}

// TestUnreadableSector: a sector that the device cannot read counts as garbled.
func TestUnreadableSector(t *testing.T) {
	t.Run("in the last group, the note saw it", func(t *testing.T) {
		d := newTestDisk(t, 16)
		d.create()
		j := d.open(0)
		d.put(j, 300)
		check(t, j.Close())
		d.unreadable(1, -1)
		_, err := journal.Open(d.dir, d.options(0))
		d.wantDamage(err)
		j, err = journal.Open(d.dir, d.options(hook.TruncateAny))
		if errors.As(err, new(*journal.CorruptError)) {
			t.Fatal("planted: damage taken for a torn tail: not seen")
		}
		if j != nil {
			j.Close()
		}
	})
	t.Run("in the last group, no note saw it", func(t *testing.T) {
		d := newTestDisk(t, 16)
		d.create()
		last := d.killed()
		d.unreadable(1, -1)
		j := d.open(0)
		if floor, _ := j.Floor(); floor != last-1 {
			t.Fatalf("%d records are there, want %d", floor, last-1)
		}
		d.inject()
		d.goesOn(j)
	})
	t.Run("in an earlier group of the last segment", func(t *testing.T) {
		d := newTestDisk(t, 16)
		d.create()
		d.killed()
		d.unreadable(1, 1)
		_, err := journal.Open(d.dir, d.options(0))
		d.wantDamage(err)
	})
	t.Run("in an older segment", func(t *testing.T) {
		d := newTestDisk(t, 16)
		d.create()
		j := d.open(0)
		for range 40 {
			d.put(j, 8000)
		}
		check(t, j.Close())
		d.unreadable(1, 1)
		j = d.open(0)
		defer j.Close()
		d.wantDamage(readAll(j))
		_, err := journal.Verify(context.Background(), d.dir, journal.VerifyOptions{})
		d.wantDamage(err)
		d.put(j, 300) // selling goes on
	})
}

// killed is the last record that was acknowledged by a process that was killed
// right after; no floor note saw it.
func (d *testDisk) killed() (last uint64) {
	d.t.Helper()
	p, err := spawn("player")
	check(d.t, err)
	till := Till{Dir: d.dir, Segment: d.segment}
	check(d.t, p.call("Player.Fill", till, &last, callLimit))
	p.kill()
	return last
}

// unreadable makes a sector of a group unreadable, after a reboot; group -1 is
// the last one.
func (d *testDisk) unreadable(no uint32, group int) {
	d.t.Helper()
	all := d.groups(no)
	if group < 0 {
		group += len(all)
	}
	at := d.where(segmentName(no), all[group].Off)
	d.remount("")
	d.inject(Fault{Read: true, Off: at, Len: sectorSize})
}

func (d *testDisk) wantDamage(err error) {
	d.t.Helper()
	if !errors.As(err, new(*journal.CorruptError)) {
		d.t.Fatalf("got %v, want a *CorruptError", err)
	}
}

func readAll(j *journal.Journal) error {
	r, err := j.Reader(j.Oldest())
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestDiskFull: nothing is acknowledged that has no room, and it goes on when
// there is some.
func TestDiskFull(t *testing.T) {
	d := newTestDisk(t, 16)
	free := d.ballast(0)
	if _, err := journal.Create(d.dir, journal.CreateOptions{Identity: identity, SegmentSize: d.segment, Opening: opening}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("create on a full disk: %v", err)
	}
	if _, err := journal.Open(d.dir, d.options(0)); !errors.Is(err, journal.ErrNoJournal) {
		t.Fatalf("after a create that failed: %v, want ErrNoJournal", err)
	}
	free()
	d.create()
	free = d.ballast(3 << 20)
	j := d.open(0)
	last := d.fillUp(j)
	if last < 100 {
		t.Fatalf("only %d records fitted", last)
	}
	check(t, j.Close())
	d.remount("")
	j = d.open(0) // a start without room
	if floor, _ := j.Floor(); floor < last {
		t.Fatalf("%d records were acknowledged, %d are there", last, floor)
	}
	d.fillUp(j)
	check(t, readAll(j))
	j.Settle(last) // old segments are used again, without any new room
	d.until(func() bool { _, err := put(j, 5000); return err == nil })
	free()
	d.until(func() bool { _, err := put(j, 5000); return err == nil })
	d.goesOn(j)
}

// ballast fills the disk but for so many bytes.
func (d *testDisk) ballast(but int64) (free func()) {
	d.t.Helper()
	path := filepath.Join(d.mnt, "ballast")
	f, err := os.Create(path)
	check(d.t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
	st, err := f.Stat()
	check(d.t, err)
	check(d.t, f.Truncate(st.Size()-but))
	check(d.t, f.Sync())
	check(d.t, f.Close())
	return func() { check(d.t, os.Remove(path)) }
}

// fillUp puts records until there is no room, and returns the last one.
func (d *testDisk) fillUp(j *journal.Journal) (last uint64) {
	d.t.Helper()
	for {
		seq, err := put(j, 5000)
		if errors.Is(err, journal.ErrNoSpace) {
			floor, _ := j.Floor()
			return floor
		}
		check(d.t, err)
		if floor, _ := j.Floor(); floor < seq {
			d.t.Fatalf("record %d was acknowledged, the floor is %d", seq, floor)
		}
	}
}

func (d *testDisk) until(ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(callLimit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatal("still not after", callLimit)
		}
	}
}

// TestSegmentCannotBeMade: the device refuses the zeros of a new segment. What is
// there goes on to its end; then records are refused, and nothing is latched.
func TestSegmentCannotBeMade(t *testing.T) {
	d := newTestDisk(t, 16)
	d.create()
	j := d.open(0)
	d.until(func() bool { return j.Stats().SpareReady })
	d.inject(Fault{Prefix: strings.Repeat("\x00", 4096)})
	var last uint64
	var err error
	for err == nil {
		var seq uint64
		if seq, err = put(j, 5000); err == nil {
			last = seq
		}
	}
	if errors.Is(err, journal.ErrFailed) || j.Err() != nil {
		t.Fatalf("latched: %v", err)
	}
	if floor, _ := j.Floor(); floor != last {
		t.Fatalf("the floor is %d, acknowledged were %d", floor, last)
	}
	t.Log(err)
	d.inject()
	d.until(func() bool { _, err := put(j, 5000); return err == nil })
	d.goesOn(j)
}

// TestTurnsReadOnly: after an error of its own ext4 refuses to write.
func TestTurnsReadOnly(t *testing.T) {
	d := newTestDisk(t, 16)
	d.create()
	d.remount("errors=remount-ro")
	j := d.open(0)
	acked := d.put(j, 300)
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(d.loop.path), "trigger_fs_error")
	check(t, os.WriteFile(trigger, []byte("planted by a test"), 0))
	var err error
	for err == nil { // pages that are writable already may still be written
		var seq uint64
		if seq, err = put(j, 3000); err == nil {
			acked = seq
		}
	}
	failedForGood(t, j, acked, err)
	check(t, readAll(j))
	j.Close()
	d.remount("")
	j = d.open(0)
	if floor, _ := j.Floor(); floor < acked {
		t.Fatalf("%d records were acknowledged, %d are there", acked, floor)
	}
	d.goesOn(j)
}

// TestMountedReadOnly: what is held can be read and shipped.
func TestMountedReadOnly(t *testing.T) {
	d := newTestDisk(t, 16)
	d.create()
	j := d.open(0)
	acked := d.put(j, 300)
	check(t, j.Close())
	check(t, unmount(d.mnt))
	check(t, unix.Mount(d.loop.path, d.mnt, "ext4", unix.MS_RDONLY, ""))
	j = d.open(0)
	defer j.Close()
	if floor, _ := j.Floor(); floor < acked {
		t.Fatalf("%d records were acknowledged, %d are there", acked, floor)
	}
	check(t, readAll(j))
	if _, err := put(j, 10); !errors.Is(err, journal.ErrReadOnly) {
		t.Fatalf("append: %v, want ErrReadOnly", err)
	}
}

// TestReplaced: a segment that is replaced or removed while it is in use is
// noticed before anything is acknowledged into a file without a name.
func TestReplaced(t *testing.T) {
	for name, by := range map[string]func(seg string) error{
		"removed": os.Remove,
		"replaced": func(seg string) error {
			b, err := os.ReadFile(seg)
			return errors.Join(err, os.WriteFile(seg+".new", b, 0o600), os.Rename(seg+".new", seg))
		},
		"with its folder": func(seg string) error { return os.RemoveAll(filepath.Dir(seg)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDisk(t, 16)
			d.create()
			j := d.open(0)
			acked := d.put(j, 300)
			check(t, by(filepath.Join(d.dir, segmentName(1))))
			_, err := put(j, 300)
			failedForGood(t, j, acked, err)
		})
	}
}

// TestDeviceWrites: a durable commit of a small sale costs the device one page
// or little more, by the device's own counter; the 2,000 commits fill two
// segments, so one more is made meanwhile, which is half a page a commit.
func TestDeviceWrites(t *testing.T) {
	const commits, limit = 2000, 8 << 10
	d := newTestDisk(t, 64)
	d.segment = 4 << 20
	d.create()
	j := d.open(0)
	d.until(func() bool { return j.Stats().SpareReady })
	d.put(j, 300)
	per := d.writtenBy(commits, func() { d.put(j, 300) })
	check(t, j.Close())
	t.Logf("%d bytes a commit", per)
	if per >= limit {
		t.Fatalf("%d bytes to the device for each commit of 300, the limit is %d", per, limit)
	}
	// The trap: a file that was written in large pieces lies in large folios, and
	// a dirty page takes its whole folio with it to the device.
	trap := d.largeFolios(8 << 20)
	off := 0
	per = d.writtenBy(200, func() {
		trap[off] = 1
		check(t, unix.Msync(trap[off:off+4096], unix.MS_SYNC))
		off += 4096
	})
	t.Logf("in the trap: %d bytes a commit", per)
	if per < limit {
		t.Log("this kernel does not show the trap: the guard has no negative control here")
	}
}

func (d *testDisk) writtenBy(n int, commit func()) int64 {
	d.t.Helper()
	before, err := d.loop.written()
	check(d.t, err)
	for range n {
		commit()
	}
	after, err := d.loop.written()
	check(d.t, err)
	return (after - before) / int64(n)
}

func (d *testDisk) largeFolios(size int) []byte {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.mnt, "trap"))
	check(d.t, err)
	defer f.Close()
	for range size >> 20 {
		_, err = f.Write(make([]byte, 1<<20))
		check(d.t, err)
	}
	check(d.t, f.Sync())
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(d.t, err)
	d.t.Cleanup(func() { unix.Munmap(b) })
	return b
}
