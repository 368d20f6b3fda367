package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEventsUnderKills listens to a posd that sells and is killed, goes on behind the last
// id each time, and then holds what it has heard against the journal: every event of it
// once, in order, byte for byte, and nothing that the kill took back. posd is the one of
// TestKill, which loses what was not synced.
func TestEventsUnderKills(t *testing.T) {
	for _, bug := range []string{"", "early-ack", "event-skipped"} {
		t.Run("planted "+bug, func(t *testing.T) {
			h := &hearer{paperRun: newPaperRun(t, bug)}
			hunt(t, bug, 24, h.life, h.compare)
			t.Logf("%d events heard over %d streams", len(h.heard), h.streams)
			if bug == "" && (len(h.heard) < 100 || h.streams < 12) {
				t.Fatal("too little happened to prove anything")
			}
		})
	}
}

type heard struct {
	seq  uint64
	data string
}

type hearer struct {
	*paperRun
	last    string // id
	heard   []heard
	streams int
}

// life sells and listens, and is killed.
func (h *hearer) life() error {
	ctx, cancel := context.WithCancel(h.t.Context())
	var all sync.WaitGroup
	var listened error
	err := h.live(func() {
		before := h.sold()
		all.Go(func() { h.work(ctx, 0) })
		all.Go(func() { // when there is something to catch up with
			for ctx.Err() == nil && h.sold() == before {
				time.Sleep(time.Millisecond)
			}
			listened = h.listen(ctx)
		})
		time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
	})
	<-time.After(20 * time.Millisecond) // what is on its way may still be heard
	cancel()
	all.Wait()
	return errors.Join(err, listened, h.failed)
}

func (h *hearer) sold() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.known)
}

// listen hears until posd is gone.
func (h *hearer) listen(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, "GET", h.url+"/v1/events?after=start", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+h.token)
	if h.last != "" {
		r.Header.Set("Last-Event-ID", h.last)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(r)
	if err != nil {
		return nil // it was killed before
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream behind %q: %s", h.last, res.Status)
	}
	h.streams++
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(nil, 1<<20)
	var id, data string
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = value
		}
		if sc.Text() != "" || id == "" {
			continue
		}
		_, tail, _ := strings.Cut(id, "-")
		seq, err := strconv.ParseUint(tail, 10, 64)
		if err != nil {
			return fmt.Errorf("id %q: %w", id, err)
		}
		if h.last = id; data != "" {
			h.heard = append(h.heard, heard{seq, data})
		}
		id, data = "", ""
	}
	return nil
}

// compare holds what was heard against the journal.
func (h *hearer) compare() error {
	var recorded []heard
	err := h.dumped(func(line []byte) error {
		var l struct {
			Seq   uint64
			Event json.RawMessage
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if l.Event != nil {
			recorded = append(recorded, heard{l.Seq, string(l.Event)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, x := range h.heard {
		if i >= len(recorded) {
			return fmt.Errorf("event %d was heard and is not in the journal", x.seq)
		}
		if x != recorded[i] {
			return fmt.Errorf("heard event %d:\n%s\nthe journal has event %d:\n%s", x.seq, x.data, recorded[i].seq, recorded[i].data)
		}
	}
	return nil
}
