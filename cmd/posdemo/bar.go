package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bar shows progress: one line that is drawn again on a terminal, else a plain
// line for each tenth.
type bar struct {
	w        io.Writer
	terminal bool
	begun    time.Time

	what  string // "" between two tasks
	all   uint64
	now   uint64
	shown uint64 // tenths already printed
	drawn time.Time
}

func newBar(w io.Writer) *bar {
	b := &bar{w: w, begun: time.Now()}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		b.terminal = err == nil
	}
	return b
}

func (b *bar) begin(what string, all uint64) {
	b.end()
	b.what, b.all, b.now, b.shown, b.drawn = what, max(1, all), 0, 0, time.Time{}
}

func (b *bar) set(now uint64) {
	b.now = min(now, b.all)
	if b.what == "" {
		return
	}
	if b.terminal {
		if time.Since(b.drawn) > 50*time.Millisecond || b.now == b.all {
			b.draw()
		}
		return
	}
	if tenths := b.now * 10 / b.all; tenths > b.shown {
		b.shown = tenths
		fmt.Fprintf(b.w, "%s %s %d of %d\n", b.clock(), b.what, b.now, b.all)
	}
}

func (b *bar) draw() {
	const width = 40
	full := int(b.now * width / b.all)
	fmt.Fprintf(b.w, "\r\x1b[K%s %s [%s%s] %d of %d", b.clock(), b.what, strings.Repeat("#", full), strings.Repeat(".", width-full), b.now, b.all)
	b.drawn = time.Now()
}

// say prints a line above the bar.
func (b *bar) say(format string, args ...any) {
	if b.terminal && b.what != "" {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
	fmt.Fprintf(b.w, "%s %s\n", b.clock(), fmt.Sprintf(format, args...))
	if b.terminal && b.what != "" {
		b.draw()
	}
}

// end leaves the bar as it stands.
func (b *bar) end() {
	if b.terminal && b.what != "" {
		b.draw()
		fmt.Fprintln(b.w)
	}
	b.what = ""
}

func (b *bar) clock() string { return fmt.Sprintf("%5.1fs", time.Since(b.begun).Seconds()) }
