package export

import (
	"os"

	"golang.org/x/sys/unix"
)

// pieceSize is written at a time: a long write would make commits of sales wait.
const pieceSize = 64 << 10

// file is an export on its way to the disk. Each piece is sent there at once, and is out
// of the page cache when the next but one has been: memory is the till's.
type file struct {
	x    *Exporter
	f    *os.File
	size int64
}

func (x *Exporter) create(id string) (*file, error) {
	f, err := os.OpenFile(x.path(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{x: x, f: f}, nil
}

func (w *file) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := w.x.room(w.size); err != nil {
		return err
	}
	if _, err := w.f.Write(b); err != nil {
		return err
	}
	fd, before := int(w.f.Fd()), w.size
	w.size += int64(len(b))
	// Nothing depends on these: the file need not survive.
	_ = unix.SyncFileRange(fd, before, int64(len(b)), unix.SYNC_FILE_RANGE_WRITE)
	if done := before - pieceSize; done > 0 {
		_ = unix.SyncFileRange(fd, 0, done, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
		_ = unix.Fadvise(fd, 0, done, unix.FADV_DONTNEED)
	}
	return nil
}

func (w *file) close() error { return w.f.Close() }
