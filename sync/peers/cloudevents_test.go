package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/journal/chain"
	"posd/sync/ledger"
	"posd/sync/outbox"
)

// message is a NATS message as the SDK wants to see one: the NATS binding in structured
// mode, which is known by its content type.
type message struct{ m jetstream.Msg }

func (m message) ReadEncoding() binding.Encoding {
	if strings.HasPrefix(m.m.Headers().Get("Content-Type"), "application/cloudevents") {
		return binding.EncodingStructured
	}
	return binding.EncodingUnknown
}

func (m message) ReadStructured(ctx context.Context, w binding.StructuredWriter) error {
	f := format.Lookup(m.m.Headers().Get("Content-Type"))
	if f == nil {
		return binding.ErrNotStructured
	}
	return w.SetStructuredEvent(ctx, f, io.Reader(bytes.NewReader(m.m.Data())))
}

func (m message) ReadBinary(context.Context, binding.BinaryWriter) error { return binding.ErrNotBinary }
func (m message) Finish(error) error                                     { return nil }

// payloads of the events, as terminals write them and as they should not.
var payloads = [][]byte{
	[]byte(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","clock":"synced","trace":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"total":2067,"text":"Crème \"Nº 1\""}}`),
	[]byte(`{"v":1,"type":"shift.opened","time":"2026-11-21T08:00:02.000Z","data":{}}`),
	[]byte("\x00\xff no JSON"),
	[]byte(`["no event"]`),
	[]byte(`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00.123Z","data":{"fill":"` + strings.Repeat("x", 20<<10) + `"}}`), // by reference
}

// publish has a real server fed by the outbox from a real ledger.
func publish(t *testing.T) jetstream.Stream {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, MaxPayload: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	stream, err := js.CreateStream(ctx, outbox.StreamConfig("", 1, 0, -1))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.OpenBolt(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	id := chain.ID{7}
	if err := l.Update(ctx, func(tx ledger.Tx) error {
		var names []ledger.Name
		err := tx.PutChain(ledger.Chain{Journal: id, Store: "S042", Terminal: "T7", Updated: time.Now()})
		for i, p := range payloads {
			n := ledger.Name{Journal: id, Seq: uint64(i + 1), Head: chain.Head{byte(i + 1)}}
			names = append(names, n)
			err = errors.Join(err, tx.PutRecord(id, n.Seq, n.Head, p))
		}
		var pos ledger.Position
		return errors.Join(err, outbox.Put(tx, "L", &pos, names), tx.SetPosition("L", ledger.Position{}, pos))
	}); err != nil {
		t.Fatal(err)
	}
	o, err := outbox.New(outbox.Options{Ledger: l, Conn: nc})
	if err != nil {
		t.Fatal(err)
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- o.Run(run) }()
	t.Cleanup(func() { cancel(); <-done })
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if i, err := stream.Info(ctx); err == nil && i.State.Msgs == uint64(len(payloads)) {
			return stream
		}
		if time.Now().After(end) {
			t.Fatal("never published")
		}
	}
}

func TestCloudEvents(t *testing.T) {
	ctx := context.Background()
	cons, err := publish(t).OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	id := chain.ID{7}
	for i, p := range payloads {
		m, err := cons.Next()
		if err != nil {
			t.Fatal(err)
		}
		e, err := binding.ToEvent(ctx, message{m})
		if err != nil {
			t.Fatalf("event %d: %v", i+1, err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("event %d: %v", i+1, err)
		}
		head := chain.Head{byte(i + 1)}
		if e.SpecVersion() != event.CloudEventsVersionV1 || e.ID() != fmt.Sprintf("%s:%d:%s", id, i+1, head) || e.Source() != "/pos/S042/T7" ||
			e.Extensions()["journal"] != id.String() || e.Extensions()["seq"] != fmt.Sprint(i+1) {
			t.Errorf("event %d: %s", i+1, e)
		}
		if i == len(payloads)-1 {
			if len(e.Data()) != 0 || e.Extensions()["dataref"] == nil {
				t.Errorf("event %d was to go by reference: %s", i+1, e)
			}
		} else if !bytes.Equal(e.Data(), p) {
			t.Errorf("event %d carries %q, want %q", i+1, e.Data(), p)
		}
		switch i {
		case 0:
			if e.Type() != "pos.sale.completed" || e.DataContentType() != "application/json" || m.Subject() != "pos.events.S042.sale.completed" ||
				!e.Time().Equal(time.Date(2026, 11, 21, 9, 30, 0, 123e6, time.UTC)) || e.Extensions()["traceparent"] == nil {
				t.Errorf("event %d: %s on %s", i+1, e, m.Subject())
			}
		case 2:
			if e.Type() != "pos.malformed" || e.DataContentType() != "application/octet-stream" {
				t.Errorf("event %d: %s", i+1, e)
			}
		}
	}
}
