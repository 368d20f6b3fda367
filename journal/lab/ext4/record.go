package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"posd/journal/lab"
)

// A device is a disk in memory behind one FUSE file, on which a loop device
// stands. It records what reaches it, in order, and can be told to fail.
type device struct {
	fs.Inode
	mu     sync.Mutex
	image  []byte
	record bool
	log    []entry
	faults []*Fault
}

// entry is one line of a device's log. Reports of the process that plays stand
// in the same log: it writes them to a FUSE file too, and such a write returns
// after the line is in. So their order against block writes is the true one.
type entry struct {
	kind kind
	off  int64   // write
	data []byte  // write
	seq  uint64  // report
	sum  lab.Sum // report
}

type kind uint8

const (
	write     kind = iota
	flush          // it has returned: all writes above it are durable
	created        // the journal exists
	intended       // record seq will have this sum; it stands before the record can be durable
	acked          // all up to seq had been called durable
	noted          // an orderly stop at seq
	settled        // all up to seq may be freed from here on
	restarted      // opened, the last record is seq
)

// Fault makes the device refuse what matches.
type Fault struct {
	Off, Len int64  // byte range, Len 0 = all
	Read     bool   // reads, else writes
	Prefix   string // only writes with a 4 KiB block that begins so
	Count    int    // so many times, 0 = until healed
	Hits     int
}

func (f *Fault) hits(read bool, off int64, n int, data []byte) bool {
	if f.Read != read || (f.Len != 0 && (off >= f.Off+f.Len || off+int64(n) <= f.Off)) || (f.Count > 0 && f.Hits >= f.Count) {
		return false
	}
	if f.Prefix != "" && !hasBlock(data, f.Prefix) {
		return false
	}
	f.Hits++
	return true
}

func hasBlock(data []byte, prefix string) bool {
	for len(data) >= len(prefix) {
		if string(data[:len(prefix)]) == prefix {
			return true
		}
		data = data[min(4096, len(data)):]
	}
	return false
}

// load gives the device a new content, written by fill, and an empty log.
func (d *device) load(record bool, fill func(image []byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fill(d.image)
	d.log, d.record, d.faults = nil, record, nil
}

// take returns the log and ends recording.
func (d *device) take() []entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	log := d.log
	d.log, d.record = nil, false
	return log
}

// heard returns the reports in the log, encoded.
func (d *device) heard() (b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.log {
		if e.kind >= created {
			b = e.appendTo(b)
		}
	}
	return b
}

func (d *device) inject(f ...*Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

// count says how many reports of a kind are in the log.
func (d *device) count(k kind) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.log {
		if e.kind == k {
			n++
		}
	}
	return n
}

func (d *device) fails(read bool, off int64, n int, data []byte) bool {
	for _, f := range d.faults {
		if f.hits(read, off, n, data) {
			return true
		}
	}
	return false
}

func (d *device) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Nlink = fuse.S_IFREG|0o600, uint64(len(d.image)), 1
	return 0
}

func (d *device) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (d *device) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails(true, off, len(dest), nil) {
		return nil, syscall.EIO
	}
	n := copy(dest, d.image[min(off, int64(len(d.image))):])
	return fuse.ReadResultData(dest[:n]), 0
}

func (d *device) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(data)) > int64(len(d.image)) {
		return 0, syscall.ENOSPC
	}
	if d.fails(false, off, len(data), data) {
		return 0, syscall.EIO
	}
	copy(d.image[off:], data)
	if d.record {
		d.log = append(d.log, entry{kind: write, off: off, data: append([]byte(nil), data...)})
	}
	return uint32(len(data)), 0
}

// Fsync is how a loop device flushes its cache. It knows no FUA: the kernel
// sends a flush after such a write instead.
func (d *device) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record {
		d.log = append(d.log, entry{kind: flush})
	}
	return 0
}

// Allocate zeroes a range, as the loop device asks where ext4 wants zeros.
func (d *device) Allocate(ctx context.Context, h fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode&(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_PUNCH_HOLE) == 0 {
		return syscall.EOPNOTSUPP
	}
	_, errno := d.Write(ctx, h, make([]byte, size), int64(off))
	return errno
}

// reports is the FUSE file for the reports of the process that plays.
type reports struct {
	fs.Inode
	d *device
}

const reportSize = 17

func (e entry) appendTo(b []byte) []byte {
	b = append(b, byte(e.kind))
	b = binary.LittleEndian.AppendUint64(b, e.seq)
	return binary.LittleEndian.AppendUint64(b, uint64(e.sum))
}

func decodeReport(b []byte) entry {
	return entry{kind: kind(b[0]), seq: binary.LittleEndian.Uint64(b[1:]), sum: lab.Sum(binary.LittleEndian.Uint64(b[9:]))}
}

func (r *reports) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = fuse.S_IFREG|0o600, 1
	return 0
}

func (r *reports) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (r *reports) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	if len(data) != reportSize || kind(data[0]) < created || kind(data[0]) > restarted {
		return 0, syscall.EINVAL
	}
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record {
		d.log = append(d.log, decodeReport(data))
	}
	return uint32(len(data)), 0
}

// rack is the FUSE file system that holds the devices.
type rack struct {
	fs.Inode
	dir    string
	server *fuse.Server
	names  int
}

// newRack mounts it at dir. It mounts by itself, not by fusermount, so that the
// descriptor is closed in children: when this process dies, whoever waits for
// one of its devices gets an error and is not stuck.
func newRack(dir string) (*rack, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w", err)
	}
	const size = 1 << 20
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", fd, size)
	if err := unix.Mount("rack", dir, "fuse.rack", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount the FUSE file system: %w", err)
	}
	k := &rack{dir: dir}
	raw := fs.NewNodeFS(k, &fs.Options{})
	k.server, err = fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{MaxWrite: size, MaxBackground: 64, DisableXAttrs: true, DisableSplice: true})
	if err != nil {
		unix.Unmount(dir, unix.MNT_DETACH)
		return nil, fmt.Errorf("start the FUSE server: %w", err)
	}
	go k.server.Serve()
	return k, k.server.WaitMount()
}

// add puts a device of size bytes into the rack.
func (k *rack) add(size int) (d *device, image, reportsTo string) {
	d = &device{image: make([]byte, size)}
	k.names++
	name := fmt.Sprintf("disk%d", k.names)
	attr := fs.StableAttr{Mode: fuse.S_IFREG}
	k.AddChild(name, k.NewPersistentInode(context.Background(), d, attr), true)
	k.AddChild(name+".log", k.NewPersistentInode(context.Background(), &reports{d: d}, attr), true)
	return d, filepath.Join(k.dir, name), filepath.Join(k.dir, name+".log")
}

func (k *rack) close() {
	// Lazily: a loop device that is being given back may hold a file for a moment.
	unix.Unmount(k.dir, unix.MNT_DETACH)
	os.Remove(k.dir)
}
