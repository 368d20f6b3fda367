package main

import (
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
// The level may change while it is used.
func newLogger(w io.Writer, c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Level)
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, o)
	if c.Format == "json" {
		h = slog.NewJSONHandler(w, o)
	} else if w == os.Stderr && underJournald() {
		h = journald{level: level, to: &journaldConn{path: journaldSocket}}
	}
	return slog.New(bounded{h, &bucket{now: time.Now}}), level
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
