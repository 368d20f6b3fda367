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
