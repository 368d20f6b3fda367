package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/tradeday"
)

// till answers checkouts like posd, and misbehaves as a test plants it. It is in
// the place of posd only where posd cannot be made to fail on demand.
type till struct {
	mu    sync.Mutex
	sales map[string][]byte // answers by key
	tries map[string]int
	fault func(try int, w http.ResponseWriter, commit func()) bool // true: it has answered
	cents pos.Money                                                // added to each total
}

func (s *till) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	body, _ := io.ReadAll(r.Body)
	s.tries[key]++
	commit := func() {
		if s.sales[key] == nil {
			s.sales[key] = s.answer(uint64(len(s.sales)+1), body)
		}
	}
	if s.fault != nil && s.fault(s.tries[key], w, commit) {
		return
	}
	if s.sales[key] != nil {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	commit()
	w.Write(s.sales[key])
}

// answer sells what the request asks for, with pos.Compute.
func (s *till) answer(n uint64, body []byte) []byte {
	var req struct {
		Lines []struct {
			Amount pos.Money `json:"amount"`
		} `json:"lines"`
	}
	json.Unmarshal(body, &req)
	e := event.SaleCompleted{Sale: fmt.Sprint("s-", n), Receipt: fmt.Sprint("T1-1-", n), Number: n}
	for _, l := range req.Lines {
		e.Lines = append(e.Lines, pos.Line{Qty: 1000, Fixed: true, Price: l.Amount + s.cents, Amount: l.Amount + s.cents, Tax: "S", Rate: 190000})
	}
	totals, _ := pos.Compute(e.Lines, tradeday.Options)
	e.Taxes, e.Total = totals.Taxes, totals.Total
	return append(e.AppendData(fmt.Appendf(nil, `{"event":{"journal":"0011","seq":%d},"sale":`, n)), '}')
}

// sellAll plays n baskets of one line and returns the front end's file.
func sellAll(t *testing.T, s *till, n int) (*front, []sold, error) {
	s.sales, s.tries = map[string][]byte{}, map[string]int{}
	server := httptest.NewServer(s)
	defer server.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "front.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	f := &front{url: server.URL, client: server.Client(), patience: 300e6, out: out, progress: io.Discard}
	err = f.play(context.Background(), func(yield func(tradeday.Basket, error) bool) {
		for i := range n {
			lines := []pos.Line{{Qty: 1000, Fixed: true, Price: pos.Money(100 + i), Tax: "S", Rate: 190000}}
			totals, err := pos.Compute(lines, tradeday.Options)
			if !yield(tradeday.Basket{ID: fmt.Sprint(i), Operator: "1", Lines: lines, Totals: totals}, err) {
				return
			}
		}
	}, 4)
	file, openErr := os.Open(out.Name())
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer file.Close()
	sales, readErr := readFront(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return f, sales, err
}

func TestFrontSellsEachOnce(t *testing.T) {
	for name, fault := range map[string]func(int, http.ResponseWriter, func()) bool{
		"no fault": nil,
		"busy": func(try int, w http.ResponseWriter, _ func()) bool {
			if try < 3 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return try < 3
		},
		"sold, then an error": func(try int, w http.ResponseWriter, commit func()) bool {
			commit()
			if try == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return try == 1
		},
		"sold, then the connection breaks": func(try int, _ http.ResponseWriter, commit func()) bool {
			commit()
			if try == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &till{fault: fault}
			f, sales, err := sellAll(t, s, 50)
			if err != nil {
				t.Fatal(err)
			}
			if v := compare(50, []source{{"front end", sales}}); !v.agrees() {
				t.Error(v.problems)
			}
			if strings.HasPrefix(name, "sold") && (f.replayed != 50 || f.retried < 50) {
				t.Errorf("%d sent again, %d sold before", f.retried, f.replayed)
			}
			if len(s.sales) != 50 {
				t.Errorf("%d sales were made", len(s.sales))
			}
		})
	}
}

func TestFrontEndsTheDay(t *testing.T) {
	for want, s := range map[string]*till{
		"given up": {fault: func(_ int, w http.ResponseWriter, _ func()) bool { w.WriteHeader(503); return true }},
		"refused it": {fault: func(_ int, w http.ResponseWriter, _ func()) bool {
			w.WriteHeader(422)
			return true
		}},
		"posd says total": {cents: 1},
		"answer":          {fault: func(_ int, w http.ResponseWriter, _ func()) bool { io.WriteString(w, "{}"); return true }},
	} {
		if _, sales, err := sellAll(t, s, 10); err == nil || !strings.Contains(err.Error(), want) || len(sales) > 0 {
			t.Errorf("%s: %d sold, %v", want, len(sales), err)
		}
	}
}

func TestCheckoutRequest(t *testing.T) {
	n := 0
	for b, err := range tradeday.Synthetic(3, 200) {
		if err != nil {
			t.Fatal(err)
		}
		var req struct {
			Operator string
			Lines    []struct {
				Item, Quantity, Description, Tax string
				Amount                           *pos.Money
			}
			Tenders []struct {
				Kind, Reference string
				Amount          pos.Money
			}
		}
		body := appendCheckout(nil, &b)
		if err := json.Unmarshal(body, &req); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for i, l := range b.Lines {
			got := req.Lines[i]
			if got.Item != l.Item || got.Quantity != l.Qty.String() || (got.Amount != nil) != l.Fixed || l.Fixed && *got.Amount != l.Amount ||
				(l.Item == "") != (got.Description != "") || (l.Item == "") != (got.Tax != "") {
				t.Fatalf("%s\n%+v", body, l)
			}
			n++
		}
		if len(req.Lines) != len(b.Lines) || len(req.Tenders) != len(b.Tenders) || req.Operator != b.Operator {
			t.Fatalf("%s", body)
		}
	}
	if n < 200 {
		t.Error(n)
	}
}

func TestReadRecords(t *testing.T) {
	sale := event.SaleCompleted{Sale: "s-1", Receipt: "T1-1-1", Number: 1, Total: 119, Taxes: []pos.TaxTotal{{Code: "S", Rate: 190000, Net: 100, Tax: 19, Gross: 119}}}
	b, err := sale.AppendEvent(nil, event.Header{Key: "basket-1"})
	if err != nil {
		t.Fatal(err)
	}
	started, err := (&event.TerminalStarted{}).AppendEvent(nil, event.Header{})
	if err != nil {
		t.Fatal(err)
	}
	text := `{"journal":"0011","seq":1,"head":"aa","type":"birth"}` + "\n" +
		`{"journal":"0011","seq":2,"head":"bb","type":"event","event":` + string(started) + "}\n" +
		`{"store":"S1","journal":"0011","seq":3,"head":"cc","event":` + string(b) + "}\n"
	sales, heads, err := readRecords(strings.NewReader(text))
	want := soldOf("basket-1", "0011", 3, &sale)
	if err != nil || len(sales) != 1 || !sales[0].same(&want) || fmt.Sprint(heads) != "map[0011/2:bb 0011/3:cc]" {
		t.Errorf("%+v, %v, %v", sales, heads, err)
	}
	for name, bad := range map[string]string{
		"cut":       text[:len(text)-20],
		"two heads": text + strings.Replace(text, `"cc"`, `"dd"`, 1),
		"no event":  `{"journal":"0011","seq":1,"head":"aa","event":{"v":1}}`,
		"bad sale":  strings.Replace(text, `"total":119`, `"total":1.5`, 1),
	} {
		if _, _, err := readRecords(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestBaskets(t *testing.T) {
	dir := os.Getenv("POSD_DATA")
	if dir == "" {
		dir = "../../../shared/data/groceries"
	}
	if _, err := os.Stat(filepath.Join(dir, "transactions.csv.gz")); err != nil {
		t.Skipf("the real data is not here (set POSD_DATA to its folder): %v", err)
	}
	for day, want := range map[string]int{"": 0, "2017-12-23": 0, "all": 47243} {
		tr := trade{data: dir, day: day}
		n, baskets, err := tr.baskets()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for b, err := range baskets {
			if err != nil {
				t.Fatal(err)
			}
			if got++; day == "2017-12-23" && b.Time.Format("2006-01-02") != day {
				t.Fatalf("basket of %v", b.Time)
			}
		}
		if got != n || n == 0 || want > 0 && n != want {
			t.Errorf("day %q: %d counted, %d played", day, n, got)
		}
	}
	if _, _, err := (&trade{data: dir, day: "1999-01-01"}).baskets(); err == nil {
		t.Error("a day without baskets was accepted")
	}
}
