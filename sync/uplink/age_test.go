package uplink

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"posd/durable"
	"posd/sync/wire"
)

// A till that never had a link keeps what it knows of the age of its sales over a
// restart; a state of another history is not believed.
func TestAgeWithoutAnyLink(t *testing.T) {
	tl := newTill(t, "t1")
	tl.sell(3, 10)
	old := time.Now().Add(-48 * time.Hour)
	age := func(w wire.Watermark) time.Duration {
		t.Helper()
		var o own
		o.grew(3, old)
		path := filepath.Join(tl.dir, "state")
		if err := durable.Replace(path, append(o.append(w.Append(nil)), '\n')); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		u, err := New(Options{Journal: tl.j, URLs: []string{"nats://127.0.0.1:1"}, Store: "s1", Terminal: "t1", StatePath: path, Log: logger(t, "t1"), t: quick})
		if err != nil {
			t.Fatal(err)
		}
		return u.Status().UnsettledAge
	}
	w := wire.Watermark{Journal: tl.j.ID()}
	if got := age(w); got < 47*time.Hour {
		t.Errorf("never linked: %s", got)
	}
	w.Seq, w.Head[0] = 2, 1
	if got := age(w); got > time.Hour {
		t.Errorf("another history: %s", got)
	}
}
