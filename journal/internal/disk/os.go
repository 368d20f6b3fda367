package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// fillChunk is the size of one zero-filling write. Larger writes make the page
// cache use large folios, and then one 300-byte commit writes 1–2 MiB to flash
// (measured on ext4, Linux 6.18).
const fillChunk = 4096

var zeroPage [fillChunk]byte

// fillBatch is how much is filled between two fdatasyncs and pauses.
const fillBatch = 256 << 10

// Dir is the real file system below one folder.
type Dir struct {
	path string
	fd   *os.File
	ro   bool
}

// OpenDir opens an existing folder.
func OpenDir(path string) (*Dir, error) {
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if st, err := fd.Stat(); err != nil || !st.IsDir() {
		fd.Close()
		if err == nil {
			err = &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
		}
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fd.Fd()), &st); err != nil {
		fd.Close()
		return nil, err
	}
	return &Dir{path: path, fd: fd, ro: st.Flags&unix.ST_RDONLY != 0}, nil
}

// ReadOnly says whether the file system was mounted read-only at OpenDir.
func (d *Dir) ReadOnly() bool { return d.ro }

// Close releases the folder.
func (d *Dir) Close() error { return d.fd.Close() }

func (d *Dir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d *Dir) Create(name string, size int64, pause func()) (err error) {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(path)
		}
	}()
	// Ask for one contiguous run first; the zeros below turn it into written
	// extents. The size must grow with them: it tells a half-made file.
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EIO) {
		return fmt.Errorf("reserve %d bytes for %s: %w", size, path, err)
	}
	if err := fill(f, size, pause); err != nil {
		return fmt.Errorf("zero-fill %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return f.Close()
}

func fill(f *os.File, size int64, pause func()) error {
	for off := int64(0); off < size; off += fillChunk {
		if _, err := f.WriteAt(zeroPage[:min(fillChunk, size-off)], off); err != nil {
			return err
		}
		if next := off + fillChunk; pause != nil && next%fillBatch == 0 {
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				return err
			}
			pause()
		}
	}
	return nil
}

func (d *Dir) Open(name string) (File, error) {
	path := filepath.Join(d.path, name)
	flag := os.O_RDWR
	if d.ro {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return &file{f: f, fd: int(f.Fd()), path: path}, nil
}

func (d *Dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *Dir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *Dir) SyncDir() error { return d.fd.Sync() }

func (d *Dir) Free() (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.fd.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

type file struct {
	f      *os.File
	fd     int
	path   string
	direct *os.File // opened at the first ReadCold; nil where O_DIRECT is refused
	noDir  bool
	m      mmap.MMap
	noPop  bool // the kernel lacks MADV_POPULATE_WRITE
}

func (f *file) Size() (int64, error) {
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f *file) Map(write bool) ([]byte, error) {
	prot := mmap.RDONLY
	if write {
		prot = mmap.RDWR
	}
	if write && Lab {
		prot = mmap.COPY
	}
	m, err := mmap.Map(f.f, prot, 0)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.path, err)
	}
	// No readahead and no fault-around: see fillChunk. Advice, so no error.
	unix.Madvise(m, unix.MADV_RANDOM)
	f.m = m
	return m, nil
}

func (f *file) Populate(off, n int) error {
	if err := f.zero(off, n); err != nil {
		return err
	}
	if !f.noPop {
		err := unix.Madvise(f.m[off:off+n], unix.MADV_POPULATE_WRITE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return err
		}
		f.noPop = true // Linux before 5.14, or a filter of system calls
	}
	return touch(f.m[off : off+n])
}

// zero writes zeros through the file, page by page (see fillChunk): a whole page
// need not be read before it is written, which a store to the map would have the
// device do. It costs 4 µs instead of a read from flash.
func (f *file) zero(off, n int) error {
	if Lab {
		return nil // the map is private: it would see its own copy
	}
	// Writing behind the end of a file that was cut short would make it look whole.
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	if st.Size < int64(off+n) {
		return unix.EFAULT
	}
	for end := off + n; off < end; off += len(zeroPage) {
		_, err := unix.Pwrite(f.fd, zeroPage[:min(len(zeroPage), end-off)], int64(off))
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Pwrite(f.fd, zeroPage[:min(len(zeroPage), end-off)], int64(off))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// touch stores one word of each page to itself; a fault comes back as EFAULT.
func touch(b []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = unix.EFAULT
		}
	}()
	page := os.Getpagesize()
	for i := 0; i < len(b); i += page {
		atomic.AddUint32((*uint32)(unsafe.Pointer(&b[i])), 0)
	}
	return nil
}

func (f *file) Fetch(off, n int) { unix.Fadvise(f.fd, int64(off), int64(n), unix.FADV_WILLNEED) }

func (f *file) Behind(off, n int) {
	unix.Madvise(f.m[off:off+n], unix.MADV_DONTNEED) // what is in a map stays in the cache
	unix.Fadvise(f.fd, int64(off), int64(n), unix.FADV_DONTNEED)
}

func (f *file) Near(off, n int) { unix.Madvise(f.m[off:off+n], unix.MADV_POPULATE_READ) }

func (f *file) SyncRange(off, n int) error {
	if Lab {
		if err := labSync(); err != nil {
			return err
		}
		if _, err := f.f.WriteAt(f.m[off:off+n], int64(off)); err != nil {
			return err
		}
		return f.Datasync()
	}
	if err := f.m[off : off+n].Flush(); err != nil {
		return err
	}
	return f.linked()
}

// linked refuses to call durable what went into a file that has lost its name: it
// was removed, or another was renamed over it. Nobody would find the bytes again.
func (f *file) linked() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return fmt.Errorf("%s was removed or replaced while it was in use: %w", f.path, unix.ESTALE)
	}
	return nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *file) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *file) DropCache()                               { unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED) }

func (f *file) Datasync() error {
	if err := unix.Fdatasync(f.fd); err != nil {
		return err
	}
	return f.linked()
}

// openDirect opens the file a second time, past the page cache, where the file
// system can do that.
func (f *file) openDirect() {
	if f.direct == nil && !f.noDir {
		d, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_DIRECT, 0)
		f.direct, f.noDir = d, err != nil
	}
}

func (f *file) Cold() error {
	f.openDirect()
	var st unix.Statfs_t
	if f.direct != nil || unix.Fstatfs(f.fd, &st) == nil && st.Type == unix.TMPFS_MAGIC { // its cache is all there is
		return nil
	}
	f.DropCache()
	size, err := f.Size()
	if err != nil || size == 0 {
		return err
	}
	m, err := unix.Mmap(f.fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	page := os.Getpagesize()
	in := make([]byte, (len(m)+page-1)/page)
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0]))); e != 0 {
		return fmt.Errorf("what the page cache holds of %s cannot be told: %w", f.path, e)
	}
	for i, b := range in {
		if b&1 != 0 {
			return fmt.Errorf("the page cache holds page %d of %s, because another process maps it, and the file system cannot be read past it; end that process or restart the machine", i, f.path)
		}
	}
	return nil
}

func (f *file) ReadCold(p []byte, off int64) (int, error) {
	f.openDirect()
	if f.direct != nil {
		n, err := f.direct.ReadAt(p, off)
		if !errors.Is(err, unix.EINVAL) {
			return n, err
		}
		f.direct.Close()
		f.direct, f.noDir = nil, true
	}
	unix.Fadvise(f.fd, off, int64(len(p)), unix.FADV_DONTNEED)
	return f.f.ReadAt(p, off)
}

func (f *file) Close() error {
	var err error
	if f.m != nil {
		err = f.m.Unmap()
		f.m = nil
	}
	if f.direct != nil {
		f.direct.Close()
		f.direct = nil
	}
	return errors.Join(err, f.f.Close())
}

// Buffer returns n bytes aligned for ReadCold.
func Buffer(n int) []byte {
	const align = 4096
	b := make([]byte, n+align)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (align - 1))
	return b[skip : skip+n : skip+n]
}

var _ io.ReaderAt = (*file)(nil)
