package hub

import (
	"bytes"
	"fmt"
	"net/url"
	"testing"

	"posd/sync/ledger"
	"posd/sync/wire"
)

// bring imports records of a till, a parcel each few.
func (r *rig) bring(k *till, first, last uint64) (out ImportReply) {
	r.t.Helper()
	var parcels [][]byte
	for ; first <= last; first += 40 {
		parcels = append(parcels, bytesOf(r.t, k.parcel(first, min(first+39, last))))
	}
	if code := r.call("POST", "/v1/import?"+importQuery(k).Encode(), string(ImportBody(parcels)), &out); code != 200 {
		r.t.Fatalf("import: %d", code)
	}
	return out
}

func importQuery(k *till) url.Values {
	return url.Values{"by": {"ada"}, "why": {"the till burnt"}, "store": {"s1"}, "terminal": {"t1"}, "journal": {k.id.String()}}
}

// importedInTurns has a till whose records come in turns from itself and from a copy of its
// disk, some twice, while nothing is published. Then all is.
func importedInTurns(t *testing.T, url string, b bug) error {
	r := newRig(t, b)
	r.o.LedgerURL, r.o.NoEvents = url, true
	r.start()
	k := &till{history: *newHistory(t, "s1", "t1", 1500)}
	at := wire.UpSubject(0, "s1", "t1", k.id)
	ship := func(first, last uint64) {
		for ; first <= last; first += 100 {
			r.settle(r.publish(at, bytesOf(t, k.parcel(first, min(first+99, last)))))
		}
	}
	ship(1, 900)
	r.bring(k, 800, 1100)
	r.bring(k, 1050, 1100)
	ship(1001, 1300)
	r.bring(k, 1250, k.last())
	ship(1301, k.last())
	if names, _ := r.published(); len(names) > 0 {
		t.Errorf("%d events are published by a hub that was told not to", len(names))
	}
	if c := r.chain(k.id); c.Last != k.last() || c.Held != "" || c.Want != 0 {
		return fmt.Errorf("chain %+v", c)
	}
	r.stop()
	r.o.NoEvents = false
	r.start()
	return r.all(k.events(map[ledger.Name]string{}), k.names())
}

// TestImportInTurns: what comes through two lanes takes effect once, and goes out in order.
func TestImportInTurns(t *testing.T) {
	onEachStore(t, func(t *testing.T, url string) {
		if err := importedInTurns(t, url, noBug); err != nil {
			t.Error(err)
		}
	})
	for _, b := range []bug{bugNotIdempotent, bugNoBarrier} {
		t.Run(fmt.Sprint("control ", b), func(t *testing.T) {
			if importedInTurns(t, "", b) == nil {
				t.Error("passes: the check proves nothing")
			}
		})
	}
}

// FuzzImport: whatever is posted, the hub answers, and nothing but a journal's own records gets in.
func FuzzImport(f *testing.F) {
	k := newHistory(f, "s1", "t1", 8)
	f.Add(ImportBody([][]byte{bytesOf(f, k.parcel(1, 8))}))
	f.Add([]byte("\x01\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		in := importRequest{store: "s1", terminal: "t1", id: k.id}
		in.readParcels(bytes.NewReader(body)) // errors are for the caller
		for i := range in.messages {
			if m := &in.messages[i]; m.refused != nil || m.parcel.Journal != k.id {
				t.Errorf("taken: %+v", m)
			}
		}
	})
}
