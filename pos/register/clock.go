package register

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posd/pos/event"
)

const (
	// stepLimit is how far the wall clock may move against the monotonic one, and
	// back against a time already seen, before that is worth a record. Slewing by
	// a time daemon stays below it between two looks.
	stepLimit  = 2 * time.Second
	lookAtTime = 30 * time.Second
)

// buildFloor is earlier than any release: a clock before it was reset.
var buildFloor = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// uptime is the time since boot, suspension included.
func uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// lately gives an answer that is at most so old: each sale wants to know, and what
// disciplines a clock, or stops to, takes minutes.
func lately(ask func() bool, old time.Duration) func() bool {
	var mu sync.Mutex
	var is bool
	var at time.Time
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); at.IsZero() || now.Sub(at) >= old { // by the monotonic clock
			is, at = ask(), now
		}
		return is
	}
}

// Disciplined returns what tells whether something disciplines the wall clock.
func Disciplined() func() bool { return lately(synced, time.Second) }

// synced asks the kernel whether something disciplines its clock. A sandbox may
// refuse the question (systemd's ProtectClock=); then systemd-timesyncd's stamp
// tells, which it renews at each answer of a time server.
func synced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if errors.Is(err, unix.EPERM) {
		return stampedSince(timesyncStamp, time.Now())
	}
	const timeError = 5 // TIME_ERROR
	return err == nil && state != timeError && t.Status&unix.STA_UNSYNC == 0
}

const (
	timesyncStamp = "/run/systemd/timesync/synchronized" // systemd-timesyncd.service(8)
	// stampHolds is how long the kernel itself calls a clock disciplined that nobody
	// disciplines any more: its error estimate grows by 500 ppm, up to 16 s.
	stampHolds = 16 * time.Second * 1_000_000 / 500
)

func stampedSince(path string, now time.Time) bool {
	info, err := os.Stat(path)
	return err == nil && !info.ModTime().After(now.Add(stepLimit)) && now.Sub(info.ModTime()) < stampHolds
}

// clock watches the wall clock against the monotonic one.
type clock struct {
	wall time.Time
	up   time.Duration
}

// look returns what the wall clock should show now, and whether it has jumped.
func (c *clock) look(wall time.Time, up time.Duration) (expected time.Time, jumped bool) {
	expected = c.wall.Add(up - c.up)
	off := wall.Sub(expected)
	first := c.wall.IsZero()
	c.wall, c.up = wall, up
	return expected, !first && (off > stepLimit || off < -stepLimit)
}

// trust says how far an event's time can be trusted.
func (r *Register) trust(now time.Time) event.Clock {
	switch {
	case now.Before(buildFloor):
		return event.ClockBehind
	case r.o.Synced():
		return event.ClockSynced
	case now.UnixMilli() < r.state.Wall-stepLimit.Milliseconds():
		return event.ClockBehind
	}
	return event.ClockUnsynced
}

// businessDate is the date that a sale made now belongs to. It comes from the wall clock
// if that is plausible, and does not go back, but from a day that was never: a clock that
// had been set far ahead, and is disciplined now.
func (r *Register) businessDate(now time.Time, trust event.Clock) string {
	was := r.state.Date
	if trust == event.ClockBehind && was != "" {
		return was
	}
	local := now.In(r.o.TimeZone)
	hour, minute, second := local.Clock()
	since := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	if since < r.Settings().DayStart {
		local = time.Date(local.Year(), local.Month(), local.Day()-1, 12, 0, 0, 0, time.UTC)
	}
	if year := local.Year(); year < 0 || year > 9998 {
		return max(was, "1970-01-01")
	}
	// A day of difference comes from another time zone, or another end of the day.
	if trust == event.ClockSynced && local.AddDate(0, 0, 1).Format(time.DateOnly) < was {
		was = ""
	}
	return max(was, local.Format(time.DateOnly))
}

// overdue says that the shift's date is neither today's nor yesterday's. A clock that cannot
// be believed says nothing.
func (r *Register) overdue(now time.Time, trust event.Clock) bool {
	was := r.state.Date
	today := r.businessDate(now, trust)
	day, err := time.Parse(time.DateOnly, was)
	return err == nil && (today > day.AddDate(0, 0, 1).Format(time.DateOnly) || today < was)
}
