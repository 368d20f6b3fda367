package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Failures of other tills, each by the name of the thread that tells of it, against the
// real posd, and the real poshub where head office has a part. Where the power goes,
// posd is built so that SIGKILL takes with it all that was not synced; then a mistake is
// planted that would let the failure happen here too, and must be seen.

// powered starts a posd whose kill is a power cut, with a planted bug or none.
func (s *site) powered(bug string) *running {
	s.t.Helper()
	c := exec.Command(program(s.t, "posd"), "--config", s.conf, "--no-daemon")
	c.Env = append(os.Environ(), "POSD_PLANTED_BUG="+bug)
	return s.run(c)
}

func (s *site) append(config string) {
	s.t.Helper()
	f, err := os.OpenFile(s.conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, config)
}

// ask posts, and returns status and body; 0 if no answer came.
func (r *running) ask(path, body, key string, headers ...string) (int, string) {
	req, err := http.NewRequest("POST", "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return 0, ""
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// must posts what has to be taken.
func (r *running) must(path, body, key string, headers ...string) string {
	r.t.Helper()
	code, b := r.ask(path, body, key, headers...)
	if code != 200 && code != 201 {
		r.t.Fatalf("%s: %d %s\n%s", path, code, b, r.log)
	}
	return b
}

var basketID = regexp.MustCompile(`"basket":"([^"]+)"`)

// basket opens one with an article in it, and returns its path.
func (r *running) basket(key string) string {
	r.t.Helper()
	at := "/v1/baskets/" + basketID.FindStringSubmatch(r.must("/v1/baskets", `{}`, key+"-open"))[1]
	r.must(at+"/lines", `{"description":"x","tax":"A","price":100}`, key+"-line")
	return at
}

// saleOf is the sale's own bytes within an answer.
func saleOf(t *testing.T, answer string) string {
	t.Helper()
	var a struct{ Sale json.RawMessage }
	if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Sale == nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return string(a.Sale)
}

// A browser writes what it was told to keep some time later; a power cut in between
// takes the sale with it. Here an answered sale is there after each cut.
func TestOdoo125037SaleGoneAfterPowerLoss(t *testing.T) {
	cuts := func(bug string, n int) (lost int) {
		s := newSite(t)
		sold := map[string]string{}
		for i := range n {
			r := s.powered(bug)
			for key, was := range sold {
				if code, b := r.ask("/v1/checkout", sale, key); code != 200 || b != was {
					lost++
				}
			}
			if lost > 0 {
				r.stop(syscall.SIGKILL)
				break
			}
			key := fmt.Sprint("k", i)
			sold[key] = r.must("/v1/checkout", sale, key)
			r.stop(syscall.SIGKILL)
		}
		return lost
	}
	if lost := cuts("", 12); lost > 0 {
		t.Errorf("%d sales are gone", lost)
	}
	if cuts("early-ack", 40) == 0 {
		t.Error("sales that are answered before they are on the disk were not missed")
	}
}

// An order that was paid and not yet complete was in memory only. Here the payment is on
// the disk before it is answered, and the basket with it.
func TestOdoo267799PaidOrderOnlyInMemory(t *testing.T) {
	lives := func(bug string, n int) (lost int) {
		s := newSite(t)
		for i := range n {
			r := s.powered(bug)
			at := r.basket(fmt.Sprint(i))
			r.must(at+"/tenders", `{"kind":"card","amount":100,"reference":"slip 1"}`, fmt.Sprint(i, "-pay"))
			r.stop(syscall.SIGKILL)
			r = s.powered(bug)
			if code, b := r.ask(at+"/complete", `{}`, fmt.Sprint(i, "-done")); code != 201 || !strings.Contains(b, `"slip 1"`) {
				lost++
			}
			r.stop(syscall.SIGKILL)
		}
		return lost
	}
	if lost := lives("", 5); lost > 0 {
		t.Errorf("%d paid orders are gone", lost)
	}
	if lives("tender-soon", 3) == 0 {
		t.Error("payments that are not durable were not missed")
	}
}

// Orders that had not been sent were dropped without a word when room ran out. Here
// nothing that head office lacks is dropped: new sales are refused, by name.
func TestOdoo284790UnsyncedOrdersEvicted(t *testing.T) {
	s := newSite(t)
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	small := strings.Replace(string(text), `segment = "1MiB"`, "segment = \"64KiB\"\nmax_bytes = \"256KiB\"\nretention = \"1h\"", 1)
	if err := os.WriteFile(s.conf, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.start()
	acked, refused := 0, ""
	for i := 0; i < 5000 && refused == ""; i++ {
		code, b := r.ask("/v1/checkout", sale, fmt.Sprint("k", i))
		switch code {
		case 201:
			acked++
		case 503:
			refused = b
		default:
			t.Fatalf("%d %s", code, b)
		}
	}
	if !strings.Contains(refused, "no-space") || acked < 20 {
		t.Errorf("after %d sales: %q", acked, refused)
	}
	for range 2 {
		if code := r.stop(syscall.SIGTERM); code != exitOK {
			t.Fatalf("exit %d", code)
		}
		if keys := s.inJournal(); len(keys) != acked {
			t.Errorf("%d of %d sales are left", len(keys), acked)
		}
		r = s.start()
	}
}

// A draft that was paid came back open from a synchronisation. Here a basket ends once:
// in the event that makes it a sale.
func TestOdoo288974PaidDraftReopened(t *testing.T) {
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	r := s.powered("")
	at := r.basket("a")
	r.must(at+"/tenders", `{"kind":"cash","amount":100}`, "pay")
	done := r.must(at+"/complete", `{}`, "done")
	look := func(when string) {
		t.Helper()
		if _, list := r.get("/v1/baskets"); strings.TrimSpace(list) != `{"baskets":[]}` {
			t.Errorf("%s: %s", when, list)
		}
		if again := r.must("/v1/"+strings.TrimPrefix(at, "/v1/")+"/complete", `{}`, "done"); again != done {
			t.Errorf("%s: repeated: %s\nwas %s", when, again, done)
		}
		for _, step := range []string{"/complete", "/tenders", "/lines", "/recall", "/void"} {
			if code, b := r.ask(at+step, `{"operator":"8"}`, when+step); code != 404 && code != 422 {
				t.Errorf("%s: %s of a sale: %d %s", when, step, code, b)
			}
		}
	}
	look("at once")
	within(t, "head office has it", r.settled)
	o.stop()
	r.stop(syscall.SIGKILL)
	o.start()
	r = s.powered("")
	look("after a cut")
	within(t, "head office has all", r.settled)
	look("in sync again")
	if n := strings.Count(o.events(), `"type":"sale.completed"`); n != 1 {
		t.Errorf("head office has %d sales", n)
	}
}

// A second outage while the first one's orders were being sent forgot some of them. Here
// what is acknowledged by nobody's ledger is sent again, and takes effect once.
func TestOdoo261096SecondOutageInMidSync(t *testing.T) {
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	r := s.start()
	r.mustSell("first")
	within(t, "the first sale is there", r.settled)
	o.stop()
	n := 1
	for outage := range 4 {
		for range 150 {
			r.mustSell(fmt.Sprint("k", n))
			n++
		}
		o.start()
		for end := time.Now().Add(time.Duration(30*outage) * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
			r.mustSell(fmt.Sprint("k", n))
			n++
		}
		o.cmd.Process.Signal(syscall.SIGKILL) // in the middle, or nearly
		o.cmd.Wait()
		if outage%2 == 1 {
			r.stop(syscall.SIGKILL)
			r = s.start()
		}
	}
	o.start()
	within(t, "all is settled", r.settled)
	all := o.events()
	if got := strings.Count(all, `"type":"sale.completed"`); got != n {
		t.Errorf("head office has %d of %d sales", got, n)
	}
	for i := 1; i < n; i++ {
		if c := strings.Count(all, fmt.Sprintf(`"key":"k%d"`, i)); c != 1 {
			t.Errorf("sale %d is there %d times", i, c)
		}
	}
}

// A front end that gave up waiting sent its order again, and it was there twice. Here the
// key says that it is the same call.
func TestOdoo40567RetryAfterClientTimeout(t *testing.T) {
	s := newSite(t)
	r := s.start()
	for range 20 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nIdempotency-Key: impatient\r\nContent-Length: %d\r\n\r\n%s", token, len(sale), sale)
		c.Close() // nobody waits for the answer
	}
	first := r.must("/v1/checkout", sale, "impatient")
	r.stop(syscall.SIGKILL)
	r = s.start()
	if again := r.must("/v1/checkout", sale, "impatient"); again != first {
		t.Errorf("%s\nwas %s", again, first)
	}
	r.stop(syscall.SIGTERM)
	if keys := s.inJournal(); keys["impatient"] != 1 {
		t.Errorf("%v", keys)
	}
}

// Two tabs of one browser sent the same orders. Here one of two calls makes the sale,
// whether they have one key or look at one basket.
func TestOdoo152259TwoTabsSyncTwice(t *testing.T) {
	s := newSite(t)
	r := s.start()
	both := func(path string, body string, keys [2]string) (codes [2]int) {
		var wg sync.WaitGroup
		for tab := range 2 {
			wg.Go(func() { codes[tab], _ = r.ask(path, body, keys[tab]) })
		}
		wg.Wait()
		return codes
	}
	const rounds = 10
	for i := range rounds {
		key := fmt.Sprint("same-", i)
		if c := both("/v1/checkout", sale, [2]string{key, key}); c[0]+c[1] != 401 { // 200 and 201
			t.Errorf("one order from two tabs: %v", c)
		}
		at := r.basket(fmt.Sprint("b", i))
		r.must(at+"/tenders", `{"kind":"cash","amount":100}`, fmt.Sprint("pay", i))
		if c := both(at+"/complete", `{}`, [2]string{fmt.Sprint("left-", i), fmt.Sprint("right-", i)}); c[0]+c[1] != 605 { // 201 and 404
			t.Errorf("one basket in two tabs: %v", c)
		}
	}
	r.stop(syscall.SIGTERM)
	if keys := s.inJournal(); len(keys) != 2*rounds {
		t.Errorf("%d sales of %d: %v", len(keys), 2*rounds, keys)
	}
}

var receiptNumber = regexp.MustCompile(`"receipt":"([^"]+)"`)

// Two tills gave the same number to two orders. Here a number has the till's name and
// the journal's branch in it: neither another till nor a copied disk can give it again.
func TestOdoo16781TwoTillsOneNumber(t *testing.T) {
	given := map[string]string{}
	sell := func(who string, r *running) {
		t.Helper()
		for i := range 5 {
			number := receiptNumber.FindStringSubmatch(r.must("/v1/checkout", sale, fmt.Sprint(who, i)))[1]
			if was, twice := given[number]; twice {
				t.Errorf("%s was given by %s and by %s", number, was, who)
			}
			given[number] = who
		}
	}
	one, other := newSite(t), newSite(t)
	if err := os.RemoveAll(filepath.Join(other.dir, "journal")); err != nil {
		t.Fatal(err)
	}
	other.configure("127.0.0.1:0", "T2")
	if out, err := exec.Command(program(t, "posctl"), "init", "-config", other.conf).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := one.start()
	sell("T1", r)
	r.stop(syscall.SIGTERM)
	copied := &site{t: t, dir: filepath.Join(t.TempDir(), "copy")}
	if err := os.CopyFS(copied.dir, os.DirFS(one.dir)); err != nil {
		t.Fatal(err)
	}
	copied.configure("127.0.0.1:0", "T1")
	moveToAnotherBoard(copied) // as if that were the board that it comes from
	sell("T1 again", one.start())
	sell("T2", other.start())
	sell("the copy of T1", copied.start())
	if len(given) != 20 {
		t.Errorf("%v", given)
	}
}

// Numbers were missing where a session was closed. Here a number is given in the record
// that makes the sale, and a Z report's in the one that ends the shift.
func TestOdoo205138GapsAtSessionClose(t *testing.T) {
	s := newSite(t)
	receipts, reports := 0, 0
	for life := range 6 {
		r := s.powered("")
		if life%2 == 0 {
			r.must("/v1/shift/open", `{"operator":"7","float":0}`, fmt.Sprint("open", life))
		}
		for i := range 3 {
			key := fmt.Sprint("s", life, "-", i)
			receipts++
			if b := r.must("/v1/checkout", sale, key); !strings.Contains(b, fmt.Sprintf(`"receipt":"T1-1-%d"`, receipts)) {
				t.Fatalf("number %d: %s", receipts, b)
			}
			if code, _ := r.ask("/v1/checkout", strings.Replace(sale, `"amount":100`, `"amount":99`, 1), key+"-bad"); code != 422 {
				t.Errorf("underpaid: %d", code)
			}
		}
		reports++
		path, key := "/v1/shift/close", fmt.Sprint("close", life)
		if life%3 == 2 { // nobody hears the answer
			go r.ask(path, `{"operator":"7"}`, key)
			time.Sleep(time.Millisecond)
			r.stop(syscall.SIGKILL)
			r = s.powered("")
		}
		if b := r.must(path, `{"operator":"7"}`, key); !strings.Contains(b, fmt.Sprintf(`"z":%d,`, reports)) {
			t.Fatalf("report %d: %s", reports, b)
		}
		r.stop(syscall.SIGKILL)
	}
	r := s.start()
	for z := 1; z <= reports; z++ {
		if code, b := r.get(fmt.Sprint("/v1/reports/", z)); code != 200 || !strings.Contains(b, `"sales":3`) {
			t.Errorf("report %d: %d %s", z, code, b)
		}
	}
}

// The front end rounded otherwise than the back end. Here everybody is told the bytes
// that were journaled: the front end, who looks the sale up, and head office.
func TestOdoo33511DifferentRounding(t *testing.T) {
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.conf, []byte(strings.Replace(string(text), "[tax]", "rounding = \"line\"\ncash_rounding = 5\n[tax]\nB = \"7.7\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.start()
	var said []string
	for i, prices := range []string{"inclusive", "exclusive"} {
		body := fmt.Sprintf(`{"prices":%q,"lines":[{"description":"x","tax":"A","price":333,"quantity":"0.335"},{"description":"y","tax":"B","price":129,"quantity":"1.5"},
			{"description":"z","tax":"B","price":5,"discounts":[{"percent":"33.3333"}]}],"discounts":[{"percent":"12.5"}],"tenders":[{"kind":"cash","amount":1000}]}`, prices)
		said = append(said, saleOf(t, r.must("/v1/checkout", body, fmt.Sprint("k", i))))
	}
	within(t, "head office has them", r.settled)
	all := o.events()
	for i, want := range said {
		if !strings.Contains(all, want) {
			t.Errorf("head office has not what was answered: %s", want)
		}
		if _, b := r.get(fmt.Sprint("/v1/sales?receipt=T1-1-", i+1)); saleOf(t, b) != want {
			t.Errorf("looked up: %s\nwas %s", b, want)
		}
	}
}

// After five failed tries an order went where nobody looks. Here it is tried for ever.
func TestPOSAwesomeDeadLetterAfterFiveRetries(t *testing.T) {
	if testing.Short() {
		t.Skip("eight tries take half a minute")
	}
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	r := s.start()
	r.mustSell("first")
	within(t, "the first sale is there", r.settled)
	o.stop()
	var tries atomic.Int64
	ln, err := net.Listen("tcp", o.nats)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			tries.Add(1)
			c.Close()
		}
	}()
	for i := range 10 {
		r.mustSell(fmt.Sprint("k", i))
	}
	for end := time.Now().Add(5 * time.Minute); tries.Load() < 8 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	if n := tries.Load(); n < 8 {
		t.Errorf("it was tried %d times", n)
	}
	ln.Close()
	o.start()
	for end := time.Now().Add(5 * time.Minute); !r.settled(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never arrived: %+v", r.uplink())
		}
	}
	if n := strings.Count(o.events(), `"type":"sale.completed"`); n != 11 {
		t.Errorf("head office has %d of 11 sales", n)
	}
}

// Receipts were printed of orders that were never stored. Here the printer is given a
// receipt when the sale is on the disk: whatever the paper shows is in the journal.
func TestOdoo60939ERPNext11745PrintedWithoutRecord(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var mu sync.Mutex
	var paper bytes.Buffer
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					mu.Lock()
					paper.Write(b[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	printed := func() map[string]bool {
		mu.Lock()
		defer mu.Unlock()
		set := map[string]bool{}
		for _, number := range regexp.MustCompile(`T1-1-\d+`).FindAllString(paper.String(), -1) {
			set[number] = true
		}
		return set
	}
	s := newSite(t)
	s.append(fmt.Sprintf("[receipt]\nprint = \"sales\"\n[printer]\naddress = %q\nstatus = false\n", ln.Addr()))
	r := s.powered("sync-fails") // some syncs, then none
	acked := 0
	for i := range 200 {
		if code, _ := r.ask("/v1/checkout", sale, fmt.Sprint("k", i)); code != 201 {
			break
		}
		acked++
	}
	<-r.read // it ends by itself
	before := printed()
	if acked == 0 || acked == 200 {
		t.Fatalf("%d sales", acked)
	}
	recorded := map[string]bool{}
	again := s.start()
	for n := 1; n <= acked+5; n++ {
		if code, _ := again.get(fmt.Sprint("/v1/sales?receipt=T1-1-", n)); code == 200 {
			recorded[fmt.Sprint("T1-1-", n)] = true
		}
	}
	for number := range before {
		if !recorded[number] {
			t.Errorf("receipt %s was printed, nothing is recorded", number)
		}
	}
	again.mustSell("after")
	within(t, "the next receipt is printed", func() bool { return printed()[fmt.Sprint("T1-1-", len(recorded)+1)] })
	t.Logf("%d sales acknowledged, %d recorded, %d receipts printed meanwhile", acked, len(recorded), len(before))
}

// Signing out threw receipts away that had not been sent. Here an operator's session is
// no owner of anything: sales are the journal's.
func TestLoyverseSigningOutLosesReceipts(t *testing.T) {
	o := openOffice(t).start()
	s := newSite(t)
	s.enrolls(o.url(), o.token("S1", "T1"))
	s.start().stop(syscall.SIGTERM)
	for _, who := range []string{"anna supervisor", "carla manager"} {
		c := exec.Command(program(t, "posctl"), append([]string{"operator", "add"}, append(strings.Fields(who), "-config", s.conf)...)...)
		c.Stdin = strings.NewReader("4711\n")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r := s.start()
	within(t, "head office is there", func() bool { return r.uplink().Connected })
	o.stop()
	n := 0
	for round, who := range []string{"anna", "carla", "anna"} {
		var in struct{ Session string }
		b := r.must("/v1/operators/sign-in", fmt.Sprintf(`{"operator":%q,"pin":"4711"}`, who), "")
		if err := json.Unmarshal([]byte(b), &in); err != nil || in.Session == "" {
			t.Fatalf("%v: %s", err, b)
		}
		for range 5 {
			r.must("/v1/checkout", sale, fmt.Sprint("k", n), "Posd-Session", in.Session)
			n++
		}
		r.must("/v1/operators/sign-out", `{}`, "", "Posd-Session", in.Session)
		if code, b := r.ask("/v1/checkout", sale, "nobody", "Posd-Session", in.Session); code < 400 {
			t.Errorf("signed out, and sold: %d %s", code, b)
		}
		if round == 1 {
			r.stop(syscall.SIGKILL) // which signs everybody out
			r = s.start()
		}
	}
	o.start()
	within(t, "all is settled", r.settled)
	if got := strings.Count(o.events(), `"type":"sale.completed"`); got != n {
		t.Errorf("head office has %d of %d sales", got, n)
	}
}
