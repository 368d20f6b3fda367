package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// fault is why a value is refused, and what to write instead.
type fault struct{ what, remedy string }

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}

// parseSize reads "4MiB", "512B" or "4096" into bytes.
func parseSize(s string) (int64, *fault) {
	bad := &fault{fmt.Sprintf("%q is not a size", s), `write a whole number with KiB, MiB or GiB, such as "4MiB"`}
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, ok := parseDigits(strings.TrimSuffix(digits, " "))
		if !ok || n > math.MaxInt64/u.bytes {
			return 0, bad
		}
		return n * u.bytes, nil
	}
	return 0, bad
}

// parseDigits reads a plain decimal number: no sign, no space, no exponent.
func parseDigits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// formatSize is the inverse of parseSize with the largest unit that fits.
func formatSize(n int64) string {
	best := "B"
	div := int64(1)
	for _, u := range sizeUnits[:4] {
		if n != 0 && n%u.bytes == 0 {
			best, div = u.suffix, u.bytes
		}
	}
	return strconv.FormatInt(n/div, 10) + best
}

const day = 24 * time.Hour

// parseDuration reads what time.ParseDuration reads, with whole days before it: "30d", "1d12h".
func parseDuration(s string) (time.Duration, *fault) {
	bad := &fault{fmt.Sprintf("%q is not a duration", s), `write one such as "30d", "720h" or "90s"`}
	var days int64
	rest := s
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, ok := parseDigits(head)
		if !ok || n > math.MaxInt64/int64(day) {
			return 0, bad
		}
		days, rest = n, tail
	}
	total := time.Duration(days) * day
	if rest != "" || s == "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > math.MaxInt64-total {
			return 0, bad
		}
		total += d
	}
	return total, nil
}

func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

// parseClock reads "04:00" into the time since midnight.
func parseClock(s string) (time.Duration, *fault) {
	h, m, ok := strings.Cut(s, ":")
	hours, hok := parseDigits(h)
	minutes, mok := parseDigits(m)
	if !ok || !hok || !mok || len(h) != 2 || len(m) != 2 || hours > 23 || minutes > 59 {
		return 0, &fault{fmt.Sprintf("%q is not a time of day", s), `write hours and minutes, such as "04:00"`}
	}
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute, nil
}

// parsePercent reads "10%" as whole percent.
func parsePercent(s string) (int, *fault) {
	digits, ok := strings.CutSuffix(s, "%")
	n, dok := parseDigits(digits)
	if !ok || !dok || n > 100000 {
		return 0, &fault{fmt.Sprintf("%q is not a percentage", s), `write whole percent of one core, such as "10%"`}
	}
	return int(n), nil
}

// validName tells whether s may be a token of a NATS subject and part of a receipt number.
func validName(s string, max int) bool {
	if s == "" || len(s) > max {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// plainText tells whether s is short and free of control characters, so that it
// may go into logs, events and receipts.
func plainText(s string, max int) bool {
	if len(s) > max {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '�' {
			return false
		}
	}
	return true
}
