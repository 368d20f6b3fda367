package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/ledger"
	"posd/sync/wire"
)

const itemsHeader = "code,description,department,unit,price,tax\n"

// publishItems publishes a file as somebody does over HTTP.
func (r *rig) publishItems(csv, to string, more ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	store, terminal, _ := strings.Cut(to, ".")
	q := url.Values{"store": {store}, "terminal": {terminal}, "by": {"ada"}, "why": {"a test"}, "currency": {"EUR"}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	req := httptest.NewRequest("POST", "/v1/catalogues?"+q.Encode(), strings.NewReader(csv))
	req.Header.Set("Authorization", "Bearer "+r.h.api)
	w := httptest.NewRecorder()
	r.h.Handler().ServeHTTP(w, req)
	return w
}

// kept are the versions that the ledger keeps, and how many contents; inBucket are the
// contents in the bucket.
func (r *rig) kept() (versions []string, contents int, inBucket map[string]bool) {
	r.t.Helper()
	all, err := r.h.publications(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range all {
		versions = append(versions, p.Version)
	}
	kv, err := r.h.js.KeyValue(context.Background(), wire.ContentBucket)
	if err == nil {
		inBucket, _, err = contentsIn(context.Background(), kv)
	}
	if err == nil {
		err = r.h.ledger.View(context.Background(), func(tx ledger.Tx) error {
			return tx.Docs(kindContent, "", func(string, []byte) (bool, error) { contents++; return true, nil })
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return versions, contents, inBucket
}

// compareBuckets has the buckets compared with the ledger from beginning to end. The hub does
// so by itself as well, soon after it starts: what it is at may have begun before what the
// test did.
func (r *rig) compareBuckets() {
	r.t.Helper()
	r.eventually("the buckets are compared", func() bool {
		ok, err := r.h.compareBuckets(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		return ok
	})
}

func shopOf(prices ...int) string {
	var b strings.Builder
	b.WriteString(itemsHeader)
	for i := range 400 {
		fmt.Fprintf(&b, "%d,Item number %d of a shop,,pc,%d.50,A\n", i, i, prices[i%len(prices)])
	}
	return b.String()
}

// What nobody is told of any more goes, but for the newest; what one terminal that is
// away was told of long ago stays, and so does the bucket.
func TestOldCataloguesGo(t *testing.T) { onEachStore(t, oldCataloguesGo) }

func oldCataloguesGo(t *testing.T, url string) {
	r := newRig(t, noBug)
	r.o.LedgerURL = url
	r.start()
	r.eventually("the bucket is there", func() bool {
		_, err := r.h.js.KeyValue(context.Background(), wire.ContentBucket)
		return err == nil
	})
	if w := r.publishItems(shopOf(1), "s1.away", "name", "first"); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	for i := range keepPublications + 3 {
		if w := r.publishItems(shopOf(1, i+2), "s1.t1", "name", fmt.Sprint("v", i)); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	versions, contents, _ := r.kept()
	if len(versions) != keepPublications+1 || !strings.HasPrefix(versions[0], "first-") || !strings.HasPrefix(versions[1], "v3-") {
		t.Fatalf("%v", versions)
	}
	r.compareBuckets()
	_, again, inBucket := r.kept()
	if again != contents || len(inBucket) != contents {
		t.Errorf("the ledger has %d contents, then %d, the bucket %d", contents, again, len(inBucket))
	}
	all, err := r.h.publications(context.Background())
	key, kerr := r.h.office(context.Background())
	if err != nil || kerr != nil {
		t.Fatal(err, kerr)
	}
	for i := range all {
		if err := r.h.restore(context.Background(), &all[i], key, t.TempDir()+"/c.db"); err != nil {
			t.Errorf("%s cannot be had any more: %v", all[i].Version, err)
		}
	}
	// A bucket that was deleted is filled again.
	if err := r.h.js.DeleteKeyValue(context.Background(), wire.ContentBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := r.h.js.CreateKeyValue(context.Background(), contentsConfig()); err != nil {
		t.Fatal(err)
	}
	r.compareBuckets()
	if _, _, inBucket := r.kept(); len(inBucket) != contents {
		t.Errorf("%d contents in the bucket, want %d", len(inBucket), contents)
	}
}

// The same file, published under the same name to one terminal after the other, is made
// twice: what the first one was told of stays as long as its order names it.
func TestACataloguePublishedInStages(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	publish := func(csv, to, name string) {
		t.Helper()
		if w := r.publishItems(csv, to, "name", name); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	publish(shopOf(1), "s1.away", "first")
	first := r.offered("s1.away")
	publish(shopOf(1), "s1.t1", "first")
	if second := r.offered("s1.t1"); second.Version != first.Version || second.Manifest == first.Manifest {
		t.Fatalf("%+v, then %+v: this is not what is to be tested", first, second)
	}
	others := func(name string) {
		t.Helper()
		for i := range keepPublications + 1 {
			publish(shopOf(1, i+2), "s1.t1", fmt.Sprint(name, i))
		}
	}
	there := func() (err error) {
		key, err := r.h.office(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		p := Publication{Manifest: wire.ContentKey(first.Manifest)}
		return r.h.restore(context.Background(), &p, key, t.TempDir()+"/c.db")
	}
	others("v")
	if err := there(); err != nil {
		t.Error(err)
	}
	// The negative control: without an order it goes.
	publish(shopOf(1, 99), "s1.away", "next")
	others("w")
	if err := there(); err == nil {
		t.Error("what no order names is kept for ever")
	}
}

// A ledger that was restored from a backup older than the last publication takes that over
// from the buckets, and drops nothing but what nobody names.
func TestARestoredLedgerTakesContents(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	ctx := context.Background()
	r.eventually("the buckets are there", func() bool {
		_, err := r.h.js.KeyValue(ctx, wire.ContentBucket)
		return err == nil
	})
	if w := r.publishItems(shopOf(1), "s1.t1", "name", "first"); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	offer := r.offered("s1.t1")
	nobodys := []byte("of nobody")
	key, packed := wire.ContentKey(sha256.Sum256(nobodys)), wire.PackContent(nobodys)
	if _, err := r.h.js.Publish(ctx, wire.ContentPrefix+key, packed); err != nil {
		t.Fatal(err)
	}
	_, contents, _ := r.kept()
	err := r.h.ledger.Update(ctx, func(tx ledger.Tx) (err error) {
		for _, kind := range []string{kindContent, kindPublication, kindOrders, kindSupply} {
			var keys []string
			err = errors.Join(err, tx.Docs(kind, "", func(key string, _ []byte) (bool, error) {
				keys = append(keys, key)
				return true, nil
			}))
			for _, key := range keys {
				err = errors.Join(err, tx.DeleteDoc(kind, key))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.compareBuckets()
	_, again, inBucket := r.kept()
	if again != contents || len(inBucket) != contents || inBucket[key] {
		t.Errorf("the ledger has %d contents, the bucket %d, of %d", again, len(inBucket), contents)
	}
	office, err := r.h.office(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := Publication{Manifest: wire.ContentKey(r.offered("s1.t1").Manifest)}
	if p.Manifest != wire.ContentKey(offer.Manifest) {
		t.Error("the order is another one")
	}
	if err := r.h.restore(ctx, &p, office, t.TempDir()+"/c.db"); err != nil {
		t.Error(err)
	}
}

// offered is what the newest order of a terminal names.
func (r *rig) offered(name string) (o wire.Offer) {
	r.t.Helper()
	key, err := r.h.office(context.Background())
	if err == nil {
		err = r.h.ledger.View(context.Background(), func(tx ledger.Tx) error {
			raw, _, err := tx.Doc(kindSupply, name)
			if err != nil {
				return err
			}
			order, err := wire.OpenOrder(raw, publicOf(key))
			if err == nil {
				o, err = wire.ParseOffer(order.Body)
			}
			return err
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func contentsConfig() jetstream.KeyValueConfig { return contents(1, nil) }

// A file that has lost its end, or its prices, is published by who says that it is meant.
func TestPublishRefusesALostEnd(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	whole := shopOf(1)
	cut := whole[:strings.Index(whole, "\n266,")+1]
	free := whole + "bag,Bag,,pc,0,A\n"
	for _, step := range []struct {
		name, csv string
		more      []string
		code      int
		says      string
	}{
		{"whole", whole, nil, 200, ""},
		{"cut", cut, nil, 422, "134 of the 400 items that are there are not in it; nothing was published: look whether the file is whole, or say force"},
		{"cut, to another terminal", cut, []string{"terminal", "t2"}, 200, ""},
		{"cut, in a delta", cut, []string{"delta", "true"}, 200, ""},
		{"cut and meant", cut, []string{"force", "true"}, 200, ""},
		{"free", free, nil, 422, "1 items would cost nothing that did not before: bag"},
		{"free in a delta", free, []string{"delta", "true"}, 422, "would cost nothing"},
		{"free and meant", free, []string{"force", "true"}, 200, ""},
		{"free again", free + "new,New,,pc,1,A\n", nil, 200, ""},
	} {
		if w := r.publishItems(step.csv, "s1.t1", step.more...); w.Code != step.code || !strings.Contains(w.Body.String(), step.says) {
			t.Errorf("%s: %d %s", step.name, w.Code, w.Body)
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	r := newRig(t, noBug)
	r.start()
	for name, tc := range map[string]struct {
		w    *httptest.ResponseRecorder
		code int
		says string
	}{
		"no currency":      {r.publishItems(shopOf(1), "s1.t1", "currency", "EURO"), 400, "currency"},
		"no reason":        {r.publishItems(shopOf(1), "s1.t1", "why", ""), 400, "why"},
		"to nobody":        {r.publishItems(shopOf(1), "", "store", "", "terminal", ""), 400, "say to whom"},
		"an empty store":   {r.publishItems(shopOf(1), "s9", "terminal", ""), 404, "no terminal is known in s9"},
		"a name":           {r.publishItems(shopOf(1), "s1.t1", "name", "a b"), 400, "name"},
		"a parameter":      {r.publishItems(shopOf(1), "s1.t1", "what", "x"), 400, "unknown parameter"},
		"a delta of none":  {r.publishItems(shopOf(1), "s1.t1", "delta", "true"), 409, "publish a whole one"},
		"a bad line":       {r.publishItems(itemsHeader+"1,a,,pc,x,A\n", "s1.t1"), 422, "line 2: price"},
		"no tax code":      {r.publishItems(itemsHeader+"1,a,,pc,1,\n", "s1.t1"), 422, "tax code of 1 is empty"},
		"a wrong terminal": {r.publishItems(shopOf(1), "s1.t*"), 400, "t*"},
	} {
		if tc.w.Code != tc.code || !strings.Contains(tc.w.Body.String(), tc.says) {
			t.Errorf("%s: %d %s", name, tc.w.Code, tc.w.Body)
		}
	}
	if versions, contents, _ := r.kept(); len(versions)+contents != 0 {
		t.Errorf("%v, %d contents", versions, contents)
	}
	claim, ok, err := r.h.ledger.Claim(context.Background(), "catalogue")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if w := r.publishItems(shopOf(1), "s1.t1"); w.Code != http.StatusConflict {
		t.Errorf("two at once: %d %s", w.Code, w.Body)
	}
	claim.Release()
	if w := r.publishItems(shopOf(1), "s1.t1"); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.get("/v1/catalogues/nope", r.h.api); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	versions, _, _ := r.kept()
	if w := r.get("/v1/catalogues/"+versions[0], r.h.api); w.Code != http.StatusOK || len(slices.Collect(strings.Lines(w.Body.String()))) != 401 {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}
