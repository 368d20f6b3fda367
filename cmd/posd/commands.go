package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"

	"posd/pos/event"
	"posd/pos/support"
	"posd/sync/downlink"
	"posd/sync/wire"
)

const (
	syncTime  = 10 * time.Second // for head office to confirm, before the answer is given
	syncLook  = 50 * time.Millisecond
	loudMost  = 24 * time.Hour // a log level that was ordered holds no longer
	heapLimit = 96 << 10       // of a heap profile in a bundle
)

// commands are what head office may order.
func (t *terminal) commands() map[string]downlink.Command {
	return map[string]downlink.Command{
		wire.CommandStatus: func(context.Context, *nats.Conn, *wire.Order) (string, []byte, error) {
			return "", t.http.StatusJSON(), nil
		},
		wire.CommandSync: func(ctx context.Context, _ *nats.Conn, _ *wire.Order) (string, []byte, error) {
			detail, err := t.syncNow(ctx)
			return detail, nil, err
		},
		wire.CommandBundle: func(context.Context, *nats.Conn, *wire.Order) (string, []byte, error) {
			b, err := t.bundle()
			return fmt.Sprintf("%d bytes", len(b)), b, err
		},
		wire.CommandLogLevel: func(_ context.Context, _ *nats.Conn, o *wire.Order) (string, []byte, error) {
			detail, err := t.verbosity.order(string(o.Body))
			return detail, nil, err
		},
		wire.CommandRotateKey: t.rotateKey,
	}
}

// sureNow is the time, and whether somebody sets the clock.
func (t *terminal) sureNow() (time.Time, bool) {
	s := t.register.Status()
	return s.Now, s.Clock == event.ClockSynced
}

// syncNow ships without any pause, and waits a little for what comes of it.
func (t *terminal) syncNow(ctx context.Context) (string, error) {
	floor, _ := t.journal.Floor()
	t.uplink.Hurry()
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	for {
		s := t.uplink.Status()
		switch {
		case s.Held != "":
			return "", errors.New("head office has set this terminal's parcels aside: " + s.Held)
		case s.Fork != "":
			return "", errors.New("nothing can be shipped: " + s.Fork)
		case s.Settled >= floor:
			return fmt.Sprintf("all %d records are settled", floor), nil
		}
		select {
		case <-time.After(syncLook):
		case <-ctx.Done():
			return fmt.Sprintf("of %d records %d are settled, %d sent", floor, s.Settled, s.Sent), nil
		}
	}
}

// bundle is what support asks for, compressed. Nothing of what was sold is in it, and
// nothing is written to the disk for it.
func (t *terminal) bundle() ([]byte, error) {
	c := t.downlink.Config()
	var files, text bytes.Buffer
	var buf []byte
	b := support.Bundle{Left: wire.MaxBundle - 4<<10, Secrets: support.Secrets(c, givenCredentials()...), Put: func(name string, content []byte) error {
		buf = wire.AppendFile(buf[:0], name, content)
		files.Write(buf)
		return nil
	}}
	b.Text("versions.txt", 1<<10, fmt.Appendf(nil, "posd     %s, %s %s/%s\nmade     %s\n", releaseName(), runtime.Version(), runtime.GOOS, runtime.GOARCH, time.Now().UTC().Format(time.RFC3339)))
	err := c.WriteEffective(&text)
	b.TextOr("config.toml", 16<<10, text.Bytes(), err)
	b.Text("status.json", 32<<10, t.http.StatusJSON())
	text.Reset()
	t.set.WritePrometheus(&text)
	b.Text("metrics.txt", 96<<10, text.Bytes())
	list, err := support.Files(c.Data.Dir)
	b.TextOr("files.txt", 32<<10, list, err)
	process, err := support.ReadSome("/proc/self/status", 8<<10)
	b.TextOr("process.txt", 8<<10, process, err)
	text.Reset()
	err = pprof.Lookup("goroutine").WriteTo(&text, 1)
	b.TextOr("goroutines.txt", 64<<10, text.Bytes(), err)
	text.Reset()
	if err = pprof.Lookup("heap").WriteTo(&text, 0); err == nil && text.Len() <= heapLimit {
		b.Raw("heap.pb.gz", text.Bytes()) // names of functions and sizes
	}
	b.Text("log.txt", 64<<10, t.last.text())
	defer debug.FreeOSMemory()
	return s2.Encode(nil, files.Bytes()), b.Err
}

// givenCredentials are the files that systemd has handed over: none without it.
func givenCredentials() (paths []string) {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		paths, _ = filepath.Glob(filepath.Join(dir, "*"))
	}
	return paths
}

// verbosity is the log's level: the configuration's, or for a while another.
type verbosity struct {
	level *slog.LevelVar

	mu         sync.Mutex
	configured slog.Level
	ordered    *time.Timer // nil: the configuration's holds
}

// configure sets what holds when nothing was ordered.
func (v *verbosity) configure(l slog.Level) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.configured = l; v.ordered == nil {
		v.level.Set(l)
	}
}

// order reads "debug 30m". A time of 0 gives the level back to the configuration.
func (v *verbosity) order(text string) (string, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	var l slog.Level
	err := l.UnmarshalText([]byte(name))
	d, derr := time.ParseDuration(rest)
	if err != nil || derr != nil || d < 0 || d > loudMost {
		return "", fmt.Errorf("%w: %q: say a level (debug, info, warn, error) and for how long, such as debug 30m, at most %s", downlink.ErrRefused, wire.Short(text, 64), loudMost)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.end()
	if d == 0 {
		return "the configuration's level holds: " + v.configured.String(), nil
	}
	v.level.Set(l)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.ordered == timer {
			v.end()
		}
	})
	v.ordered = timer
	return fmt.Sprintf("%s for %s, then %s again", l, d, v.configured), nil
}

// end gives the level back to the configuration. Callers hold mu.
func (v *verbosity) end() {
	if v.ordered != nil {
		v.ordered.Stop()
		v.ordered = nil
	}
	v.level.Set(v.configured)
}
