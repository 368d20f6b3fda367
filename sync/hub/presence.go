package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Three heartbeats that do not come are the sure sign of a terminal that is gone. Where
// each has an account of its own the servers tell sooner: a connection that ended, and
// was not followed by another, makes its terminal offline after offlineGrace. The name is
// the one in the JWT that head office signed, not what a client calls itself.
const (
	connectEvents    = "$SYS.ACCOUNT.*.CONNECT"
	disconnectEvents = "$SYS.ACCOUNT.*.DISCONNECT"
	offlineGrace     = 10 * time.Second
	presenceAgain    = 30 * time.Second // between attempts to reach the system account
)

// watchPresence listens to the servers until ctx ends. Without it heartbeats alone tell.
func (h *Hub) watchPresence(ctx context.Context) error {
	for h.keys != nil {
		err := h.hearServers(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.log.Warn("the servers do not tell who connects: a terminal that is gone is noticed later", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(presenceAgain):
		}
	}
	<-ctx.Done()
	return nil
}

func (h *Hub) hearServers(ctx context.Context) error {
	nc, err := h.sysConn()
	if err != nil {
		return err
	}
	defer nc.Close()
	return h.hear(ctx, nc)
}

// hear ends with ctx, or with an error when the connection is closed for good.
func (h *Hub) hear(ctx context.Context, nc *nats.Conn) error {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	for subject, f := range map[string]func([]byte){connectEvents: h.fleet.came, disconnectEvents: h.fleet.went} {
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) { f(m.Data) })
		if err != nil {
			return fmt.Errorf("listen to %s: %w", subject, err)
		}
		if err := sub.SetPendingLimits(64<<10, 64<<20); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case <-closed:
		return errors.Join(errClosed, nc.LastError())
	}
}

var errClosed = errors.New("the connection to the system account was closed")

// serverEvent is what of a server's event matters here.
type serverEvent struct {
	Client struct {
		Name  string    `json:"name_tag"`
		Start time.Time `json:"start"`
	} `json:"client"`
}

// about finds the terminal of an event. Callers hold mu.
func (f *fleet) about(body []byte) (m *member, start int64) {
	var e serverEvent
	if len(body) > 64<<10 || json.Unmarshal(body, &e) != nil {
		return nil, 0
	}
	if m = f.members[e.Client.Name]; m == nil || m.hub != "" {
		return nil, 0
	}
	return m, milli(e.Client.Start)
}

// came notes that a terminal has connected.
func (f *fleet) came(body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, start := f.about(body); m != nil {
		m.linked = max(m.linked, start)
	}
}

// went notes that a connection ended. One that began after the last heartbeat was only a
// probe, for each session says that it is there; one that began before another of the
// same terminal has been followed already.
func (f *fleet) went(body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, start := f.about(body)
	if m == nil || m.seen == 0 || start > m.seen || start < m.linked {
		return
	}
	m.gone = max(milli(f.now()), m.seen)
}
