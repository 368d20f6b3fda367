package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/event"
	"posd/sync/uplink"
	"posd/sync/wire"
)

// sample is one contender in one round.
type sample struct {
	Events  uint64
	Seconds float64
	CPU     float64 // seconds of the client's processor time
	Raw     uint64  // bytes of records
	Wire    uint64  // bytes of messages
	Sent    uint64  // messages
	Peak    int64   // bytes of memory of its own, at its end
}

func (s sample) rate() float64    { return float64(s.Events) / s.Seconds }
func (s sample) cpuEach() float64 { return s.CPU / float64(s.Events) * 1e6 } // µs

// stopwatch counts the time and processor time of this process.
type stopwatch struct {
	at  time.Time
	cpu time.Duration
}

func start() stopwatch { return stopwatch{time.Now(), used()} }

func (w stopwatch) stop(s *sample) {
	s.Seconds, s.CPU = time.Since(w.at).Seconds(), (used() - w.cpu).Seconds()
}

// giveUp bounds a wait for something that must happen.
const giveUp = 5 * time.Minute

// shipJournal runs the real uplink until the stream has acknowledged everything.
// There is no hub: nothing is settled, so nothing is freed either.
func shipJournal(ctx context.Context, t task) (any, error) {
	prepare := fetch // the uplink of the round before left nothing in the page cache
	if t.Cold {
		prepare = forget
	}
	if err := prepare(t.Journal); err != nil {
		return nil, err
	}
	j, err := openJournal(t.Journal, 0)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	u, err := uplink.New(uplink.Options{Journal: j, URLs: t.URLs, Credentials: t.Credentials, CAFile: t.CA, Store: store, Terminal: terminal, StatePath: filepath.Join(t.Dir, "uplink.state")})
	if err != nil {
		return nil, err
	}
	floor, _ := j.Floor()
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	done := make(chan error, 1)
	w := start()
	go func() { done <- u.Run(ctx) }()
	for u.Status().Sent < floor && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	st := u.Status()
	s := sample{Events: floor, Raw: st.Raw, Wire: st.Wire, Sent: st.Parcels}
	w.stop(&s)
	me, err := selfUsage()
	s.Peak = me.anon
	if st.Holes > 0 { // it would count as sent
		err = errors.Join(err, fmt.Errorf("%s lacks its first records: remove the folder", t.Journal))
	}
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("%d of %d records were sent: %s", st.Sent, floor, st.LastError))
	}
	cancel()
	return s, errors.Join(err, <-done)
}

// events calls fn with each event of the journal until it says stop.
func events(path string, fn func(id chain.ID, rec chain.Record) (more bool, err error)) error {
	j, err := openJournal(path, 0)
	if err != nil {
		return err
	}
	defer j.Close()
	r, err := j.Reader(j.Oldest())
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Type != event.RecordType {
			continue
		}
		if more, err := fn(j.ID(), rec); err != nil || !more {
			return err
		}
	}
}

func connect(t task) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(strings.Join(t.URLs, ","))
	if err != nil {
		return nil, nil, err
	}
	pending := max(t.Pending, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(pending), jetstream.WithDefaultTimeout(30*time.Second))
	return nc, js, err
}

// msgID is an event's name, and the run's: the servers remember the names of the
// contender before.
func msgID(t task, id chain.ID, seq uint64) string {
	return fmt.Sprintf("%s:%s:%d", filepath.Base(t.Dir), id, seq)
}

// publishEach sends each event as one message and waits for its acknowledgement.
func publishEach(ctx context.Context, t task) (any, error) {
	nc, js, err := connect(t)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	var s sample
	subject := wire.UpPrefix(0) + store + "." + terminal + ".each"
	var w stopwatch
	err = events(t.Journal, func(id chain.ID, rec chain.Record) (bool, error) {
		if s.Events == 0 {
			w = start()
		}
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: rec.Payload}, jetstream.WithMsgID(msgID(t, id, rec.Seq)))
		s.Events++
		s.Wire += uint64(len(rec.Payload))
		return time.Since(w.at) < t.Limit, err
	})
	w.stop(&s)
	s.Raw, s.Sent = s.Wire, s.Events
	me, err2 := selfUsage()
	s.Peak = me.anon
	return s, errors.Join(err, err2)
}

// publishAsync sends each event as one message with its name as Msg-Id, so many of
// them without an acknowledgement.
func publishAsync(ctx context.Context, t task) (any, error) {
	nc, js, err := connect(t)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	s, err := publishAll(ctx, t, js, wire.UpPrefix(0)+store+"."+terminal+".async", t.Limit)
	me, err2 := selfUsage()
	s.Peak = me.anon
	return s, errors.Join(err, err2)
}

// fillStream publishes all events to a stream, for the leaf.
func fillStream(ctx context.Context, t task) (any, error) {
	nc, js, err := connect(t)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	var s sample
	err = events(t.Journal, func(id chain.ID, rec chain.Record) (bool, error) {
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: leafSubject, Data: slices.Clone(rec.Payload)}, jetstream.WithStallWait(30*time.Second))
		s.Events++
		return true, err
	})
	if err != nil {
		return s, err
	}
	select {
	case <-js.PublishAsyncComplete():
		return s, nil
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

// shares says what parts of the uplink's work cost alone, in seconds of processor
// time for all events.
type shares struct {
	Events   uint64
	Read     float64 // walking the groups in the map and checking them
	Compress float64 // s2
}

// compressOnly does those parts, with parcels as large as the uplink's.
func compressOnly(_ context.Context, t task) (any, error) {
	const parcel = 256 << 10
	j, err := openJournal(t.Journal, 0)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	r, err := j.Reader(j.Oldest())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var s shares
	raw, dst := make([]byte, 0, parcel), make([]byte, s2.MaxEncodedLen(parcel))
	mark := used()
	lap := func(sum *float64) {
		now := used()
		*sum += (now - mark).Seconds()
		mark = now
	}
	for err == nil {
		var g journal.Group
		g, err = r.NextGroup()
		if len(raw) > 0 && (err != nil || len(raw)+len(g.Frames) > parcel) {
			lap(&s.Read)
			s2.Encode(dst, raw)
			lap(&s.Compress)
			raw = raw[:0]
		}
		if err == nil {
			raw = append(raw, g.Frames...)
			s.Events += g.Last - g.First + 1
		}
	}
	if err != io.EOF {
		return nil, err
	}
	return s, nil
}
