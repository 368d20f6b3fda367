package downlink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/event"
	"posd/sync/wire"
)

const (
	firstPause = 2 * time.Second // after an attempt that failed through no fault of the catalogue's
	lastPause  = 5 * time.Minute
)

// Items is where a catalogue from head office goes.
type Items struct {
	Path    string
	Options func(context.Context) catalogue.ImportOptions // what it is checked against now, and its pace
	InUse   func() (version string, items int)
	Room    func(bytes int64) error // why the disk must not take so many; nil: it may
}

// catalogueState is the newest catalogue that was decided upon.
type catalogueState struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Serial  uint64 `json:"serial"`
	Digest  string `json:"digest"` // SHA-256 of the order's bytes
	Version string `json:"version"`
	State   string `json:"state"` // wire.StateApplied or StateRefused
	Reason  string `json:"reason,omitempty"`
	Former  string `json:"former,omitempty"` // version before, until the event was written
	Items   int    `json:"items,omitempty"`
	Told    bool   `json:"told"` // the event stands in the journal
}

// supply is a catalogue on its way. All of it belongs to Downlink.mu.
type supply struct {
	nc     *nats.Conn // nil: no link
	wants  *want      // nil: nothing is on its way
	kick   chan struct{}
	got    int // chunks that have come
	of     int // all of its chunks, those that were here among them
	reason string
}

// want is an order that was verified and is not decided upon yet.
type want struct {
	order  wire.Order
	offer  wire.Offer
	digest string
	due    time.Time          // it is not begun before
	cancel context.CancelFunc // of the attempt; nil: none runs
}

// CatalogueStatus is what became of the newest catalogue of head office's.
type CatalogueStatus struct {
	Serial  uint64 // 0: none ever came
	Version string
	State   string // "fetching", wire.StateApplied or StateRefused
	Reason  string // of a refusal; of one on its way: what is in the way, if anything is
	Got, Of int    // chunks that have come, and all that it is made of
}

// StateFetching is the state of a catalogue on its way.
const StateFetching = "fetching"

// CatalogueStatus says what became of the newest one.
func (d *Downlink) CatalogueStatus() (s CatalogueStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.supply.wants; w != nil {
		return CatalogueStatus{w.order.Serial, w.offer.Version, StateFetching, d.supply.reason, d.supply.got, d.supply.of}
	}
	if c := d.st.Catalogue; c != nil {
		s = CatalogueStatus{Serial: c.Serial, Version: c.Version, State: c.State, Reason: c.Reason}
	}
	return s
}

// Catalogue hears over one connection which catalogue head office wants, and lends the
// connection to Supply until ctx ends.
func (d *Downlink) Catalogue(ctx context.Context, nc *nats.Conn) error {
	d.lend(nc)
	defer d.lend(nil)
	return d.hear(ctx, nc, wire.CatalogueKey(d.opt.Store, d.opt.Terminal), func(raw []byte) { d.offered(ctx, nc, raw) })
}

func (d *Downlink) lend(nc *nats.Conn) {
	d.mu.Lock()
	d.supply.nc = nc
	d.mu.Unlock()
	d.wake()
}

func (d *Downlink) wake() {
	select {
	case d.supply.kick <- struct{}{}:
	default:
	}
}

// offered verifies an order and leaves it to Supply, in the place of an older one.
func (d *Downlink) offered(ctx context.Context, nc *nats.Conn, raw []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeTime)
	defer cancel()
	d.mu.Lock()
	a := d.weigh(ctx, raw)
	d.mu.Unlock()
	if a.State != "" {
		d.answer(nc, a)
	}
}

// weigh is offered; the answer is empty if there is none yet. Callers hold mu.
func (d *Downlink) weigh(ctx context.Context, raw []byte) wire.Answer {
	sum := wire.Digest(raw)
	digest := hex.EncodeToString(sum[:])
	var offer wire.Offer
	o, err := d.open(raw, func(o *wire.Order) (err error) {
		if o.Kind != wire.KindCatalogue {
			return fmt.Errorf("it is no catalogue but %q", o.Kind)
		}
		offer, err = wire.ParseOffer(o.Body)
		return err
	})
	if err != nil {
		return d.strangeCatalogue(ctx, digest, 0, "", config.Reason(err, wire.MaxReason/2))
	}
	last, again := uint64(0), false
	if c := d.st.Catalogue; c != nil {
		if last = c.Serial; c.Serial == o.Serial && c.Digest == digest { // at each connect
			if again = d.itemsLost(c); !again {
				d.tellCatalogue(ctx)
				return wire.Answer{Serial: c.Serial, Kind: wire.KindCatalogue, State: c.State, Reason: c.Reason}
			}
			offer.Spread = 0 // this one alone
		}
	}
	w := d.supply.wants
	if w != nil {
		if w.digest == digest {
			return wire.Answer{} // it is on its way
		}
		last = max(last, w.order.Serial)
	}
	if o.Serial <= last && !again && d.opt.bug != bugNoSerial {
		return d.strangeCatalogue(ctx, digest, o.Serial, offer.Version, tooOld(o.Serial, last))
	}
	if d.parts.Items == nil {
		return d.strangeCatalogue(ctx, digest, o.Serial, offer.Version, "this terminal takes no catalogue")
	}
	if w != nil && w.cancel != nil {
		w.cancel()
	}
	o.Body = nil // a part of raw, which is the connection's
	d.supply.wants = &want{order: o, offer: offer, digest: digest, due: d.opt.now().Add(time.Duration(offer.Spread) * time.Second * time.Duration(rand.N(1000)) / 1000)}
	d.supply.got, d.supply.of, d.supply.reason = 0, 0, ""
	d.log.Info("head office has another catalogue", "serial", o.Serial, "version", offer.Version)
	d.wake()
	return wire.Answer{}
}

// itemsLost says that a catalogue was put in use, and that the terminal has none: its file
// is gone or damaged.
func (d *Downlink) itemsLost(c *catalogueState) bool {
	if c.State != wire.StateApplied || d.parts.Items == nil {
		return false
	}
	version, _ := d.parts.Items.InUse()
	return version == ""
}

// strangeCatalogue refuses what is not head office's, or old.
func (d *Downlink) strangeCatalogue(ctx context.Context, digest string, serial uint64, version, why string) wire.Answer {
	inUse := ""
	if d.parts.Items != nil {
		inUse, _ = d.parts.Items.InUse()
	}
	d.strange(ctx, digest, why, &event.CatalogueRefused{Serial: serial, Version: version, InUse: inUse, Reason: why})
	return wire.Answer{Serial: serial, Kind: wire.KindCatalogue, State: wire.StateRefused, Reason: why}
}

// Supply fetches what Catalogue has heard of and puts it in use, until ctx ends. It is
// called once, behind Start.
func (d *Downlink) Supply(ctx context.Context) error {
	pause := firstPause
	for {
		var again <-chan time.Time
		if w := d.wanted(); w != nil {
			attempt, cancel := context.WithCancel(ctx)
			err := d.attempt(attempt, cancel, w)
			cancel()
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil || d.wanted() != w: // decided, or another one has taken its place
				pause = firstPause
				continue
			}
			d.inTheWay(w, err)
			again = time.After(pause/2 + rand.N(pause/2))
			pause = min(2*pause, lastPause)
		}
		select {
		case <-d.supply.kick:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Downlink) wanted() *want {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.supply.wants
}

// inTheWay notes why an attempt has failed.
func (d *Downlink) inTheWay(w *want, err error) {
	reason := reasonOf(err)
	d.mu.Lock()
	news := d.supply.reason != reason
	d.supply.reason = reason
	d.mu.Unlock()
	if news {
		d.log.Warn("head office's catalogue is not here yet, will be tried again", "version", w.offer.Version, "error", err)
	}
}

func reasonOf(err error) string {
	return config.Reason(err, wire.MaxReason/2)
}

// errNot wraps why a catalogue is refused for good.
type errNot struct{ error }

func (e errNot) Unwrap() error { return e.error }

// attempt brings the catalogue in, or refuses it. An error is of something that may
// pass; ctx ends when another order takes the place of w.
func (d *Downlink) attempt(ctx context.Context, cancel context.CancelFunc, w *want) error {
	d.mu.Lock()
	if d.supply.wants != w { // another one came before this one could be cancelled
		d.mu.Unlock()
		return nil
	}
	w.cancel = cancel
	d.supply.got, d.supply.of = 0, 0
	items := d.parts.Items
	d.mu.Unlock()
	if err := sleepUntil(ctx, w.due); err != nil {
		return err
	}
	former, count := items.InUse()
	decided := catalogueState{Version: w.offer.Version, State: wire.StateApplied, Former: former, Items: count}
	if former != w.offer.Version {
		report, err := d.bring(ctx, w, items)
		decided.Items = report.Items
		var not errNot
		switch {
		case err == nil || errors.Is(err, catalogue.ErrCurrent):
		case errors.As(err, &not), errors.Is(err, catalogue.ErrManifest), errors.Is(err, catalogue.ErrOld), errors.Is(err, catalogue.ErrTaxes), errors.Is(err, catalogue.ErrSchema):
			decided.State, decided.Reason, decided.Items = wire.StateRefused, reasonOf(err), 0
		default:
			return err
		}
	}
	return d.settle(ctx, w, &decided)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	if wait := time.Until(t); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// bring fetches what the manifest names and puts it in use.
func (d *Downlink) bring(ctx context.Context, w *want, items *Items) (none catalogue.ImportReport, err error) {
	raw, err := d.content(ctx, w.offer.Manifest)
	if err != nil {
		return none, fmt.Errorf("manifest: %w", err)
	}
	d.mu.Lock()
	key := d.opt.Key
	d.mu.Unlock()
	m, err := catalogue.OpenManifest(raw, key)
	if err == nil && m.Version != w.offer.Version {
		err = fmt.Errorf("it is of version %s, the order names %s", m.Version, w.offer.Version)
	}
	if err != nil {
		return none, errNot{fmt.Errorf("manifest: %w", err)}
	}
	if err := items.Room(2 * m.Size()); err != nil {
		return none, err
	}
	d.mu.Lock()
	d.supply.got, d.supply.of = 0, len(m.Chunks)
	d.mu.Unlock()
	o := items.Options(ctx)
	o.TaxesNow = func() map[string]bool { return items.Options(ctx).Taxes }
	return catalogue.Assemble(ctx, items.Path, m, d.chunk, o)
}

// chunk is content, counted.
func (d *Downlink) chunk(ctx context.Context, sum [sha256.Size]byte) ([]byte, error) {
	b, err := d.content(ctx, sum)
	if err == nil {
		d.mu.Lock()
		d.supply.got++
		d.mu.Unlock()
	}
	return b, err
}

var (
	errNoLink = errors.New("no link to head office")
	// errMissing: head office's servers have lost it. Its hub compares them with its
	// ledger now and then, and puts back what they lack.
	errMissing = errors.New("head office's servers do not have it (yet)")
	// errSilent is also what a terminal sees that may not ask.
	errSilent = errors.New("head office's servers do not answer; if this lasts, let the terminal have new credentials (poshub command STORE TERMINAL rotate-key): those of a release before this one do not allow it")
)

// content fetches one content over the connection that there is.
func (d *Downlink) content(ctx context.Context, sum [sha256.Size]byte) ([]byte, error) {
	d.mu.Lock()
	nc := d.supply.nc
	d.mu.Unlock()
	if nc == nil {
		return nil, errNoLink
	}
	wait, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	m, err := nc.RequestWithContext(wait, wire.DirectGet(sum), nil)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return nil, errSilent
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errMissing
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoLink, err)
	}
	switch status := m.Header.Get("Status"); {
	case status == "404", status == "" && len(m.Data) == 0:
		return nil, errMissing
	case status != "":
		return nil, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
	}
	return wire.UnpackContent(m.Data, sum)
}

// settle keeps what was decided, journals it and answers.
func (d *Downlink) settle(ctx context.Context, w *want, c *catalogueState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeTime)
	defer cancel()
	nc, err := d.keepCatalogue(ctx, w, c)
	if err == nil && nc != nil {
		d.answer(nc, wire.Answer{Serial: c.Serial, Kind: wire.KindCatalogue, State: c.State, Reason: c.Reason})
	}
	return err
}

// keepCatalogue returns the connection to answer over, nil if there is none or nothing
// to be said: the next one tells of itself.
func (d *Downlink) keepCatalogue(ctx context.Context, w *want, c *catalogueState) (*nats.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.supply.wants != w {
		if c.State == wire.StateApplied && c.Former != c.Version && d.parts.Note != nil { // lines were priced by it
			return nil, d.parts.Note(ctx, &event.CatalogueApplied{Serial: w.order.Serial, Version: c.Version, Former: c.Former, Items: uint64(max(0, c.Items))})
		}
		return nil, nil
	}
	if c.Former == c.Version { // it was here already: posd was killed before it could say so
		c.Former = ""
	}
	c.Serial, c.Digest = w.order.Serial, w.digest
	former := d.st.Catalogue
	if d.st.Catalogue = c; !d.save() {
		d.st.Catalogue = former
		return nil, errors.New("it cannot be kept: the disk takes no writes")
	}
	d.supply.wants = nil
	d.tellCatalogue(ctx)
	return d.supply.nc, nil
}

// tellCatalogue journals what became of the newest catalogue, if that was not done yet.
func (d *Downlink) tellCatalogue(ctx context.Context) {
	c := d.st.Catalogue
	if c == nil || c.Told || d.parts.Note == nil {
		return
	}
	var e Event = &event.CatalogueApplied{Serial: c.Serial, Version: c.Version, Former: c.Former, Items: uint64(max(0, c.Items))}
	if c.State == wire.StateRefused {
		e = &event.CatalogueRefused{Serial: c.Serial, Version: c.Version, InUse: c.Former, Reason: c.Reason}
		d.log.Warn("head office's catalogue is refused", "serial", c.Serial, "version", c.Version, "reason", c.Reason)
	} else {
		d.log.Info("head office's catalogue is in use", "serial", c.Serial, "version", c.Version, "items", c.Items)
	}
	if err := d.parts.Note(ctx, e); err != nil {
		d.log.Warn("what became of head office's catalogue is not journaled yet", "error", err)
		return
	}
	c.Told = true
	d.save()
}
