package main

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"posd/pos"
	"posd/pos/config"
)

// effectiveConfig is what is in force, defaults included, in the form of posd.toml.
// It names the files that hold secrets, and holds none.
func effectiveConfig(c *config.Config) string {
	var b strings.Builder
	q := strconv.Quote
	list := func(v []string) string {
		var quoted []string
		for _, s := range v {
			quoted = append(quoted, q(s))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	size := func(n int64) string { return strconv.FormatInt(n, 10) }
	table := func(name string, keys ...string) {
		fmt.Fprintf(&b, "[%s]\n", name)
		for i := 0; i+1 < len(keys); i += 2 {
			fmt.Fprintf(&b, "%s = %s\n", keys[i], keys[i+1])
		}
		b.WriteByte('\n')
	}
	t := &c.Terminal
	prices, rounding := "inclusive", "document"
	if t.Prices == pos.Exclusive {
		prices = "exclusive"
	}
	if t.Rounding == pos.PerLine {
		rounding = "line"
	}
	day := int(t.DayStart.Minutes())
	table("terminal", "store", q(t.Store), "id", q(t.ID), "operator", q(t.Operator), "currency", q(t.Currency.Code),
		"prices", q(prices), "rounding", q(rounding), "time_zone", q(t.TimeZone.String()), "day_start", q(fmt.Sprintf("%02d:%02d", day/60, day%60)))
	var taxes []string
	for _, x := range c.Taxes {
		taxes = append(taxes, x.Code, q(strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%04d", int64(x.Rate)/10_000, int64(x.Rate)%10_000), "0"), ".")))
	}
	table("tax", taxes...)
	h := &c.HTTP
	table("http", "listen", q(h.Listen), "allow_remote", strconv.FormatBool(h.AllowRemote), "socket", q(h.Socket),
		"origins", list(h.Origins), "static", q(h.Static), "max_body", size(h.MaxBody), "rate", strconv.Itoa(h.Rate))
	d := &c.Data
	table("data", "dir", q(d.Dir), "max_bytes", size(d.MaxBytes), "retention", q(d.Retention.String()), "segment", size(d.Segment))
	u := &c.Hub
	table("hub", "urls", list(u.URLs), "credentials", q(u.Credentials), "token_file", q(u.TokenFile), "ca_file", q(u.CAFile),
		"shard", strconv.Itoa(u.Shard), "stream", q(u.Stream))
	l := &c.Limits
	table("limits", "memory", size(l.Memory), "expect_cpu", q(strconv.Itoa(l.ExpectCPU)+"%"), "expect_memory", size(l.ExpectMemory))
	level := map[slog.Level]string{slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warn", slog.LevelError: "error"}[c.Log.Level]
	table("log", "level", q(level), "format", q(c.Log.Format))
	return b.String()
}
