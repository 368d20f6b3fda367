package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"posd/pos/config"
)

const (
	logRate  = 20  // messages a second, in the long run
	logBurst = 500 // at once
)

// newLogger writes to standard error, or where that is systemd's journal, there:
// posd keeps no log file, whose pages the kernel would have to write next to the
// journal's.
func newLogger(w io.Writer, c config.Log) *logger {
	level := new(slog.LevelVar)
	level.Set(c.Level)
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if c.Format == "json" {
		h = slog.NewJSONHandler(w, o)
	} else if w == os.Stderr && underJournald() {
		h = journald{level: level, to: &journaldConn{path: journaldSocket}}
	}
	l := &logger{level: level, last: new(lastLines)}
	l.Logger = slog.New(bounded{both{h, slog.NewTextHandler(l.last, o)}, &bucket{now: time.Now}})
	return l
}

// logger is posd's log. The level may change while it is used.
type logger struct {
	*slog.Logger
	level *slog.LevelVar
	last  *lastLines
}

// both gives what is logged to a second handler, which cannot fail.
type both struct {
	slog.Handler
	second slog.Handler
}

// Handle implements slog.Handler.
func (h both) Handle(ctx context.Context, r slog.Record) error {
	h.second.Handle(ctx, r)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h both) WithAttrs(a []slog.Attr) slog.Handler {
	return both{h.Handler.WithAttrs(a), h.second.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (h both) WithGroup(name string) slog.Handler {
	return both{h.Handler.WithGroup(name), h.second.WithGroup(name)}
}

// lastLines keeps the end of the log in memory, for a bundle: posd cannot read
// systemd's journal.
type lastLines struct {
	mu sync.Mutex
	b  []byte
}

const maxLast = 64 << 10

// Write takes one line.
func (l *lastLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.b)+len(line) > maxLast {
		half := l.b[min(len(l.b), maxLast/2):]
		l.b = append(l.b[:0], half[bytes.IndexByte(half, '\n')+1:]...)
	}
	l.b = append(l.b, line[:min(len(line), maxLast/2)]...)
	return len(line), nil
}

func (l *lastLines) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b)
}

// bounded drops messages beyond logRate, and says how many: a flood would take the
// processor from the sales, and wear the device of whoever keeps the log.
type bounded struct {
	slog.Handler
	b *bucket
}

// Handle implements slog.Handler.
func (h bounded) Handle(ctx context.Context, r slog.Record) error {
	missed, ok := h.b.take()
	if !ok {
		return nil
	}
	if missed > 0 {
		m := slog.NewRecord(r.Time, slog.LevelWarn, "messages were dropped: too many, or nobody took them", 0)
		m.AddAttrs(slog.Int("dropped", missed))
		if err := h.Handler.Handle(ctx, m); err != nil {
			h.b.miss(missed)
		}
	}
	err := h.Handler.Handle(ctx, r)
	if err != nil {
		h.b.miss(1)
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h bounded) WithAttrs(a []slog.Attr) slog.Handler { return bounded{h.Handler.WithAttrs(a), h.b} }

// WithGroup implements slog.Handler.
func (h bounded) WithGroup(name string) slog.Handler { return bounded{h.Handler.WithGroup(name), h.b} }

// bucket lets logBurst messages through at once and logRate a second.
type bucket struct {
	now func() time.Time

	mu     sync.Mutex
	used   float64
	at     time.Time
	missed int
}

// take says whether a message may pass, and how many before it could not.
func (b *bucket) take() (missed int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*logRate)
	b.at = now
	if b.used+1 > logBurst {
		b.missed++
		return 0, false
	}
	b.used++
	missed, b.missed = b.missed, 0
	return missed, true
}

// miss counts messages that could not be written.
func (b *bucket) miss(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed += n
}
