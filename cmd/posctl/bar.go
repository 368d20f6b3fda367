package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bar is a progress bar on a terminal, and silent elsewhere.
type bar struct {
	w    io.Writer
	name string
	last time.Time
	on   bool
}

func newBar(w io.Writer, name string) *bar { return &bar{w: w, name: name, on: isTerminal(w)} }

// isTerminal asks the driver: /dev/null is a character device too.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (b *bar) set(done, total int64) {
	if !b.on || total <= 0 || (time.Since(b.last) < 100*time.Millisecond && done < total) {
		return
	}
	b.last = time.Now()
	done = min(max(done, 0), total) // a segment that is being made counts on one side only
	const width = 40
	full := int(done * width / total)
	fmt.Fprintf(b.w, "\r%s [%-*s] %3d %%", b.name, width, "########################################"[:full], done*100/total)
}

func (b *bar) done() {
	if b.on {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
