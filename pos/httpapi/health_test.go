package httpapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// healthAnswer is what a monitor reads of the status.
type healthAnswer struct {
	Health struct {
		Status  string
		Reasons []string
	}
	Journal struct {
		ReadOnly    bool `json:"read_only"`
		Signing     bool
		Checkpoints int
		Scrub       struct {
			Bytes, Passes int64
			Last          time.Time
		}
		Damaged []struct {
			File        string
			Offset      int64
			First, Last uint64
			Text        string
		}
	}
}

func (g *rig) health() (h healthAnswer) {
	g.t.Helper()
	if err := json.Unmarshal(g.do("GET", "/v1/status", "").body, &h); err != nil {
		g.t.Fatal(err)
	}
	return h
}

// metric returns the value of a metric without labels, as it is written.
func (g *rig) metric(name string) string {
	g.t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(g.do("GET", "/metrics", "").body)
	if m == nil {
		g.t.Fatalf("no metric %s", name)
	}
	return string(m[1])
}

func (g *rig) metrics(want map[string]string) {
	g.t.Helper()
	for name, v := range want {
		if got := g.metric(name); got != v {
			g.t.Errorf("%s is %s, want %s", name, got, v)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to this: " + what)
		}
	}
}

// TestDamageIsSeen: a bit flips in an old segment; the scrub finds it, status and
// metrics tell, and selling goes on.
func TestDamageIsSeen(t *testing.T) {
	g := newRig(t)
	g.open.SegmentSize, g.open.ScrubEvery = 64<<10, -1
	g.start()
	for g.j.Stats().Segments < 3 {
		g.do("POST", "/v1/checkout", good)
	}
	h := g.health()
	if h.Health.Status != "ok" || len(h.Health.Reasons) != 0 || !h.Journal.Signing || h.Journal.ReadOnly || h.Journal.Damaged == nil || !h.Journal.Scrub.Last.IsZero() {
		t.Errorf("%+v", h)
	}
	g.metrics(map[string]string{"posd_journal_damaged_segments": "0", "posd_journal_signing": "1",
		"posd_journal_read_only": "0", "posd_journal_last_scrub_timestamp_seconds": "0", "posd_journal_scrub_passes_total": "0"})
	g.stop()

	path := filepath.Join(g.dir, "journal/0000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[5*4096+200] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	g.open.ScrubEvery = 10 * time.Millisecond
	g.start()
	eventually(t, "a scrub ends", func() bool { return g.j.Stats().ScrubPasses > 0 })
	h = g.health()
	if h.Health.Status != "degraded" || len(h.Health.Reasons) != 1 || !strings.Contains(h.Health.Reasons[0], "damaged segments of the journal: 1") {
		t.Errorf("%+v", h.Health)
	}
	if d := h.Journal.Damaged; len(d) != 1 || d[0].File != "0000000001.seg" || d[0].Offset != 5*4096 || d[0].First == 0 || !strings.Contains(d[0].Text, "checksum") {
		t.Errorf("%+v", d)
	}
	if s := h.Journal.Scrub; s.Bytes == 0 || s.Passes == 0 || time.Since(s.Last) > time.Minute {
		t.Errorf("%+v", s)
	}
	g.metrics(map[string]string{"posd_journal_damaged_segments": "1"})
	if g.metric("posd_journal_last_scrub_timestamp_seconds") == "0" || g.metric("posd_journal_scrubbed_bytes_total") == "0" {
		t.Error("the scrub is not counted")
	}
	if a := g.do("GET", "/readyz", ""); a.StatusCode != 200 {
		t.Errorf("readyz: %d %s", a.StatusCode, a.body)
	}
	if a := g.do("POST", "/v1/checkout", good); a.StatusCode != 201 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestUnsignedIsSeen(t *testing.T) {
	g := newRig(t)
	key := g.open.Key
	g.open.Key = nil
	g.start()
	h := g.health()
	if h.Health.Status != "degraded" || h.Journal.Signing || !strings.Contains(h.Health.Reasons[0], "put terminal.key back") {
		t.Errorf("%+v", h)
	}
	g.metrics(map[string]string{"posd_journal_signing": "0"})
	g.stop()
	g.open.Key, g.open.CheckpointEvery = key, 1
	g.start()
	g.do("POST", "/v1/checkout", good)
	if h = g.health(); h.Health.Status != "ok" || h.Journal.Checkpoints == 0 || g.metric("posd_journal_checkpoints_total") == "0" {
		t.Errorf("%+v", h)
	}
}

// TestReadOnlyJournal: what was sold can be looked up, and a sale is refused by
// name.
func TestReadOnlyJournal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	g := newRig(t).start()
	g.do("POST", "/v1/checkout", good)
	g.stop()
	dir := filepath.Join(g.dir, "journal")
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting is not permitted here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	g.start()
	defer g.stop()
	a := g.do("POST", "/v1/checkout", good)
	if a.StatusCode != 503 || a.slug() != "read-only" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.do("GET", "/v1/sales?receipt=T1-1-1", ""); a.StatusCode != 200 {
		t.Errorf("look-up: %d %s", a.StatusCode, a.body)
	}
	if a := g.do("GET", "/readyz", ""); a.StatusCode != 503 || !strings.Contains(string(a.body), "mounted read-only") {
		t.Errorf("readyz: %d %s", a.StatusCode, a.body)
	}
	h := g.health()
	if h.Health.Status != "degraded" || !h.Journal.ReadOnly || !slices.ContainsFunc(h.Health.Reasons, func(s string) bool { return strings.Contains(s, "read-only") }) {
		t.Errorf("%+v", h)
	}
	g.metrics(map[string]string{"posd_journal_read_only": "1"})
}

// A shift that somebody opened and forgot sells with that day's prices and rates: somebody
// has to be told. One of yesterday's is a long night, and one that nobody opened ends by
// itself.
func TestForgottenShift(t *testing.T) {
	for _, opened := range []bool{true, false} {
		g := newRig(t)
		day := time.Date(2026, 12, 31, 10, 0, 0, 0, time.UTC)
		var later atomic.Int32
		g.now = func() time.Time { return day.AddDate(0, 0, int(later.Load())) }
		g.start()
		if opened {
			g.step("/v1/shift/open", `{}`)
		} else {
			g.step("/v1/checkout", good)
		}
		for days, want := range []bool{false, false, opened, opened} {
			later.Store(int32(days))
			why := strings.Join(g.health().Health.Reasons, "\n")
			if strings.Contains(why, "shift 1 is still open with the business date 2026-12-31") != want {
				t.Errorf("opened %v, after %d days: %q", opened, days, why)
			}
		}
		g.step("/v1/shift/close", `{}`)
		if why := strings.Join(g.health().Health.Reasons, "\n"); strings.Contains(why, "still open") {
			t.Errorf("closed: %q", why)
		}
		g.stop()
	}
}
