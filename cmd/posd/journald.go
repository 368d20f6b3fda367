package main

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	sd "github.com/coreos/go-systemd/v22/journal"
)

// journald writes to systemd's journal in its own protocol: with a priority, and
// each attribute as a field, so that journalctl POSD_SEGMENT=7 finds it.
type journald struct {
	level  slog.Level
	send   func(message string, p sd.Priority, fields map[string]string) error
	attrs  []slog.Attr // of With, their names with their groups
	group  string      // of WithGroup, with its dot
	backup slog.Handler
}

// Enabled implements slog.Handler.
func (h journald) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler. What the journal does not take goes to standard
// error.
func (h journald) Handle(ctx context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	fields := map[string]string{"SYSLOG_IDENTIFIER": "posd"}
	add := func(name string, a slog.Attr) {
		value := a.Value.Resolve().String()
		text.WriteByte(' ')
		text.WriteString(name)
		text.WriteByte('=')
		if value == "" || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c == '"' || c == '=' }) {
			value = strconv.Quote(value)
		}
		text.WriteString(value)
		fields[fieldName(name)] = a.Value.Resolve().String()
	}
	for _, a := range h.attrs {
		add(a.Key, a)
	}
	r.Attrs(func(a slog.Attr) bool { add(h.group+a.Key, a); return true })
	p := sd.PriDebug
	switch {
	case r.Level >= slog.LevelError:
		p = sd.PriErr
	case r.Level >= slog.LevelWarn:
		p = sd.PriWarning
	case r.Level >= slog.LevelInfo:
		p = sd.PriInfo
	}
	if err := h.send(text.String(), p, fields); err != nil {
		return h.backup.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h journald) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		all = append(all, a)
	}
	h.attrs, h.backup = all, h.backup.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h journald) WithGroup(name string) slog.Handler {
	h.group += name + "."
	h.backup = h.backup.WithGroup(name)
	return h
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
