package disk

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ReadOnly is a journal folder that is only looked at: live, copied or on a
// read-only mount. Everything that would change it fails.
type ReadOnly struct{ Path string }

func (d ReadOnly) Names() ([]string, error) { return (&Dir{path: d.Path}).Names() }

func (d ReadOnly) Open(name string) (File, error) {
	f, err := os.Open(filepath.Join(d.Path, name))
	if err != nil {
		return nil, err
	}
	return readFile{f}, nil
}

func refuse(what string) error { return fmt.Errorf("%s: %w", what, fs.ErrPermission) }

func (d ReadOnly) Create(string, int64, func()) error { return refuse("create") }
func (d ReadOnly) Rename(string, string) error        { return refuse("rename") }
func (d ReadOnly) Remove(string) error                { return refuse("remove") }
func (d ReadOnly) SyncDir() error                     { return refuse("sync") }
func (d ReadOnly) Free() (uint64, error)              { return 0, refuse("free") }

type readFile struct{ *os.File }

func (f readFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f readFile) Map(bool) ([]byte, error)                  { return nil, refuse("map") }
func (f readFile) Populate(int, int) error                   { return refuse("populate") }
func (f readFile) Fetch(int, int)                            {}
func (f readFile) Near(int, int)                             {}
func (f readFile) Behind(int, int)                           {}
func (f readFile) SyncRange(int, int) error                  { return refuse("sync") }
func (f readFile) WriteAt([]byte, int64) (int, error)        { return 0, refuse("write") }
func (f readFile) ReadCold(p []byte, off int64) (int, error) { return f.ReadAt(p, off) }
func (f readFile) Cold() error                               { return nil }
func (f readFile) Datasync() error                           { return nil }
func (f readFile) DropCache()                                { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
