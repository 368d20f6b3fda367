package register

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The stamp of systemd-timesyncd counts as long as the kernel would call the clock
// disciplined without another answer of a time server.
func TestTimesyncStamp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "synchronized")
	now := time.Now()
	if stampedSince(path, now) {
		t.Error("synchronized without a stamp")
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]bool{0: true, 8 * time.Hour: true, 9 * time.Hour: false, -time.Hour: false} {
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		if got := stampedSince(path, now); got != want {
			t.Errorf("a stamp %v old: %v", age, got)
		}
	}
}

func TestLately(t *testing.T) {
	asked, is := 0, true
	ask := func() bool { asked++; return is }
	long, short := lately(ask, time.Hour), lately(ask, 0)
	for range 3 {
		if !long() {
			t.Fatal("another answer")
		}
	}
	if is = false; asked != 1 || !long() || short() {
		t.Errorf("asked %d times", asked)
	}
	if short(); asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

// What was opened by a clock far ahead is not today's either, once that is known.
func TestShiftOfTheFuture(t *testing.T) {
	m := newTill(t)
	right := m.now
	m.now = right.AddDate(36, 0, 0)
	m.start()
	if _, err := m.r.Do(waiting(t), callOf("open"), func(t *Turn) (Appender, error) {
		return Made(t.State.OpenShift("7", t.Date, t.Currency, 0))
	}); err != nil {
		t.Fatal(err)
	}
	if st := m.r.Status(); st.Overdue {
		t.Errorf("%+v", st)
	}
	m.now = right
	if st := m.r.Status(); st.Overdue {
		t.Errorf("a clock that is behind was believed: %+v", st)
	}
	m.sync = true
	if st := m.r.Status(); !st.Overdue || st.BusinessDate < "2062" {
		t.Errorf("%+v", st)
	}
}
