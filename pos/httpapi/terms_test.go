package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
)

// soldAs is "rate price" of each line of a sale, and its business date.
func soldAs(t *testing.T, data []byte) (lines []string, date string) {
	t.Helper()
	var s struct {
		Date  string `json:"business_date"`
		Lines []struct {
			Rate  string
			Price int64
		}
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	for _, l := range s.Lines {
		lines = append(lines, fmt.Sprint(l.Rate, " ", l.Price))
	}
	return lines, s.Date
}

// A rate and a price that change on a day: of what is scanned from that business date
// on, whatever the calendar says; what lies in a basket stays as it was scanned, and a
// shift that somebody has opened has one date until it is closed.
func TestRateAndPriceOfTheBusinessDate(t *testing.T) {
	g := newRig(t)
	var now atomic.Int64
	clock := func(text string) {
		at, err := time.Parse(time.DateTime, text)
		if err != nil {
			t.Fatal(err)
		}
		now.Store(at.Unix())
	}
	clock("2030-06-30 23:00:00")
	g.now = func() time.Time { return time.Unix(now.Load(), 0) }
	g.importItems("code,description,department,unit,price,tax,next_price,next_from\n1,Pen,,pc,1.00,A,1.10,2030-07-01\n")
	g.start()
	if err := g.r.Note(context.Background(), &event.ConfigApplied{Serial: 1}, &register.Settings{DayStart: 4 * time.Hour,
		Taxes: []pos.Tax{{Code: "A", Rate: 190000, Later: []pos.LaterRate{{From: "2030-07-01", Rate: 160000}, {From: "2031-01-01", Rate: 200000}}}}}); err != nil {
		t.Fatal(err)
	}
	sells := func(want, date string) {
		t.Helper()
		a := g.do("POST", "/v1/checkout", `{"lines":[{"item":"1"}],"tenders":[{"kind":"cash","amount":1000}]}`)
		lines, day := soldAs(t, saleData(t, a.body))
		if len(lines) != 1 || lines[0] != want || day != date {
			t.Errorf("at %s: %s on %s, want %s on %s", g.now().UTC(), lines, day, want, date)
		}
	}
	sells("19 100", "2030-06-30")
	b := g.step("/v1/baskets", `{}`)
	at := "/v1/baskets/" + b.Data.Basket
	g.step(at+"/lines", `{"item":"1"}`)
	clock("2030-07-01 03:59:00") // the calendar's day has changed, the business date has not
	sells("19 100", "2030-06-30")
	clock("2030-07-01 04:01:00")
	sells("16 110", "2030-07-01")
	g.step(at+"/lines", `{"item":"1"}`)
	g.step(at+"/tenders", `{"kind":"cash","amount":1000}`)
	done := g.do("POST", at+"/complete", ``)
	if lines, day := soldAs(t, saleData(t, done.body)); len(lines) != 2 || lines[0] != "19 100" || lines[1] != "16 110" || day != "2030-07-01" {
		t.Errorf("a basket over the night: %s on %s", lines, day)
	}
	clock("2030-12-31 20:00:00")
	g.step("/v1/shift/close", `{"operator":"7"}`)
	g.step("/v1/shift/open", `{"operator":"7","float":0}`)
	clock("2031-01-01 09:00:00")
	sells("16 110", "2030-12-31")
	g.step("/v1/shift/close", `{"operator":"7"}`)
	sells("20 110", "2031-01-01")
}

// A scanner that sends a code twice adds one line, and whoever asks again hears the same,
// also after a restart. What is different, was meant, or comes behind something else counts.
func TestScannerRepeats(t *testing.T) {
	g := newRig(t)
	g.start()
	long := func() {
		t.Helper()
		if err := g.r.Note(context.Background(), &event.ConfigApplied{Serial: 1}, &register.Settings{Repeat: time.Hour,
			Taxes: []pos.Tax{{Code: "A", Rate: 190000}, {Code: "B", Rate: 70000}}}); err != nil {
			t.Fatal(err)
		}
	}
	at := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	lines := func(want int, what, body string, change ...func(*http.Request)) answer {
		t.Helper()
		a := g.do("POST", at+"/lines", body, change...)
		var s struct {
			Event struct{ Type string }
			Data  struct{ Lines int }
		}
		if err := json.Unmarshal(a.body, &s); err != nil || s.Data.Lines != want || s.Event.Type != what {
			t.Errorf("%s: %s, want %s and %d lines", body, a.body, what, want)
		}
		return a
	}
	const milk, banana = `{"item":"100"}`, `{"item":"4011"}`
	lines(1, "line.added", milk)
	lines(2, "line.added", milk) // nobody asked for it
	long()
	lines(3, "line.added", banana)
	lines(3, "line.repeated", banana)
	lines(3, "line.repeated", banana)
	lines(4, "line.added", `{"item":"4011","again":true}`)
	lines(4, "line.repeated", banana)
	lines(5, "line.added", `{"item":"4011","quantity":"1"}`) // somebody keyed that
	lines(6, "line.added", banana)                           // and this is behind it
	lines(7, "line.added", milk)
	lines(8, "line.added", banana)
	g.step(at+"/lines/8", `{"note":"soft"}`)
	lines(9, "line.added", banana)
	g.step(at+"/lines/9/void", `{"reason":"too many"}`)
	lines(9, "line.added", banana)
	at2 := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
	if a := g.step(at2+"/lines", banana); a.Data.Lines != 1 {
		t.Errorf("in another basket: %+v", a)
	}
	lines(9, "line.repeated", banana) // the other basket is another window's
	one := lines(9, "line.repeated", banana, key("twice"))
	g.stop()
	g.start()
	if again := g.do("POST", at+"/lines", banana, key("twice")); again.StatusCode != 200 || !bytes.Equal(again.body, one.body) {
		t.Errorf("%d %s\nfirst %s", again.StatusCode, again.body, one.body)
	}
}
