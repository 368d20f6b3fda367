package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"posd/pos"
	"posd/pos/catalogue"
	"posd/sync/wire"
)

// maxCatalogueBody is more than any catalogue that fits into a manifest.
const maxCatalogueBody = 256 << 20

// publishRequest publishes a catalogue: to one terminal, to all known ones of a store, or
// to all.
type publishRequest struct {
	Decider
	to    string
	name  string // its version begins so
	money pos.Currency
	delta bool
	force bool // what looks like a mistake, too
}

// PublishedCatalogue is the answer to one that was published.
type PublishedCatalogue struct {
	Publication
	Names []string `json:"names"` // "<store>.<terminal>"
}

func (h *Hub) parsePublish(q url.Values) (r publishRequest, names []string, err error) {
	for name := range q {
		switch name {
		case "by", "why", "store", "terminal", "all", "name", "currency", "delta", "force":
		default:
			return r, nil, &badRequest{fmt.Sprintf("unknown parameter %q: there are by, why, store, terminal, all, name, currency, delta and force", name)}
		}
	}
	r.By, r.Why, r.name, r.delta, r.force = q.Get("by"), q.Get("why"), q.Get("name"), q.Get("delta") == "true", q.Get("force") == "true"
	if err := r.check(); err != nil {
		return r, nil, err
	}
	if r.money, err = pos.CurrencyOf(q.Get("currency")); err != nil {
		return r, nil, &badRequest{"currency: " + err.Error()}
	}
	if r.name == "" {
		r.name = h.opt.now().UTC().Format("2006-01-02")
	}
	if len(r.name) > 40 || strings.Trim(r.name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return r, nil, &badRequest{"name: 1 to 40 of A-Z a-z 0-9 . _ -"}
	}
	r.to, names, err = h.addressed(q.Get("store"), q.Get("terminal"), q.Get("all") == "true")
	return r, names, err
}

// addressed are the terminals that somebody means, and how they are called together.
func (h *Hub) addressed(store, terminal string, all bool) (to string, names []string, err error) {
	switch {
	case all == (store != "") || terminal != "" && store == "":
		return "", nil, &badRequest{"say to whom: a store, a store and a terminal, or all"}
	case terminal != "":
		if _, err := wire.DevicePermissions(0, store, terminal); err != nil {
			return "", nil, &badRequest{err.Error()}
		}
		to = store + "." + terminal
		return to, []string{to}, nil
	}
	if to = store; all {
		to = "all"
	}
	if names = h.fleet.names(store); len(names) == 0 {
		return "", nil, refuseRequest(http.StatusNotFound, "no terminal is known in %s", to)
	}
	return to, names, nil
}

// publishHandler answers POST /v1/catalogues; its body is the CSV file.
func (h *Hub) publishHandler(w http.ResponseWriter, r *http.Request) error {
	q, names, err := h.parsePublish(r.URL.Query())
	if err != nil {
		return err
	}
	p, err := h.publish(r.Context(), http.MaxBytesReader(w, r.Body, maxCatalogueBody), &q, names)
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return refuseRequest(http.StatusRequestEntityTooLarge, "a catalogue has at most %d bytes", maxCatalogueBody)
	}
	if err != nil {
		return err
	}
	return reply(w, PublishedCatalogue{*p, names})
}

// cataloguesHandler answers GET /v1/catalogues: JSON lines, the oldest first.
func (h *Hub) cataloguesHandler(w http.ResponseWriter, r *http.Request) error {
	all, err := h.publications(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	for i := range all {
		if err := out.Encode(&all[i]); err != nil {
			return nil // the reader went away
		}
	}
	return nil
}

// catalogueHandler answers GET /v1/catalogues/{version}: its items, as CSV.
func (h *Hub) catalogueHandler(w http.ResponseWriter, r *http.Request) error {
	version := r.PathValue("version")
	all, err := h.publications(r.Context())
	if err != nil {
		return err
	}
	key, err := h.office(r.Context())
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].Version != version {
			continue
		}
		dir, err := os.MkdirTemp(h.opt.Dir, "catalogue-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		money, err := pos.CurrencyOf(all[i].Currency)
		if err == nil {
			err = h.restore(r.Context(), &all[i], key, filepath.Join(dir, "c.db"))
		}
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		return catalogue.Export(filepath.Join(dir, "c.db"), w, money)
	}
	return refuseRequest(http.StatusNotFound, "no catalogue %s is kept", version)
}
