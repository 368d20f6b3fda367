package uplink

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// A breaker that would wait for an hour does not, when told.
func TestHurry(t *testing.T) {
	s := newHub(t).start()
	tl := newTill(t, "t1")
	tl.sell(50, 100)
	u, err := New(Options{Journal: tl.j, URLs: []string{"nats://" + s.addr}, Store: "s1", Terminal: tl.name, TokenFile: s.tokenFile(),
		StatePath: filepath.Join(tl.dir, "uplink.state"), Log: logger(t, tl.name), t: quick})
	must(t, err)
	tl.u = u
	u.breaker.state, u.breaker.until = open, time.Now().Add(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	tl.stop = func() { cancel(); must(t, <-done); tl.stop = nil }
	select {
	case <-u.Compared(): // the place was found: now the session waits
	case <-time.After(time.Minute):
		t.Fatal("no session")
	}
	if n := u.Status().Parcels; n != 0 {
		t.Fatalf("%d parcels went out: this test sees nothing", n)
	}
	u.Hurry()
	tl.waitSettled()
	must(t, s.inLedger(tl))
}
