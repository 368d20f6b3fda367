package printer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fifo is a printer that can only be written to; what came is sent to the channel.
func fifo(t *testing.T) (path string, came func() []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lp0")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() []byte {
		var all []byte
		buf := make([]byte, 4096)
		for {
			if err := f.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, err := f.Read(buf)
			if err != nil {
				return all
			}
			all = append(all, buf[:n]...)
		}
	}
}
