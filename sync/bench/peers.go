package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"

	"posd/journal/chain"
)

// What one would write to get events from a stream into a database: one message is
// one event, and a durable consumer acknowledges it when it is stored. The event's
// name is the key, so that one that comes again changes nothing. Nothing else is
// done with it: no chain is checked, no receipt number compared, nothing passed on,
// and no terminal told.
const (
	peerStream   = "EACH"
	peerSubject  = "each.s1.t1"
	peerConsumer = "ledger"
)

// peerStore keeps events, all of them durable when put returns.
type peerStore interface {
	put(ctx context.Context, names []string, payloads [][]byte) error
	close() error
}

// fillEach publishes the events of a journal one by one, with their names as Msg-Id.
func fillEach(ctx context.Context, t task) (any, error) {
	nc, js, err := connect(t)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: peerStream, Subjects: []string{"each.>"}, Storage: jetstream.FileStorage}); err != nil {
		return nil, err
	}
	return publishAll(ctx, t, js, peerSubject, time.Hour)
}

// consumeEach stores what comes until the limit, or until all that is there is stored.
func consumeEach(ctx context.Context, t task) (_ any, err error) {
	nc, js, err := connect(t)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	store, err := openPeer(ctx, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	stream, err := js.Stream(ctx, peerStream)
	if err != nil {
		return nil, err
	}
	name := peerConsumer + "-" + filepath.Base(t.Dir)
	cons, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4096})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.DeleteConsumer(ctx, name)) }()
	iter, err := cons.Messages(jetstream.PullMaxMessages(2048))
	if err != nil {
		return nil, err
	}
	defer iter.Stop()
	total := stream.CachedInfo().State.Msgs
	var s sample
	w := start()
	for s.Events < total && time.Since(w.at) < t.Limit {
		n := min(uint64(t.Pending), total-s.Events)
		var msgs []jetstream.Msg
		var names []string
		var payloads [][]byte
		for range n {
			m, err := iter.Next(jetstream.NextContext(ctx))
			if err != nil {
				return nil, err
			}
			msgs, names, payloads = append(msgs, m), append(names, m.Headers().Get(nats.MsgIdHdr)), append(payloads, m.Data())
		}
		if err := store.put(ctx, names, payloads); err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if err := m.Ack(); err != nil {
				return nil, err
			}
		}
		s.Events += n
	}
	w.stop(&s)
	me, err := selfUsage()
	s.Peak = me.anon
	return s, err
}

func openPeer(ctx context.Context, t task) (peerStore, error) {
	if t.Ledger == "" {
		db, err := bbolt.Open(filepath.Join(filepath.Dir(t.Dir), filepath.Base(t.Dir)+".db"), 0o600, nil)
		return &boltPeer{db}, err
	}
	c, err := pgx.Connect(ctx, t.Ledger)
	if err != nil {
		return nil, err
	}
	_, err = c.Exec(ctx, "create table each (name text primary key, entered timestamptz not null default now(), payload bytea not null)")
	return &postgresPeer{c}, err
}

// boltPeer is one transaction for what it is given.
type boltPeer struct{ db *bbolt.DB }

func (b *boltPeer) put(_ context.Context, names []string, payloads [][]byte) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("events"))
		for i := range names {
			err = errors.Join(err, bucket.Put([]byte(names[i]), payloads[i]))
		}
		return err
	})
}

func (b *boltPeer) close() error { return b.db.Close() }

// postgresPeer is one INSERT for each event: by itself its own transaction; several
// are sent together in one.
type postgresPeer struct{ c *pgx.Conn }

const peerInsert = "insert into each (name, payload) values ($1, $2) on conflict do nothing"

func (p *postgresPeer) put(ctx context.Context, names []string, payloads [][]byte) error {
	if len(names) == 1 {
		_, err := p.c.Exec(ctx, peerInsert, names[0], payloads[0])
		return err
	}
	var b pgx.Batch
	b.Queue("begin")
	for i := range names {
		b.Queue(peerInsert, names[i], payloads[i])
	}
	b.Queue("commit")
	return p.c.SendBatch(ctx, &b).Close()
}

func (p *postgresPeer) close() error { return p.c.Close(context.Background()) }

// publishAll publishes the events of a journal, many in flight.
func publishAll(ctx context.Context, t task, js jetstream.JetStream, subject string, limit time.Duration) (s sample, err error) {
	var w stopwatch
	err = events(t.Journal, func(id chain.ID, rec chain.Record) (bool, error) {
		if s.Events == 0 {
			w = start()
		}
		// The client keeps the message until it is acknowledged; the map's page may go before.
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: slices.Clone(rec.Payload)},
			jetstream.WithMsgID(msgID(t, id, rec.Seq)), jetstream.WithStallWait(30*time.Second))
		s.Events++
		s.Wire += uint64(len(rec.Payload))
		return time.Since(w.at) < limit, err
	})
	if err == nil {
		select {
		case <-js.PublishAsyncComplete():
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(giveUp):
			err = fmt.Errorf("%d publishes were not acknowledged", js.PublishAsyncPending())
		}
	}
	w.stop(&s)
	s.Raw, s.Sent = s.Wire, s.Events
	return s, err
}

// diskOf is what a database takes, in bytes.
func diskOf(ctx context.Context, url string) (n uint64, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "checkpoint")
	if err == nil {
		err = c.QueryRow(ctx, "select pg_database_size(current_database())").Scan(&n)
	}
	return n, err
}

// version of PostgreSQL at url, such as "15.9".
func versionOf(ctx context.Context, url string) (string, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	v, _, _ := strings.Cut(c.PgConn().ParameterStatus("server_version"), " ")
	return v, nil
}
