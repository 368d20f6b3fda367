package hub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// Kinds of documents: publications by version, and what they are made of by SHA-256,
// packed as in the bucket.
const (
	kindPublication = "catalogue"
	kindContent     = "content"
)

const (
	keepPublications = 8   // that no terminal is told of any more
	contentBatch     = 128 // contents in one transaction
	spreadRate       = 10  // terminals that begin in a second
)

// Publication is one catalogue that was published.
type Publication struct {
	Version string    `json:"version"`
	Serial  uint64    `json:"serial"`
	At      time.Time `json:"at"`
	Decider
	To        string         `json:"to"`
	Terminals int            `json:"terminals"`
	Currency  string         `json:"currency"`
	Items     int            `json:"items"`
	Taxes     map[string]int `json:"taxes"` // items by tax code
	Bytes     int64          `json:"bytes"` // of the file
	Chunks    int            `json:"chunks"`
	Manifest  string         `json:"manifest"` // SHA-256
	Base      string         `json:"base,omitempty"`
	Set       int            `json:"set"`        // items that differ from the base
	Deleted   int            `json:"deleted"`    // items that the base had
	New       int            `json:"new_chunks"` // that the base had not
	NewBytes  int64          `json:"new_bytes"`  // of them, packed
}

// publishing is one publication in the making, in a folder of its own.
type publishing struct {
	h     *Hub
	dir   string
	key   ed25519.PrivateKey
	money pos.Currency
	base  *Publication // nil: there is none
	p     Publication

	change catalogue.Change // since the base
}

func (w *publishing) path(name string) string { return filepath.Join(w.dir, name) }

// publish makes a catalogue of a CSV file and orders terminals to use it. The contents
// are in the ledger and in the bucket before the orders are.
func (h *Hub) publish(ctx context.Context, body io.Reader, q *publishRequest, names []string) (*Publication, error) {
	claim, ok, err := h.ledger.Claim(ctx, "catalogue")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refuseRequest(409, "another catalogue is being published: wait for it to end")
	}
	defer claim.Release()
	w := &publishing{h: h, money: q.money}
	if w.key, err = h.office(ctx); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp(h.opt.Dir, "catalogue-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(w.dir)
	w.p = Publication{At: h.opt.now().UTC(), Decider: q.Decider, To: q.to, Terminals: len(names), Currency: q.money.Code}
	if w.base, err = h.baseOf(ctx, names); err != nil {
		return nil, err
	}
	if err := w.read(ctx, body, q); err != nil {
		return nil, err
	}
	if err := w.taxed(ctx, names); err != nil {
		return nil, err
	}
	if err := w.build(ctx); err != nil {
		return nil, err
	}
	doubt := w.change.Doubt(q.delta)
	if doubt != "" && !q.force {
		return nil, refuseRequest(422, "%s; nothing was published: look whether the file is whole, or say force", doubt)
	}
	offer, err := w.store(ctx)
	if err != nil {
		return nil, err
	}
	offer.Spread = min(uint64(len(names)/spreadRate), wire.MaxSpread)
	e := AuditEntry{Decider: q.Decider, What: "catalogue publish", On: q.to}
	about := map[string]any{"version": w.p.Version, "items": w.p.Items, "manifest": w.p.Manifest}
	if doubt != "" {
		about["forced"] = doubt
	}
	if err := h.give(ctx, names, wire.KindCatalogue, offer.Append(nil), e, about, func(tx ledger.Tx) error { return w.p.save(tx) }); err != nil {
		return nil, err
	}
	if err := h.forgetContents(ctx, w.key); err != nil {
		h.log.Warn("catalogues that nobody needs any more were not removed, the next publication tries again", "error", err)
	}
	return &w.p, nil
}

func (p *Publication) save(tx ledger.Tx) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return tx.PutDoc(kindPublication, p.Version, b)
}

// publications are all that are kept, the oldest first.
func (h *Hub) publications(ctx context.Context) (all []Publication, err error) {
	err = h.ledger.View(ctx, func(tx ledger.Tx) error {
		all = all[:0]
		return tx.Docs(kindPublication, "", func(version string, v []byte) (bool, error) {
			var p Publication
			if err := json.Unmarshal(v, &p); err != nil {
				return false, fmt.Errorf("catalogue %s in the ledger: %w", version, err)
			}
			all = append(all, p)
			return true, nil
		})
	})
	slices.SortFunc(all, func(a, b Publication) int { return a.At.Compare(b.At) })
	return all, err
}

// baseOf is the publication that most of the terminals were told of last: who has it
// need not fetch what the next one has in common with it.
func (h *Hub) baseOf(ctx context.Context, names []string) (*Publication, error) {
	all, err := h.publications(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	votes := map[string]int{}
	err = h.ledger.View(ctx, func(tx ledger.Tx) error {
		clear(votes)
		for _, name := range names {
			store, terminal, _ := strings.Cut(name, ".")
			o, err := loadOrders(tx, store, terminal)
			if err != nil {
				return err
			}
			if o.Catalogue != nil {
				votes[o.Catalogue.Version]++
			}
		}
		return nil
	})
	var best *Publication
	for i := range all {
		if p := &all[i]; votes[p.Version] > 0 && (best == nil || votes[p.Version] >= votes[best.Version]) {
			best = p
		}
	}
	return best, err
}

// read brings in what was sent, with all the checks of an import, and names it by its
// content: the same items are the same version, in whatever order they came.
func (w *publishing) read(ctx context.Context, body io.Reader, q *publishRequest) error {
	o := catalogue.ImportOptions{Currency: w.money, Delta: q.delta}
	if q.delta {
		if w.base == nil {
			return refuseRequest(409, "no catalogue was published to %s yet that a delta could change: publish a whole one", q.to)
		}
		if err := w.h.restore(ctx, w.base, w.key, w.path("fresh.db")); err != nil {
			return err
		}
	}
	report, err := catalogue.Import(ctx, body, w.path("fresh.db"), o)
	var bad *catalogue.ImportError
	switch {
	case errors.As(err, &bad), errors.Is(err, catalogue.ErrBase):
		return refuseRequest(422, "%v", err)
	case err != nil:
		return err
	}
	f, err := os.Create(w.path("items.csv"))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if err := catalogue.Export(w.path("fresh.db"), io.MultiWriter(f, sum), w.money); err != nil {
		return err
	}
	w.p.Version = q.name + "-" + hex.EncodeToString(sum.Sum(nil)[:6])
	w.p.Items, w.p.Taxes = report.Items, report.Taxes
	return nil
}

// taxed refuses tax codes that a table pushed to one of the terminals does not have.
// Tables of their own the hub does not know: such a terminal refuses the catalogue itself.
func (w *publishing) taxed(ctx context.Context, names []string) error {
	tables := map[[sha256.Size]byte]map[string]bool{} // by the text that was pushed; nil: without a table
	return w.h.ledger.View(ctx, func(tx ledger.Tx) error {
		for _, name := range names {
			store, terminal, _ := strings.Cut(name, ".")
			o, err := loadOrders(tx, store, terminal)
			if err != nil {
				return err
			}
			raw, ok, err := tx.Doc(kindConfig, name)
			if err != nil {
				return err
			}
			if !ok || o.Config == nil || o.Config.State == wire.StateRefused {
				continue
			}
			order, err := wire.OpenOrder(raw, publicOf(w.key))
			if err != nil {
				return fmt.Errorf("configuration of %s in the ledger: %w", name, err)
			}
			text := sha256.Sum256(order.Body)
			table, known := tables[text]
			if !known {
				table = pushedTaxes(order.Body)
				tables[text] = table
			}
			for code, n := range w.p.Taxes {
				if table != nil && !table[code] {
					return refuseRequest(422, "%d items have the tax code %s, which the table pushed to %s does not have: push it first", n, code, name)
				}
			}
		}
		return nil
	})
}

// pushedTaxes are the codes of a pushed table; nil: it has none.
func pushedTaxes(text []byte) map[string]bool {
	over, err := config.Overrides("push", text)
	if err != nil {
		return nil // of a newer hub: the terminal will tell
	}
	var table map[string]bool
	for _, o := range over {
		if code, ok := strings.CutPrefix(o.Key, "tax."); ok {
			if table == nil {
				table = map[string]bool{}
			}
			table[code] = true
		}
	}
	return table
}

// build makes the file that terminals get. It is the base's, changed, if that leaves most
// of it as it is, so that most of its chunks are those that terminals have.
func (w *publishing) build(ctx context.Context) error {
	all, err := w.h.publications(ctx)
	if err != nil {
		return err
	}
	w.p.Serial = uint64(max(0, w.p.At.UnixMilli()))
	for i := range all {
		w.p.Serial = max(w.p.Serial, all[i].Serial+1)
	}
	o := catalogue.ImportOptions{Currency: w.money, Version: w.p.Version, Serial: w.p.Serial}
	base := "" // to compare with
	from := w.path("items.csv")
	if w.base != nil && w.base.Currency == w.money.Code {
		if err := w.differ(ctx); err != nil {
			return err
		}
		if w.base != nil {
			base = w.path("final.db")
		}
		if w.base != nil && w.p.Set+w.p.Deleted <= w.p.Items/5+100 {
			from, o.Delta = w.path("delta.csv"), true
		}
	}
	if w.change, err = catalogue.Compare(base, w.path("fresh.db"), w.money); err != nil {
		return err
	}
	if !o.Delta {
		if err := os.Remove(w.path("final.db")); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	report, err := catalogue.Import(ctx, f, w.path("final.db"), o)
	if err != nil {
		return err
	}
	w.p.Bytes = report.Bytes
	if set, deleted, err := catalogue.Diff(w.path("final.db"), w.path("fresh.db"), io.Discard, w.money); err != nil || set+deleted != 0 {
		return fmt.Errorf("catalogue %s: what was made is not what was sent: %d items differ, %d are too many, %w", w.p.Version, set, deleted, err)
	}
	return nil
}

// differ puts the base into final.db, and how the new one differs into delta.csv.
func (w *publishing) differ(ctx context.Context) error {
	if err := w.h.restore(ctx, w.base, w.key, w.path("final.db")); err != nil {
		w.h.log.Warn("the catalogue before cannot be had, terminals fetch all of the next one", "version", w.base.Version, "error", err)
		w.base = nil
		return nil
	}
	f, err := os.Create(w.path("delta.csv"))
	if err != nil {
		return err
	}
	defer f.Close()
	w.p.Base = w.base.Version
	w.p.Set, w.p.Deleted, err = catalogue.Diff(w.path("final.db"), w.path("fresh.db"), f, w.money)
	return err
}

// store puts the chunks and the manifest into the ledger and the bucket.
func (w *publishing) store(ctx context.Context) (offer wire.Offer, err error) {
	var had map[[sha256.Size]byte]bool
	if w.base != nil {
		m, err := w.h.manifest(ctx, w.base, w.key)
		if err != nil {
			return offer, err
		}
		had = make(map[[sha256.Size]byte]bool, len(m.Chunks))
		for i := range m.Chunks {
			had[m.Chunks[i].Sum] = true
		}
	}
	f, err := os.Open(w.path("final.db"))
	if err != nil {
		return offer, err
	}
	defer f.Close()
	batch := contentsToStore{h: w.h, ctx: ctx}
	m := catalogue.Manifest{Serial: w.p.Serial, Version: w.p.Version, Currency: w.p.Currency}
	m.Chunks, err = catalogue.Split(f, func(c catalogue.Chunk, content []byte) error {
		packed := wire.PackContent(content)
		if !had[c.Sum] {
			w.p.New++
			w.p.NewBytes += int64(len(packed))
		}
		return batch.add(c.Sum, packed)
	})
	if errors.Is(err, catalogue.ErrManifest) {
		return offer, refuseRequest(413, "%v", err)
	}
	if err != nil {
		return offer, err
	}
	signed, err := m.Sign(nil, w.key)
	if err != nil {
		return offer, refuseRequest(413, "%v", err)
	}
	offer = wire.Offer{Version: m.Version, Manifest: sha256.Sum256(signed)}
	w.p.Chunks, w.p.Manifest = len(m.Chunks), wire.ContentKey(offer.Manifest)
	if err := batch.add(offer.Manifest, wire.PackContent(signed)); err != nil {
		return offer, err
	}
	return offer, batch.flush()
}

// contentsToStore are put into the ledger together, and then into the bucket.
type contentsToStore struct {
	h      *Hub
	ctx    context.Context
	keys   []string
	values [][]byte
}

func (b *contentsToStore) add(sum [sha256.Size]byte, packed []byte) error {
	b.keys, b.values = append(b.keys, wire.ContentKey(sum)), append(b.values, packed)
	if len(b.keys) < contentBatch {
		return nil
	}
	return b.flush()
}

func (b *contentsToStore) flush() error {
	if len(b.keys) == 0 {
		return nil
	}
	var news []int
	err := b.h.ledger.Update(b.ctx, func(tx ledger.Tx) error {
		news = news[:0]
		for i, key := range b.keys {
			was, ok, err := tx.Doc(kindContent, key)
			if err != nil {
				return err
			}
			if ok && bytes.Equal(was, b.values[i]) {
				continue
			}
			news = append(news, i)
			if err := tx.PutDoc(kindContent, key, b.values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	subjects, values := make([]string, len(news)), make([][]byte, len(news))
	for at, i := range news {
		subjects[at], values[at] = wire.ContentPrefix+b.keys[i], b.values[i]
	}
	b.h.put(b.ctx, subjects, values)
	b.keys, b.values = nil, nil
	return nil
}

// manifest reads the manifest of a publication.
func (h *Hub) manifest(ctx context.Context, p *Publication, key ed25519.PrivateKey) (m *catalogue.Manifest, err error) {
	err = h.ledger.View(ctx, func(tx ledger.Tx) error {
		m, err = readManifest(tx, p, key)
		return err
	})
	return m, err
}

func readManifest(tx ledger.Tx, p *Publication, key ed25519.PrivateKey) (*catalogue.Manifest, error) {
	var sum [sha256.Size]byte
	if _, err := hex.Decode(sum[:], []byte(p.Manifest)); err != nil {
		return nil, err
	}
	raw, err := content(tx, sum)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: manifest: %w", p.Version, err)
	}
	return catalogue.OpenManifest(raw, publicOf(key))
}

func content(tx ledger.Tx, sum [sha256.Size]byte) ([]byte, error) {
	b, ok, err := tx.Doc(kindContent, wire.ContentKey(sum))
	if err == nil && !ok {
		err = fmt.Errorf("the ledger does not have the content %s", wire.ContentKey(sum))
	}
	if err != nil {
		return nil, err
	}
	return wire.UnpackContent(b, sum)
}

// restore writes the file of a publication again.
func (h *Hub) restore(ctx context.Context, p *Publication, key ed25519.PrivateKey, path string) error {
	m, err := h.manifest(ctx, p, key)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range m.Chunks {
		err := h.ledger.View(ctx, func(tx ledger.Tx) error {
			b, err := content(tx, m.Chunks[i].Sum)
			if err == nil {
				_, err = f.WriteAt(b, m.Offset(i))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("catalogue %s: %w", p.Version, err)
		}
	}
	return f.Close()
}
