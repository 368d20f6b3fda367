package hub

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"posd/pos/catalogue"
	"posd/sync/ledger"
	"posd/sync/wire"
)

// forgetContents removes publications that no terminal is told of any more, but for the
// newest, and what neither the others nor any order is made of. The bucket follows at its next comparison. Its
// caller holds the claim of publishing: nothing is being stored meanwhile.
func (h *Hub) forgetContents(ctx context.Context, key ed25519.PrivateKey) error {
	all, err := h.publications(ctx)
	if err != nil {
		return err
	}
	used, err := h.published(ctx)
	if err != nil {
		return err
	}
	offered, err := h.offered(ctx, key)
	if err != nil {
		return err
	}
	var gone []string
	var kept []Publication
	for i := range all {
		if used[all[i].Version] || i >= len(all)-keepPublications {
			kept = append(kept, all[i])
		} else {
			gone = append(gone, all[i].Version)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return h.ledger.Update(ctx, func(tx ledger.Tx) error {
		needed := map[string]bool{}
		for _, p := range append(kept, offered...) {
			if needed[p.Manifest] {
				continue
			}
			m, err := readManifest(tx, &p, key)
			if err != nil {
				return err
			}
			needed[p.Manifest] = true
			for j := range m.Chunks {
				needed[wire.ContentKey(m.Chunks[j].Sum)] = true
			}
		}
		for _, version := range gone {
			if err := tx.DeleteDoc(kindPublication, version); err != nil {
				return err
			}
		}
		var drop []string
		err := tx.Docs(kindContent, "", func(key string, _ []byte) (bool, error) {
			if !needed[key] {
				drop = append(drop, key)
			}
			return true, nil
		})
		for _, key := range drop {
			err = errors.Join(err, tx.DeleteDoc(kindContent, key))
		}
		return err
	})
}

// offered are the manifests that orders name, each once. The same items may have been
// published again under the same name: then the version's document names the newer
// manifest, and terminals that were told before still ask for the older one.
func (h *Hub) offered(ctx context.Context, key ed25519.PrivateKey) (all []Publication, err error) {
	seen := map[[sha256.Size]byte]bool{}
	err = h.ledger.View(ctx, func(tx ledger.Tx) error {
		clear(seen)
		err := tx.Docs(kindSupply, "", func(name string, raw []byte) (bool, error) {
			order, err := wire.OpenOrder(raw, publicOf(key))
			if err != nil {
				return false, fmt.Errorf("catalogue of %s in the ledger: %w", name, err)
			}
			offer, err := wire.ParseOffer(order.Body)
			if err != nil {
				return false, fmt.Errorf("catalogue of %s in the ledger: %w", name, err)
			}
			seen[offer.Manifest] = true
			return true, nil
		})
		if err != nil {
			return err
		}
		all = all[:0]
		for sum := range seen {
			// One that an earlier release lost is no reason to keep all others for ever.
			if _, ok, err := tx.Doc(kindContent, wire.ContentKey(sum)); err != nil {
				return err
			} else if ok {
				all = append(all, Publication{Manifest: wire.ContentKey(sum)})
			}
		}
		return nil
	})
	return all, err
}

// published are the versions that terminals are told of.
func (h *Hub) published(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		return tx.Docs(kindOrders, "", func(name string, v []byte) (bool, error) {
			var o Orders
			if err := json.Unmarshal(v, &o); err != nil {
				return false, fmt.Errorf("orders of %s in the ledger: %w", name, err)
			}
			if o.Catalogue != nil {
				used[o.Catalogue.Version] = true
			}
			return true, nil
		})
	})
	return used, err
}

// rewriteContents makes the bucket of contents what the ledger says: each content is
// looked at, and what is missing, or is not what its name says, is written again.
func (h *Hub) rewriteContents(ctx context.Context) error {
	kv, err := h.js.KeyValue(ctx, wire.ContentBucket)
	if err != nil {
		return err
	}
	there, bad, err := contentsIn(ctx, kv)
	if err != nil {
		return err
	}
	if bad > 0 {
		h.log.Error("the bucket had contents that are not what their names say: somebody else may write there", "contents", bad)
	}
	for after, more := "", true; more; {
		var subjects []string
		var values [][]byte
		err := h.ledger.View(ctx, func(tx ledger.Tx) error {
			subjects, values, more = nil, nil, false
			seen := 0
			return tx.Docs(kindContent, after, func(key string, v []byte) (bool, error) {
				if more = seen == contentBatch; more {
					return false, nil
				}
				if seen++; !there[key] {
					subjects, values = append(subjects, wire.ContentPrefix+key), append(values, slices.Clone(v))
				}
				after = key
				return true, nil
			})
		})
		if err != nil {
			return err
		}
		for i := range subjects {
			if _, err := h.js.Publish(ctx, subjects[i], values[i]); err != nil {
				return err
			}
		}
	}
	return h.dropContents(ctx, kv, there)
}

// contentsIn are the names in the bucket that have the content they say.
func contentsIn(ctx context.Context, kv jetstream.KeyValue) (there map[string]bool, bad int, err error) {
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, 0, err
	}
	defer w.Stop()
	there = map[string]bool{}
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, 0, errors.New("the bucket was not read to its end")
			case e == nil:
				return there, bad, nil
			}
			var sum [32]byte
			_, err := hex.Decode(sum[:], []byte(e.Key()[:min(len(e.Key()), 64)]))
			if err == nil {
				_, err = wire.UnpackContent(e.Value(), sum)
			}
			if there[e.Key()] = err == nil; err != nil {
				bad++
			}
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// dropContents removes from the bucket what the ledger does not have. What an order in the
// bucket names is taken over instead: the ledger was restored from a backup, and there is
// no other copy at head office.
func (h *Hub) dropContents(ctx context.Context, kv jetstream.KeyValue, there map[string]bool) error {
	var strange []string
	for key := range there {
		known := false
		err := h.ledger.View(ctx, func(tx ledger.Tx) (err error) {
			_, known, err = tx.Doc(kindContent, key)
			return err
		})
		if err != nil {
			return err
		}
		if !known {
			strange = append(strange, key)
		}
	}
	if len(strange) == 0 {
		return nil
	}
	named, err := h.named(ctx, kv)
	if err != nil {
		return err
	}
	taken := 0
	for _, key := range strange {
		if named[key] && there[key] {
			taken++
			err = h.takeContent(ctx, kv, key)
		} else {
			err = kv.Purge(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	if taken > 0 {
		h.log.Warn("contents that the ledger has forgotten are taken over from the bucket", "contents", taken)
	}
	return nil
}

// takeContent enters a content that stands in the bucket and is what its name says.
func (h *Hub) takeContent(ctx context.Context, kv jetstream.KeyValue, key string) error {
	e, err := kv.Get(ctx, key)
	if err != nil {
		return err
	}
	return h.ledger.Update(ctx, func(tx ledger.Tx) error { return tx.PutDoc(kindContent, key, e.Value()) })
}

// named are the contents that the orders in the bucket name, as far as head office has
// signed them.
func (h *Hub) named(ctx context.Context, kv jetstream.KeyValue) (map[string]bool, error) {
	key, err := h.office(ctx)
	if err != nil {
		return nil, err
	}
	orders, err := h.js.KeyValue(ctx, wire.Bucket)
	if err != nil {
		return nil, err
	}
	manifests := map[[sha256.Size]byte]bool{}
	err = shelfOf(wire.KindCatalogue).each(ctx, orders, func(_ string, raw []byte) {
		order, err := wire.OpenOrder(raw, publicOf(key))
		if err != nil {
			return // not head office's: rewriteBucket says so
		}
		if offer, err := wire.ParseOffer(order.Body); err == nil {
			manifests[offer.Manifest] = true
		}
	})
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for sum := range manifests {
		e, err := kv.Get(ctx, wire.ContentKey(sum))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		raw, err := wire.UnpackContent(e.Value(), sum)
		if err != nil {
			continue
		}
		m, err := catalogue.OpenManifest(raw, publicOf(key))
		if err != nil {
			continue
		}
		named[wire.ContentKey(sum)] = true
		for i := range m.Chunks {
			named[wire.ContentKey(m.Chunks[i].Sum)] = true
		}
	}
	return named, nil
}
