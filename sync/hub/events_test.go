package hub

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
	"posd/sync/wire"
)

// TestEventsOut: what takes effect comes out once as events, in order, also when the hub
// dies in the middle and parcels come again.
func TestEventsOut(t *testing.T) {
	h := newHistory(t, "s1", "t1", 60)
	r := newRig(t, noBug)
	n := 0
	r.o.crash = func() error {
		if n++; n == 3 {
			return errCrash
		}
		return nil
	}
	ctx := context.Background()
	for round := range 2 {
		r.start()
		for first := uint64(1); first < 60; first += 10 {
			at := r.publish(wire.UpSubject(0, "s1", "t1", h.id), bytesOf(t, h.parcel(first, first+9)))
			r.eventually("a commit or the crash", func() bool { return r.h.shards[0].at.Load() >= at || len(r.done) > 0 })
		}
		if round == 0 {
			r.stop()
			r.o.crash = nil
		}
	}
	var last uint64
	r.eventually("all is out", func() bool {
		s, err := r.js.Stream(ctx, outbox.Stream)
		if err == nil {
			last = s.CachedInfo().State.LastSeq
		}
		return last >= 58
	})
	cons, err := r.js.OrderedConsumer(ctx, outbox.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(3); seq <= 60; seq++ {
		m, err := cons.Next()
		if err != nil {
			t.Fatal(err)
		}
		head, _ := h.j.Head(seq)
		if got, want := m.Headers().Get("Pos-Name"), fmt.Sprintf("%s:%d:%s", h.id, seq, head); got != want {
			t.Fatalf("event %s, want %s", got, want)
		}
	}
	if last != 58 {
		t.Errorf("%d messages, want 58", last)
	}
}
