package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is the right to write one journal folder. The kernel drops it when the
// process dies, however it dies.
type Lock struct {
	f    *os.File
	last Owner
}

// Owner is what the holder of a lock says of itself. It is advice for messages
// and for one decision: whether the page cache of the last holder still stands.
type Owner struct {
	PID   int
	Boot  string // kernel boot id
	State string // "open", "closed" or "failed"
}

// ErrLocked means that a living process holds the folder.
var ErrLocked = errors.New("journal is in use")

// AcquireLock takes the folder's lock file without waiting. Before tells what
// the previous holder left.
func AcquireLock(dir string) (*Lock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, unix.EROFS) {
		f, err = os.Open(path) // locks all the same
		if errors.Is(err, fs.ErrNotExist) {
			return &Lock{}, nil // nobody can write there
		}
	}
	if err != nil {
		return nil, err
	}
	prev := readOwner(f)
	if err := flock(f); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: process %d holds %s", ErrLocked, prev.PID, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f: f, last: readOwner(f)}, nil
}

// flock tries for a second: whoever looks whether the lock is held holds it for
// a moment.
func flock(f *os.File) (err error) {
	for range 50 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// Locked reports whether a living process holds the folder.
func Locked(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	return false
}

// Before returns what the previous holder wrote; zero if nobody held it.
func (l *Lock) Before() Owner { return l.last }

// Set records the holder's state. Best effort: it is never needed for safety.
func (l *Lock) Set(state string) {
	if l.f == nil {
		return
	}
	text := fmt.Sprintf("%d %s %s\n", os.Getpid(), BootID(), state)
	l.f.Truncate(0)
	l.f.WriteAt([]byte(text), 0)
}

// Release gives the lock back.
func (l *Lock) Release() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}

func readOwner(f *os.File) Owner {
	var o Owner
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 256))
	if err != nil {
		return o
	}
	if _, err := fmt.Sscanf(string(b), "%d %s %s", &o.PID, &o.Boot, &o.State); err != nil {
		return Owner{PID: o.PID}
	}
	return o
}

// BootID identifies the running kernel's boot; empty if nothing can. Where /proc
// hides it, as under ProcSubset=pid, a random word in the service's runtime folder
// does: that is memory, and gone with the boot.
func BootID() string {
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return strings.TrimSpace(string(b))
	}
	return bootWord(os.Getenv("RUNTIME_DIRECTORY"))
}

func bootWord(dir string) string {
	var st unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return ""
	}
	path := filepath.Join(dir, "boot")
	if b, err := os.ReadFile(path); err == nil && len(b) == 26 {
		return string(b)
	}
	word := rand.Text()
	if os.WriteFile(path, []byte(word), 0o600) != nil {
		return ""
	}
	return word
}
