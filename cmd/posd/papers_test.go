package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posd/journal"
	"posd/pos/printer/sim"
)

// TestPapersUnderKills kills posd while it sells, prints and copies, and then holds what
// lies on the printer against the journal: no paper without its record, no receipt twice
// without being a copy, no copy's number twice or unrecorded, no repeated call printed
// again. posd is the one of TestKill, which loses what was not synced.
func TestPapersUnderKills(t *testing.T) {
	for _, bug := range []string{"", "second-receipt", "copies-forgotten", "printed-again"} {
		t.Run("planted "+bug, func(t *testing.T) {
			p := newPaperRun(t, bug)
			hunt(t, bug, 24, p.life, p.compare)
			t.Logf("%d sales, %d papers, %d of them copies", p.sales, p.papers, p.copies)
			if bug == "" && (p.papers < 40 || p.copies < 10) {
				t.Fatal("too little happened to prove anything")
			}
		})
	}
}

type paperRun struct {
	*killRun
	printer *sim.Printer

	mu     sync.Mutex
	known  []string          // sales
	asked  map[string]string // key of a call for a paper → its sale
	told   map[string]string // key → the copy that the answer told
	failed error

	sales, papers, copies int
}

func newPaperRun(t *testing.T, bug string) *paperRun {
	p := &paperRun{killRun: newKillRun(t, bug), printer: sim.New(), asked: map[string]string{}, told: map[string]string{}}
	p.printer.Listen(t, "127.0.0.1:0")
	f, err := os.OpenFile(p.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "[printer]\naddress = %q\n[receipt]\nprint = \"sales\"\n", p.printer.Address)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return p
}

// life works and is killed.
func (p *paperRun) life() error {
	ctx, cancel := context.WithCancel(p.t.Context())
	var all sync.WaitGroup
	err := p.live(func() {
		for w := range 2 {
			all.Go(func() { p.work(ctx, w) })
		}
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
	})
	cancel()
	all.Wait()
	return errors.Join(err, p.failed)
}

// work sells, and asks for papers, new ones and those that were not answered.
func (p *paperRun) work(ctx context.Context, worker int) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		var a struct {
			Sale struct{ Sale string }
			Data struct{ Copy int }
		}
		if n%3 == 0 {
			key := fmt.Sprint("sale ", worker, " ", rand.Uint64())
			if p.ask(ctx, client, "/v1/checkout", key, `{"lines":[{"description":"bread","tax":"A","price":100}],"tenders":[{"kind":"cash","amount":100}]}`, &a) {
				p.mu.Lock()
				p.known = append(p.known, a.Sale.Sale)
				p.mu.Unlock()
			}
			continue
		}
		key, sale := p.pickPaper()
		if sale == "" || !p.ask(ctx, client, "/v1/sales/"+sale+"/paper", key, `{}`, &a) {
			continue
		}
		p.mu.Lock()
		copied := strconv.Itoa(a.Data.Copy)
		if was, known := p.told[key]; known && was != copied && p.failed == nil {
			p.failed = fmt.Errorf("key %s: copy %s, then %s", key, was, copied)
		}
		p.told[key] = copied
		p.mu.Unlock()
	}
}

// pickPaper repeats an earlier call half of the time.
func (p *paperRun) pickPaper() (key, sale string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rand.IntN(2) == 0 {
		for key, sale := range p.asked {
			return key, sale
		}
	}
	if len(p.known) == 0 {
		return "", ""
	}
	sale = p.known[max(0, len(p.known)-1-rand.IntN(10))%len(p.known)]
	key = fmt.Sprint("paper ", rand.Uint64())
	p.asked[key] = sale
	return key, sale
}

// ask posts, and returns true if the answer says that it was done.
func (p *paperRun) ask(ctx context.Context, c *http.Client, path, key, body string, to any) bool {
	r, err := http.NewRequestWithContext(ctx, "POST", p.url+path, strings.NewReader(body))
	if err != nil {
		return false
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	res, err := c.Do(r)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	if err = json.Unmarshal(b, to); err != nil || res.StatusCode > 201 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failed = fmt.Errorf("%s: %d %s", path, res.StatusCode, b)
		return false
	}
	return true
}

var (
	receiptOn = regexp.MustCompile(`Receipt (t1-1-\d+)`)
	copyOn    = regexp.MustCompile(`COPY (\d+)`)
	markOn    = regexp.MustCompile(`posd1:(t1-1-\d+):([0-9A-Fa-f]{8}-\d+):([0-9A-F]{64})`)
)

// compare holds the papers against the journal.
func (p *paperRun) compare() error {
	heads, given, receipts, err := p.recorded()
	if err != nil {
		return err
	}
	p.sales, p.papers, p.copies = len(receipts), 0, 0
	seen := map[string]bool{}
	for _, paper := range strings.Split(string(p.printer.OnPaper()), "\x1b@") {
		on := receiptOn.FindStringSubmatch(paper)
		if on == nil { // a drawer alone, or a paper that was cut off before it said anything
			continue
		}
		p.papers++
		sale, ok := receipts[on[1]]
		if !ok {
			return fmt.Errorf("receipt %s is on paper and not in the journal", on[1])
		}
		number := ""
		if c := copyOn.FindStringSubmatch(paper[:strings.Index(paper, on[0])]); c != nil {
			p.copies++
			if number = c[1]; !given[sale+" "+number] {
				return fmt.Errorf("copy %s of %s is not in the journal", number, sale)
			}
		}
		if seen[sale+" "+number] {
			return fmt.Errorf("sale %s: paper %q came twice", sale, "copy "+number)
		}
		seen[sale+" "+number] = true
		if m := markOn.FindStringSubmatch(paper); m != nil && (m[2] != sale || !strings.EqualFold(m[3], heads[sale])) {
			return fmt.Errorf("sale %s has head %s, its paper says %s", sale, heads[sale], m[0])
		}
	}
	return nil
}

// recorded is what the journal says: heads of sales, copies given out, sales of receipts.
func (p *paperRun) recorded() (heads map[string]string, given map[string]bool, receipts map[string]string, err error) {
	heads, given, receipts = map[string]string{}, map[string]bool{}, map[string]string{}
	err = p.dumped(func(line []byte) error {
		var l struct {
			Head  string
			Event struct {
				Type string
				Data struct {
					Sale, Receipt string
					Copy          int
				}
			}
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		d := &l.Event.Data
		switch l.Event.Type {
		case "sale.completed":
			heads[d.Sale], receipts[d.Receipt] = l.Head, d.Sale
		case "receipt.copied":
			given[fmt.Sprint(d.Sale, " ", d.Copy)] = true
		}
		return nil
	})
	return heads, given, receipts, err
}

// TestReceiptsAfterASuccession: the journal that continues another knows what was given
// out, and gives a copy the code of the record that made the sale.
func TestReceiptsAfterASuccession(t *testing.T) {
	s := newSite(t)
	id, err := journal.Identify(filepath.Join(s.dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	r := s.start()
	var sold struct{ Sale struct{ Sale string } }
	if _, b := r.sell("k1"); json.Unmarshal(b, &sold) != nil || sold.Sale.Sale == "" {
		t.Fatalf("%s", b)
	}
	type answer struct {
		Data  struct{ Copy int }
		Paper struct{ Text string }
	}
	give := func(key string) (a answer) {
		t.Helper()
		req, err := http.NewRequest("POST", "http://"+r.addr+"/v1/sales/"+sold.Sale.Sale+"/paper", strings.NewReader(`{"as":"text","columns":48}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || json.Unmarshal(b, &a) != nil || res.StatusCode > 201 {
			t.Fatalf("%d %s, %v", res.StatusCode, b, err)
		}
		return a
	}
	first, second := give("p1"), give("p2")
	r.stop(syscall.SIGTERM)
	b, _ := json.Marshal(wanted{id.String(), "head of record 9 differs"})
	if err := os.WriteFile(filepath.Join(s.dir, wantedName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	r = s.start()
	defer r.stop(syscall.SIGTERM)
	third := give("p3")
	if first.Data.Copy != 0 || second.Data.Copy != 1 || third.Data.Copy != 2 {
		t.Errorf("copies %d, %d, %d", first.Data.Copy, second.Data.Copy, third.Data.Copy)
	}
	if again := give("p1"); again != first {
		t.Errorf("the first call again: %+v, was %+v", again, first)
	}
	if got := strings.ReplaceAll(third.Paper.Text, "COPY 2", "COPY 1"); got != second.Paper.Text {
		t.Errorf("another paper:\n%s\nwas\n%s", got, second.Paper.Text)
	}
}
