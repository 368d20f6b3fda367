package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/hub"
	"posd/sync/wire"
)

const catalogueHeader = "code,description,department,unit,price,tax\n"

// manyItems is a CSV file whose item 7 costs so much.
func manyItems(n int, price string) string {
	var b strings.Builder
	b.WriteString(catalogueHeader)
	for i := range n {
		p := fmt.Sprintf("%d.%02d", 1+i%40, i%100)
		if i == 7 {
			p = price
		}
		fmt.Fprintf(&b, "%d,Item number %d of the shop,dept%d,pc,%s,A\n", i, i, i%40, p)
	}
	return b.String()
}

// publish publishes a file to the terminal, and returns what was said.
func (s *shop) publish(want int, csv string, more ...string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "items.csv")
	must(s.t, os.WriteFile(file, []byte(csv), 0o600))
	return s.expect(want, append([]string{"catalogue", "publish", file, "S1", "T1", "--currency", "EUR", "--why", "a test", "--by", "anna", "--wait", "45s"}, more...)...)
}

// price is what item 7 costs at the till; empty if there is none.
func (s *shop) price() string {
	s.t.Helper()
	q, _ := http.NewRequest("GET", "http://"+s.till+"/v1/items/7", http.NoBody)
	q.Header.Set("Authorization", "Bearer "+s.key)
	r, err := http.DefaultClient.Do(q)
	must(s.t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(s.t, err)
	var a struct{ Item struct{ Price json.Number } }
	must(s.t, json.Unmarshal(b, &a))
	return string(a.Item.Price)
}

// costs waits until the till has a price: a file is noticed within a second of use.
func (s *shop) costs(want string) {
	s.t.Helper()
	for end := time.Now().Add(giveUp); s.price() != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("item 7 costs %q, want %s\n%s", s.price(), want, s.posdLog())
		}
	}
}

// Head office publishes, a terminal uses it: with one shared token, and with a key of its own.
func TestCatalogueFromHeadOffice(t *testing.T) {
	for _, auth := range []string{hub.AuthToken, hub.AuthJWT} {
		t.Run(auth, func(t *testing.T) {
			s := newShop(t, auth)
			s.testPublish()
			s.testTaxes()
			s.testForgedCatalogues()
			s.testLostContents()
		})
	}
}

// status is what the terminal says of head office's catalogue.
func (s *shop) status() (c struct {
	Catalogue struct {
		Version    string
		Items      int
		HeadOffice struct {
			Version, State, Reason string
			Fetched, Chunks        int
		} `json:"head_office"`
	}
	Health struct{ Reasons []string }
}) {
	s.t.Helper()
	q, _ := http.NewRequest("GET", "http://"+s.till+"/v1/status", http.NoBody)
	q.Header.Set("Authorization", "Bearer "+s.key)
	r, err := http.DefaultClient.Do(q)
	must(s.t, err)
	defer r.Body.Close()
	must(s.t, json.NewDecoder(r.Body).Decode(&c))
	return c
}

// newest is what was published last.
func (s *shop) newest() (p hub.Publication) {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(s.expect(0, "catalogue", "list", "--json")), "\n")
	must(s.t, json.Unmarshal([]byte(lines[len(lines)-1]), &p))
	return p
}

func (s *shop) testPublish() {
	t := s.t
	t.Helper()
	out := s.publish(0, manyItems(3000, "1.00"), "--name", "spring")
	if !strings.Contains(out, "3000 items, tax codes A 3000") || !strings.Contains(out, "applied") {
		t.Errorf("%s", out)
	}
	s.costs("100")
	s.await("catalogue.applied", `"items":3000`)
	first := s.newest()
	// The whole file again, in another order, with one price changed.
	lines := strings.Split(strings.TrimSpace(manyItems(3000, "2.00")), "\n")
	slices.Reverse(lines[1:])
	s.publish(0, strings.Join(lines, "\n"), "--name", "summer")
	s.costs("200")
	second := s.newest()
	if second.Base != first.Version || second.Set != 1 || second.Deleted != 0 || second.New > second.Chunks/2 || second.New == 0 {
		t.Errorf("%+v", second)
	}
	// A delta.
	s.publish(0, catalogueHeader[:len(catalogueHeader)-1]+",op\n7,Item number 7 of the shop,dept7,pc,3.00,A,\n8,,,,,,delete\n", "--delta")
	s.costs("300")
	if third := s.newest(); third.Items != 2999 || third.Set != 1 || third.Deleted != 1 {
		t.Errorf("%+v", third)
	}
	if csv := s.expect(0, "catalogue", "show", s.newest().Version); strings.Count(csv, "\n") != 3000 || !strings.Contains(csv, "7,Item number 7 of the shop,dept7,pc,3.00,A,") {
		t.Errorf("%.200s", csv)
	}
	for end := time.Now().Add(giveUp); ; time.Sleep(50 * time.Millisecond) {
		if out = s.expect(0, "catalogue", "status"); strings.Count(out, s.newest().Version) == 2 { // ordered, and in use
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s", out)
		}
	}
	// The items of before, under a new number: back to the first one.
	s.publish(0, manyItems(3000, "1.00"), "--name", "spring")
	s.costs("100")
	if p := s.newest(); p.Version != first.Version || p.Serial <= second.Serial {
		t.Errorf("%+v", p)
	}
	if st := s.status(); st.Catalogue.Items != 3000 || st.Catalogue.HeadOffice.State != "applied" || st.Catalogue.HeadOffice.Version != first.Version {
		t.Errorf("%+v", st)
	}
	for text, says := range map[string]string{
		catalogueHeader + "1,a,,pc,1.999,A\n":          "line 2: price",
		catalogueHeader + "1,a,,pc,1,A\n1,b,,pc,1,A\n": "already on line 2",
		"code;description\n":                           "column",
		"":                                             "the file is empty",
	} {
		if out := s.publish(exitFailed, text); !strings.Contains(out, says) || !strings.Contains(out, "422") {
			t.Errorf("%q: %s", text, out)
		}
	}
	if out := s.publish(exitFailed, catalogueHeader+"1,a,,pc,1,A\n", "--currency", "EURO"); !strings.Contains(out, "currency") {
		t.Errorf("%s", out)
	}
	if audit := s.expect(0, "audit"); strings.Count(audit, "catalogue publish") != 4 {
		t.Errorf("%s", audit)
	}
}

// testTaxes: a catalogue with a code that the terminal lacks, and a table without a code
// that the catalogue has, are refused, each with the way out.
func (s *shop) testTaxes() {
	t := s.t
	t.Helper()
	out := s.publish(exitRefused, strings.Replace(manyItems(50, "9.00"), "pc,9.00,A", "pc,9.00,C", 1), "--force")
	if !strings.Contains(out, "1 items have the code C") {
		t.Errorf("%s", out)
	}
	if s.costs("100"); !slices.ContainsFunc(s.status().Health.Reasons, func(r string) bool { return strings.Contains(r, "code C") }) {
		t.Errorf("%+v", s.status())
	}
	s.await("catalogue.refused", "the code C")
	if out := s.push(exitRefused, "[tax]\nC = \"7\"\n"); !strings.Contains(out, "3000 items of the catalogue have the tax code A") {
		t.Errorf("%s", out)
	}
	s.push(0, "[tax]\nA = \"19\"\n")
	if out := s.publish(exitFailed, strings.Replace(manyItems(50, "9.00"), "pc,9.00,A", "pc,9.00,C", 1)); !strings.Contains(out, "the table pushed to S1.T1 does not have") {
		t.Errorf("%s", out)
	}
	s.push(0, "[tax]\nA = \"19\"\nC = \"7\"\n")
	s.publish(0, strings.Replace(manyItems(50, "9.00"), "pc,9.00,A", "pc,9.00,C", 1), "--force")
	s.costs("900")
	s.publish(0, manyItems(3000, "1.00"))
	s.costs("100")
}

// catalogueInBucket is the order that stands in the bucket; put replaces it.
func (s *shop) catalogueInBucket(put []byte) (was []byte) {
	s.t.Helper()
	nc, kv := s.office()
	defer nc.Close()
	e, err := kv.Get(context.Background(), wire.CatalogueKey("S1", "T1"))
	must(s.t, err)
	if put != nil {
		_, err = kv.Put(context.Background(), wire.CatalogueKey("S1", "T1"), put)
		must(s.t, err)
	}
	return e.Value()
}

// testForgedCatalogues: who can write to the bucket sets no price.
func (s *shop) testForgedCatalogues() {
	t := s.t
	t.Helper()
	old := s.catalogueInBucket(nil)
	s.publish(0, manyItems(3000, "4.00"))
	s.costs("400")
	offer := wire.Offer{Version: "evil-1"}
	o := wire.Order{Store: "S1", Terminal: "T1", Serial: 1 << 50, Kind: wire.KindCatalogue, Body: offer.Append(nil)}
	_, stranger, err := ed25519.GenerateKey(nil)
	must(t, err)
	forged, err := o.Sign(nil, stranger)
	must(t, err)
	good := s.catalogueInBucket(forged)
	s.await("catalogue.refused", "the signature is not head office's")
	s.catalogueInBucket(old)
	s.await("catalogue.refused", "an old order is not taken again")
	s.catalogueInBucket([]byte("x"))
	if s.catalogueInBucket(good); s.price() != "400" {
		t.Errorf("item 7 costs %s", s.price())
	}
}

// contents changes what stands in the bucket of contents.
func (s *shop) contents(change func(kv jetstream.KeyValue, keys []string)) {
	s.t.Helper()
	nc, _ := s.office()
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(s.t, err)
	kv, err := js.KeyValue(context.Background(), wire.ContentBucket)
	must(s.t, err)
	keys, err := kv.Keys(context.Background())
	must(s.t, err)
	change(kv, keys)
}

// testLostContents: what somebody has changed in the bucket, or removed, reaches no till;
// the hub puts it right at its next start, and the till goes on by itself.
func (s *shop) testLostContents() {
	t := s.t
	t.Helper()
	s.posd.stop(syscall.SIGKILL)
	s.publish(exitUnanswered, manyItems(3000, "5.00"), "--wait", "1s")
	s.contents(func(kv jetstream.KeyValue, keys []string) {
		for i, k := range keys {
			if i%2 == 0 {
				must(t, kv.Delete(context.Background(), k))
			} else {
				_, err := kv.Put(context.Background(), k, wire.PackContent([]byte("another")))
				must(t, err)
			}
		}
	})
	s.startPosd()
	wrong := "not what their names say"
	for end := time.Now().Add(giveUp); s.status().Catalogue.HeadOffice.Reason == ""; time.Sleep(20 * time.Millisecond) {
		if s.price() == "500" && strings.Contains(s.hub.log.String(), wrong) {
			return // the hub was just at comparing its buckets
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", s.status())
		}
	}
	if st := s.status(); st.Catalogue.HeadOffice.State != "fetching" || s.price() != "400" {
		t.Errorf("%+v, %s", st, s.price())
	}
	s.hub.stop(syscall.SIGTERM)
	s.startHub()
	s.costs("500")
	if log := s.hub.log.String(); !strings.Contains(log, wrong) {
		t.Errorf("the hub does not say it: %s", log)
	}
}

// A posd that is killed while a catalogue comes goes on with what it has, and sells the
// old items or the new ones, never a mixture.
func TestCatalogueKilled(t *testing.T) {
	s := newShop(t, hub.AuthToken)
	s.publish(0, manyItems(20_000, "1.00"))
	s.costs("100")
	price := func(try int) string { return strconv.Itoa(100 * (try + 1)) }
	var m hub.Publication
	var hidden map[string][]byte
	try := 1
	for ; ; try++ {
		s.posd.stop(syscall.SIGTERM)
		m, hidden = s.publishInPart(strings.ReplaceAll(manyItems(20_000, fmt.Sprint(try+1)), "Item", fmt.Sprint("Thing", try)))
		s.startPosd()
		if s.lacks(m) {
			break
		}
		if try == 5 {
			t.Fatal("what is missing is there again each time")
		}
		s.costs(price(try))
	}
	for range 3 {
		s.costs(price(try - 1))
		s.posd.stop(syscall.SIGKILL)
		s.startPosd()
		if !s.lacks(m) {
			t.Skip("the hub has put back what was missing, at a comparison of its own")
		}
	}
	if st := s.status(); st.Catalogue.HeadOffice.Fetched > 1 {
		t.Errorf("after a kill it fetches again what it had: %+v", st)
	}
	s.contents(func(kv jetstream.KeyValue, _ []string) {
		for sum, b := range hidden {
			_, err := kv.Put(context.Background(), sum, b)
			must(t, err)
		}
	})
	// Now at any time.
	for i := range 8 {
		time.Sleep(time.Duration(i) * 15 * time.Millisecond)
		s.posd.stop(syscall.SIGKILL)
		s.startPosd()
		if p := s.price(); p != price(try-1) && p != price(try) {
			t.Fatalf("item 7 costs %q", p)
		}
	}
	s.costs(price(try))
	s.expect(0, "catalogue", "status")
	s.await("catalogue.applied", `"version":"`+m.Version+`"`)
	if left, _ := filepath.Glob(filepath.Join(s.data, "catalogue.db.chunks", "*")); len(left) != m.Chunks {
		t.Errorf("%d files of %d chunks: %s", len(left), m.Chunks, left)
	}
}

// publishInPart publishes for a terminal that is not there and takes the last five chunks
// away, so that a kill comes in the middle for certain.
func (s *shop) publishInPart(csv string) (m hub.Publication, hidden map[string][]byte) {
	s.t.Helper()
	s.publish(exitUnanswered, csv, "--wait", "1s")
	m = s.newest()
	hidden = map[string][]byte{}
	s.contents(func(kv jetstream.KeyValue, _ []string) {
		for _, sum := range s.chunksOf(m)[m.Chunks-5:] {
			e, err := kv.Get(context.Background(), sum)
			must(s.t, err)
			hidden[sum] = e.Value()
			must(s.t, kv.Delete(context.Background(), sum))
		}
	})
	return m, hidden
}

// lacks waits until the terminal says which chunk it waits for. It reports false where the
// hub, which compares its buckets by itself, has put them back.
func (s *shop) lacks(m hub.Publication) bool {
	s.t.Helper()
	for end := time.Now().Add(giveUp); ; time.Sleep(20 * time.Millisecond) {
		st := s.status()
		o := &st.Catalogue.HeadOffice
		switch {
		case strings.Contains(o.Reason, fmt.Sprint("chunk ", m.Chunks-4)):
			return true
		case o.Version == m.Version && o.State == wire.StateApplied:
			return false
		case time.Now().After(end):
			s.t.Fatalf("%+v\n%s", st, s.posdLog())
		}
	}
}

// chunksOf are the names of what a publication is made of.
func (s *shop) chunksOf(p hub.Publication) (names []string) {
	s.t.Helper()
	s.contents(func(kv jetstream.KeyValue, _ []string) {
		e, err := kv.Get(context.Background(), p.Manifest)
		must(s.t, err)
		var sum [32]byte
		_, err = hex.Decode(sum[:], []byte(p.Manifest))
		must(s.t, err)
		raw, err := wire.UnpackContent(e.Value(), sum)
		must(s.t, err)
		for line := range strings.Lines(string(raw)) {
			if name, size, ok := strings.Cut(line, " "); ok && len(name) == 64 && size != "" {
				names = append(names, name)
			}
		}
	})
	if len(names) != p.Chunks {
		s.t.Fatalf("%d chunks, want %d", len(names), p.Chunks)
	}
	return names
}

// used is the processor time of posd in milliseconds, and its own memory in KiB.
func (s *shop) used() (cpu, anon int) {
	s.t.Helper()
	pid := s.posd.cmd.Process.Pid
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(s.t, err)
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, err := strconv.Atoi(f[11])
	must(s.t, err)
	system, err := strconv.Atoi(f[12])
	must(s.t, err)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(s.t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			anon, err = strconv.Atoi(strings.Fields(rest)[0])
			must(s.t, err)
		}
	}
	return (user + system) * 10, anon
}

// What 100,000 items cost the terminal: the memory has a bound, the rest is told.
func TestCatalogueOf100000(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	s := newShop(t, hub.AuthToken)
	most := 0
	for _, price := range []string{"1.00", "2.00"} {
		before, _ := s.used()
		s.publish(exitUnanswered, manyItems(100_000, price), "--wait", "1ms")
		for end := time.Now().Add(giveUp); s.status().Catalogue.HeadOffice.State != "applied"; time.Sleep(5 * time.Millisecond) {
			_, anon := s.used()
			if most = max(most, anon); time.Now().After(end) {
				t.Fatalf("%+v", s.status())
			}
		}
		after, _ := s.used()
		p := s.newest()
		t.Logf("price %s: a file of %d bytes in %d chunks; %d chunks, %d bytes fetched; %d ms of posd's processor time, the status asked for meanwhile; %d KiB own memory at the peak so far",
			price, p.Bytes, p.Chunks, p.New, p.NewBytes, after-before, most)
		s.costs(strings.Replace(price, ".", "", 1))
	}
	if most > 24<<10 {
		t.Errorf("%d KiB of own memory", most)
	}
}
