package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	journaldSocket = "/run/systemd/journal/socket"
	// journaldWait is how long a message may wait for systemd's journal. It does not
	// read when memory is short, which must stop no sale; go-systemd's own client
	// would wait for ever.
	journaldWait = 50 * time.Millisecond
	journaldRest = time.Second // after a message that was not taken
	longMessage  = 8 << 10
)

var errJournald = errors.New("systemd's journal takes no messages")

// Priorities of syslog(3).
const (
	priErr     = 3
	priWarning = 4
	priInfo    = 6
	priDebug   = 7
)

// journald writes to systemd's journal in its own protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): with a priority, and each attribute as a
// field, so that journalctl POSD_SEGMENT=7 finds it. What it does not take in time
// is an error, and lost.
type journald struct {
	level slog.Leveler
	to    *journaldConn
	attrs []slog.Attr // of With, their names with their groups
	group string      // of WithGroup, with its dot
}

// Enabled implements slog.Handler.
func (h journald) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h journald) Handle(_ context.Context, r slog.Record) error {
	text := []byte(r.Message)
	fields := []byte("SYSLOG_IDENTIFIER=posd\nPRIORITY=" + strconv.Itoa(priority(r.Level)) + "\n")
	add := func(name string, a slog.Attr) {
		value := a.Value.Resolve().String()
		if len(value) > longMessage {
			value = value[:longMessage] + "…"
		}
		fields = appendField(fields, fieldName(name), value)
		text = append(append(append(text, ' '), name...), '=')
		if value == "" || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c == '"' || c == '=' }) {
			text = strconv.AppendQuote(text, value)
		} else {
			text = append(text, value...)
		}
	}
	for _, a := range h.attrs {
		add(a.Key, a)
	}
	r.Attrs(func(a slog.Attr) bool { add(h.group+a.Key, a); return true })
	return h.to.send(appendField(fields, "MESSAGE", string(text)))
}

// WithAttrs implements slog.Handler.
func (h journald) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		all = append(all, a)
	}
	h.attrs = all
	return h
}

// WithGroup implements slog.Handler.
func (h journald) WithGroup(name string) slog.Handler {
	h.group += name + "."
	return h
}

func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return priErr
	case l >= slog.LevelWarn:
		return priWarning
	case l >= slog.LevelInfo:
		return priInfo
	}
	return priDebug
}

// appendField appends one field; a value with a line break has its length in front.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = binary.LittleEndian.AppendUint64(append(b, '\n'), uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	return append(append(b, value...), '\n')
}

// fieldName is POSD_<NAME>, as systemd.journal-fields(7) wants it.
func fieldName(name string) string {
	return "POSD_" + strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			return c
		}
		return '_'
	}, name)
}

// journaldConn is the way to systemd's journal; it is opened anew after an error.
type journaldConn struct {
	path  string
	mu    sync.Mutex
	c     net.Conn
	again time.Time // after an error nothing is tried before
}

func (j *journaldConn) send(b []byte) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if time.Now().Before(j.again) {
		return errJournald
	}
	if j.c == nil {
		if j.c, err = net.Dial("unixgram", j.path); err != nil {
			j.c = nil
			j.again = time.Now().Add(journaldRest)
			return err
		}
	}
	if err = j.c.SetWriteDeadline(time.Now().Add(journaldWait)); err == nil {
		_, err = j.c.Write(b)
	}
	if err != nil {
		j.c.Close()
		j.c = nil
		j.again = time.Now().Add(journaldRest)
	}
	return err
}

// underJournald says whether standard error leads to systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func underJournald() bool {
	var st unix.Stat_t
	if unix.Fstat(int(os.Stderr.Fd()), &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
