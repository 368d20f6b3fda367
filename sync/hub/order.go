package hub

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/ledger"
	"posd/sync/wire"
)

// Kinds of documents, all by "<store>.<terminal>": what was ordered last and what
// became of it; and the newest configuration, and the newest order that names a
// catalogue, as they were signed.
const (
	kindOrders = "orders"
	kindConfig = "config"
	kindSupply = "supply"
)

// shelf is a class of orders that stand in the bucket, the newest for each terminal
// under "<store>.<terminal><suffix>".
type shelf struct{ doc, kind, suffix string }

var shelves = [...]shelf{{kindConfig, wire.KindConfig, ".config"}, {kindSupply, wire.KindCatalogue, ".catalogue"}}

// shelfOf is nil for commands, which stand nowhere.
func shelfOf(kind string) *shelf {
	for i := range shelves {
		if shelves[i].kind == kind {
			return &shelves[i]
		}
	}
	return nil
}

// StateSent is the state of an order that no terminal has answered yet, StateExpired of
// a command that none has answered in time. The others are those of package wire.
const (
	StateSent    = "sent"
	StateExpired = "expired"
)

const (
	keepEvery   = 10 * time.Minute // between two comparisons of the bucket with the ledger
	repeatEvery = 2 * time.Second  // a command that nobody has answered
	askedBatch  = 100              // terminals in one transaction
)

// Orders is what was ordered of one terminal, the newest of each class.
type Orders struct {
	Store     string   `json:"store"`
	Terminal  string   `json:"terminal"`
	Last      uint64   `json:"last"` // highest number given
	Config    *Ordered `json:"config,omitempty"`
	Command   *Ordered `json:"command,omitempty"`
	Catalogue *Ordered `json:"catalogue,omitempty"`
}

// of is the newest of the class of a kind.
func (o *Orders) of(kind string) **Ordered {
	switch kind {
	case wire.KindConfig:
		return &o.Config
	case wire.KindCatalogue:
		return &o.Catalogue
	}
	return &o.Command
}

// Ordered is one order and what became of it.
type Ordered struct {
	Serial uint64    `json:"serial"`
	Kind   string    `json:"kind"`
	At     time.Time `json:"at"`
	Decider
	State    string    `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	Config   string    `json:"config,omitempty"`  // hash of what was in force at the answer
	Version  string    `json:"version,omitempty"` // of a catalogue
	Answered time.Time `json:"answered,omitzero"`
}

func loadOrders(tx ledger.Tx, store, terminal string) (o Orders, err error) {
	b, ok, err := tx.Doc(kindOrders, store+"."+terminal)
	if err == nil && ok {
		if err = json.Unmarshal(b, &o); err != nil {
			err = fmt.Errorf("orders of %s.%s in the ledger: %w", store, terminal, err)
		}
	}
	o.Store, o.Terminal = store, terminal
	return o, err
}

func (o *Orders) save(tx ledger.Tx) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindOrders, o.Store+"."+o.Terminal, b)
}

// number gives the next number: above all before, also those that a ledger restored
// from a backup has forgotten, unless the clock went back as well.
func (o *Orders) number(now time.Time) uint64 {
	o.Last = max(o.Last+1, uint64(max(0, now.UnixMilli())))
	return o.Last
}

// orderer keeps who waits for an answer.
type orderer struct {
	kick chan struct{} // the bucket may lack something

	mu      sync.Mutex
	waiting map[string]chan wire.Answer // by "<store>.<terminal>"
}

func newOrderer() *orderer {
	return &orderer{kick: make(chan struct{}, 1), waiting: make(map[string]chan wire.Answer)}
}

// wait takes the answers of a terminal until done is called; nil: somebody else waits.
func (o *orderer) wait(name string) (answers chan wire.Answer, done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting[name] != nil {
		return nil, nil
	}
	answers = make(chan wire.Answer, 8)
	o.waiting[name] = answers
	return answers, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.waiting, name)
	}
}

func (o *orderer) pass(a *wire.Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.waiting[a.Store+"."+a.Terminal] <- *a:
	default:
	}
}

// keepOrders hears what terminals answer, and keeps the bucket as the ledger has it,
// until ctx ends. Whatever fails is tried again.
func (h *Hub) keepOrders(ctx context.Context) error {
	for _, s := range h.shards {
		sub, err := h.nc.Subscribe(wire.AnswerPrefix(s.n)+">", func(m *nats.Msg) { h.answered(ctx, m) })
		if err != nil {
			return fmt.Errorf("listen to answers of shard %d: %w", s.n, err)
		}
		defer sub.Unsubscribe()
		if err := sub.SetPendingLimits(64<<10, 256<<20); err != nil {
			return err
		}
	}
	tick := time.NewTicker(h.opt.Pulse)
	defer tick.Stop()
	var next time.Time
	for restarts := h.nc.Stats().Reconnects; ; {
		if now := h.nc.Stats().Reconnects; now != restarts || !time.Now().Before(next) {
			restarts = now
			switch _, err := h.compareBuckets(ctx); {
			case err == nil:
				next = time.Now().Add(keepEvery)
			case errors.Is(err, jetstream.ErrBucketNotFound): // the work on a shard makes it
			case ctx.Err() == nil:
				h.log.Warn("what the buckets say was not compared with the ledger, will be tried again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.orders.kick:
			next = time.Time{}
		case <-tick.C:
		}
	}
}

// compareBuckets makes the buckets of our region what the ledger says. ok is false where
// another hub was at one of them, and had it left to it.
func (h *Hub) compareBuckets(ctx context.Context) (ok bool, err error) {
	ok = true
	for _, b := range []struct {
		claim   string
		compare func(context.Context) error
	}{{"orders/", h.rewriteBucket}, {"contents/", h.rewriteContents}} {
		claim, alone, cerr := h.ledger.Claim(ctx, b.claim+h.opt.Region)
		if cerr != nil || !alone {
			ok, err = false, errors.Join(err, cerr)
			continue
		}
		cctx, cancel := context.WithTimeout(ctx, keepEvery)
		err = errors.Join(err, b.compare(cctx))
		cancel()
		claim.Release()
	}
	return ok, err
}

// rewriteBucket makes the bucket what the ledger says. What is there and is newer than
// the ledger, signed by the office key, is taken over instead: the ledger was restored
// from a backup, and the terminals would take nothing older any more.
func (h *Hub) rewriteBucket(ctx context.Context) error {
	kv, err := h.js.KeyValue(ctx, wire.Bucket)
	if err != nil {
		return err
	}
	for i := range shelves {
		if err := h.rewriteShelf(ctx, kv, &shelves[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hub) rewriteShelf(ctx context.Context, kv jetstream.KeyValue, s *shelf) error {
	there, err := s.in(ctx, kv)
	if err != nil {
		return err
	}
	for after, more := "", true; more; {
		more = false
		batch := map[string][]byte{}
		err := h.ledger.View(ctx, func(tx ledger.Tx) error {
			clear(batch)
			return tx.Docs(s.doc, after, func(name string, raw []byte) (bool, error) {
				if more = len(batch) == askedBatch; !more {
					after = name
					batch[name] = append([]byte(nil), raw...)
				}
				return !more, nil
			})
		})
		if err != nil {
			return err
		}
		for name, raw := range batch {
			digest, in := there[name]
			delete(there, name)
			if in && digest == wire.Digest(raw) {
				continue
			}
			if err := h.settleBucket(ctx, kv, s, name, raw, in); err != nil {
				return err
			}
		}
	}
	for name := range there { // the ledger does not know of
		if err := h.settleBucket(ctx, kv, s, name, nil, true); err != nil {
			return err
		}
	}
	return nil
}

// in are the digests of all orders of the class in the bucket, by terminal.
func (s *shelf) in(ctx context.Context, kv jetstream.KeyValue) (map[string][32]byte, error) {
	there := map[string][32]byte{}
	err := s.each(ctx, kv, func(name string, raw []byte) { there[name] = wire.Digest(raw) })
	return there, err
}

// each calls fn with all orders of the class in the bucket.
func (s *shelf) each(ctx context.Context, kv jetstream.KeyValue, fn func(name string, raw []byte)) error {
	w, err := kv.Watch(ctx, "*.*"+s.suffix, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the bucket was not read to its end")
			case e == nil:
				return nil
			}
			fn(strings.TrimSuffix(e.Key(), s.suffix), e.Value())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settleBucket decides about one terminal of which bucket and ledger differ; raw is
// what the ledger has, nil if nothing, in says whether the bucket has something.
func (h *Hub) settleBucket(ctx context.Context, kv jetstream.KeyValue, s *shelf, name string, raw []byte, in bool) error {
	store, terminal, _ := strings.Cut(name, ".")
	key, err := h.office(ctx)
	if err != nil {
		return err
	}
	public := publicOf(key)
	if in {
		e, err := kv.Get(ctx, name+s.suffix)
		if err != nil {
			return err
		}
		o, err := wire.OpenOrder(e.Value(), public)
		ours := err == nil && o.Store == store && o.Terminal == terminal && o.Kind == s.kind
		known, err := wire.OpenOrder(raw, public)
		if err != nil {
			known.Serial = 0
		}
		switch {
		case ours && o.Serial > known.Serial:
			h.log.Warn("an order that the ledger has forgotten is taken over from the bucket", "terminal", name, "kind", s.kind, "serial", o.Serial)
			return h.adopt(ctx, s, &o, e.Value())
		case !ours:
			h.log.Error("the bucket had an order that head office has not signed: somebody else may write there", "terminal", name, "kind", s.kind)
		}
	}
	if raw == nil {
		return kv.Delete(ctx, name+s.suffix)
	}
	_, err = h.js.Publish(ctx, wire.BucketPrefix+name+s.suffix, raw)
	return err
}

// adopt enters an order that was given and that the ledger does not have.
func (h *Hub) adopt(ctx context.Context, s *shelf, order *wire.Order, raw []byte) error {
	return h.ledger.Update(ctx, func(tx ledger.Tx) error {
		o, err := loadOrders(tx, order.Store, order.Terminal)
		if err != nil {
			return err
		}
		at := o.of(s.kind)
		if *at != nil && (*at).Serial >= order.Serial {
			return nil
		}
		o.Last = max(o.Last, order.Serial)
		*at = &Ordered{Serial: order.Serial, Kind: order.Kind, At: h.opt.now(), State: StateSent, Decider: Decider{"poshub", "found in the bucket"}, Version: versionIn(order)}
		return errors.Join(o.save(tx), tx.PutDoc(s.doc, o.Store+"."+o.Terminal, raw))
	})
}

// versionIn is the version of the catalogue that an order names, "" of others.
func versionIn(o *wire.Order) string {
	if o.Kind != wire.KindCatalogue {
		return ""
	}
	offer, err := wire.ParseOffer(o.Body)
	if err != nil {
		return "" // a newer hub's
	}
	return offer.Version
}

// order signs and enters one order, in the transaction tx.
func (h *Hub) order(tx ledger.Tx, key ed25519.PrivateKey, order *wire.Order, d Decider) ([]byte, error) {
	o, err := loadOrders(tx, order.Store, order.Terminal)
	if err != nil {
		return nil, err
	}
	now := h.opt.now().UTC()
	order.Serial = o.number(now)
	raw, err := order.Sign(nil, key)
	if err != nil {
		return nil, err
	}
	*o.of(order.Kind) = &Ordered{Serial: order.Serial, Kind: order.Kind, At: now, Decider: d, State: StateSent, Version: versionIn(order)}
	err = o.save(tx)
	if s := shelfOf(order.Kind); s != nil {
		err = errors.Join(err, tx.PutDoc(s.doc, o.Store+"."+o.Terminal, raw))
	}
	return raw, err
}

// push gives one configuration to terminals ("<store>.<terminal>").
func (h *Hub) push(ctx context.Context, names []string, text []byte, to string, d Decider) error {
	e := AuditEntry{Decider: d, What: "push", On: to}
	return h.give(ctx, names, wire.KindConfig, text, e, map[string]any{"text": string(text)}, nil)
}

// give orders the same of terminals ("<store>.<terminal>"), audited as e with details and
// their names; also is done in the transaction of the first ones. Once it returns without
// an error the ledger has it, and the bucket has it or will be given it.
func (h *Hub) give(ctx context.Context, names []string, kind string, body []byte, e AuditEntry, details map[string]any, also func(ledger.Tx) error) error {
	key, err := h.office(ctx)
	if err != nil {
		return err
	}
	for i := 0; i < len(names); i += askedBatch {
		batch := names[i:min(i+askedBatch, len(names))]
		raws, serials := make([][]byte, len(batch)), make([]uint64, len(batch))
		err := h.ledger.Update(ctx, func(tx ledger.Tx) (err error) {
			for j, name := range batch {
				store, terminal, _ := strings.Cut(name, ".")
				o := wire.Order{Store: store, Terminal: terminal, Kind: kind, Body: body}
				if raws[j], err = h.order(tx, key, &o, e.Decider); err != nil {
					return err
				}
				serials[j] = o.Serial
			}
			if also != nil && i == 0 {
				if err := also(tx); err != nil {
					return err
				}
			}
			e.At = h.opt.now()
			details["terminals"] = batch
			return audit(tx, e, details)
		})
		if err != nil {
			return err
		}
		if kind == wire.KindConfig {
			for j, name := range batch {
				h.fleet.pushed(name, serials[j], StateSent)
			}
		}
		h.fill(ctx, batch, raws, shelfOf(kind).suffix)
	}
	return nil
}

// fill writes orders into the bucket.
func (h *Hub) fill(ctx context.Context, names []string, raws [][]byte, suffix string) {
	subjects := make([]string, len(names))
	for i, name := range names {
		subjects[i] = wire.BucketPrefix + name + suffix
	}
	h.put(ctx, subjects, raws)
}

// put writes into a bucket. What fails is done again by keepOrders.
func (h *Hub) put(ctx context.Context, subjects []string, values [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	acks := make([]jetstream.PubAckFuture, 0, len(subjects))
	var err error
	for i, subject := range subjects {
		ack, e := h.js.PublishAsync(subject, values[i])
		if err = errors.Join(err, e); e == nil {
			acks = append(acks, ack)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case e := <-ack.Err():
			err = errors.Join(err, e)
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
	}
	if err != nil {
		h.log.Warn("an order, or what it names, is not in its bucket yet, will be tried again", "error", err)
		select {
		case h.orders.kick <- struct{}{}:
		default:
		}
	}
}

// answered takes what a terminal says of an order.
func (h *Hub) answered(ctx context.Context, m *nats.Msg) {
	_, store, terminal, serial, err := wire.ParseAnswerSubject(m.Subject)
	var a wire.Answer
	if err == nil {
		a, err = wire.ParseAnswer(m.Data)
	}
	if err == nil && (a.Store != store || a.Terminal != terminal || a.Serial != serial) {
		err = errors.New("it is about another terminal or order than its subject says")
	}
	if err != nil || !h.accepts(store) {
		h.log.Debug("an answer is not taken", "subject", wire.Short(m.Subject, 128), "error", err)
		return
	}
	a.Reason = cut(a.Reason, wire.MaxReason)
	if err := h.noteAnswer(ctx, &a); err != nil && ctx.Err() == nil {
		h.log.Warn("a terminal's answer is not in the ledger; its next connection repeats it", "terminal", store+"."+terminal, "error", err)
	}
	h.orders.pass(&a)
}

// noteAnswer enters what became of an order. A terminal repeats at each connect what
// is known: that writes nothing.
func (h *Hub) noteAnswer(ctx context.Context, a *wire.Answer) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	news := false
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		o, err := loadOrders(tx, a.Store, a.Terminal)
		news = o.take(a, h.opt.now())
		return err
	})
	if err != nil || !news {
		return err
	}
	return h.ledger.Update(ctx, func(tx ledger.Tx) error {
		o, err := loadOrders(tx, a.Store, a.Terminal)
		if err != nil || !o.take(a, h.opt.now()) {
			return err
		}
		if a.Kind == wire.KindConfig {
			h.fleet.pushed(a.Store+"."+a.Terminal, o.Config.Serial, o.Config.State)
		}
		return o.save(tx)
	})
}

// take notes an answer, and reports whether it says anything new. An answer with the
// number 0 is about an order that the terminal could not read or not believe: which one
// it cannot say. It is taken to be about the newest, if that has no answer yet.
func (o *Orders) take(a *wire.Answer, now time.Time) bool {
	x := *o.of(a.Kind)
	switch {
	case x == nil || a.State == "" || len(a.State) > 16 || len(a.Config) > 64:
		return false
	case a.Serial == 0 && x.State != StateSent || a.Serial != 0 && a.Serial != x.Serial:
		return false
	case x.State == a.State && x.Reason == a.Reason && x.Config == a.Config:
		return false
	}
	x.State, x.Reason, x.Config, x.Answered = a.State, a.Reason, a.Config, now.UTC()
	return true
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }
