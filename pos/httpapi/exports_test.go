package httpapi

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/export"
)

type exportAnswer struct {
	Export, State, Why, Data string
	Until, Events, Written   uint64
	Bytes                    int64
	Truncated                bool
}

// exported asks for an export and waits for it.
func (g *rig) exported(body string, change ...func(*http.Request)) (e exportAnswer) {
	g.t.Helper()
	a := g.do("POST", "/v1/exports", body, change...)
	if a.StatusCode != http.StatusAccepted && a.StatusCode != http.StatusOK {
		g.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	at := a.Header.Get("Location")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err := json.Unmarshal(g.do("GET", at, "").body, &e); err != nil {
			g.t.Fatal(err)
		}
		if e.State == "done" || e.State == "failed" {
			return e
		}
	}
	g.t.Fatalf("it never ends: %+v", e)
	return e
}

func (g *rig) table(body string) [][]string {
	g.t.Helper()
	e := g.exported(body)
	a := g.do("GET", e.Data, "")
	if int64(len(a.body)) != e.Bytes || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/csv") {
		g.t.Errorf("%+v, %d bytes of %s", e, len(a.body), a.Header.Get("Content-Type"))
	}
	rows, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
	if err != nil || uint64(len(rows)) != e.Written+1 {
		g.t.Fatalf("%d rows, %+v, %v", len(rows), e, err)
	}
	return rows
}

// sum adds up a column.
func sum(t testing.TB, rows [][]string, column string) (m pos.Money) {
	t.Helper()
	for i, name := range rows[0] {
		if name != column {
			continue
		}
		for _, row := range rows[1:] {
			v, err := pos.ParseMoney(row[i], euro)
			if err != nil {
				t.Fatal(column, err)
			}
			m += v
		}
		return m
	}
	t.Fatal("no column ", column)
	return 0
}

// days makes three days, with a shift each; the second one is the interesting one.
func days(g *rig) (second string) {
	day := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	g.now = func() time.Time { return day }
	g.start()
	for i := range 3 {
		g.step("/v1/shift/open", `{"float":10000}`)
		g.sell(cashSale)
		if i == 1 {
			second = g.sell(`{"lines":[` + apple + `,{"description":"=1+1, \"quoted\"","tax":"B","amount":1000}],"discounts":[{"percent":"10","reason":"r"}],"note":"-x","tenders":[{"kind":"card","amount":500,"reference":"slip 9"},{"kind":"cash","amount":5000}]}`)
			b := "/v1/baskets/" + g.step("/v1/baskets", `{}`).Data.Basket
			g.step(b+"/lines", apple)
			g.step(b+"/void", ``)
			tr := "/v1/baskets/" + g.step("/v1/baskets", `{"training":true}`).Data.Basket
			g.step(tr+"/lines", apple)
			g.step(tr+"/tenders", `{"kind":"cash","amount":1000}`)
			g.step(tr+"/complete", ``)
		}
		g.step("/v1/shift/close", ``)
		g.stop() // the clock may go on only between
		day = day.Add(24 * time.Hour)
		g.start()
	}
	return second
}

// A day that had begun before the clock was wrong is exported with both its parts.
func TestExportAroundASetback(t *testing.T) {
	g := newRig(t)
	right := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	now, synced := right, true
	g.now, g.synced = func() time.Time { return now }, func() bool { return synced }
	for i := range 3 {
		g.start()
		g.sell(cashSale)
		g.step("/v1/shift/close", ``)
		g.stop() // the clock may go on only between
		if now, synced = right.Add(time.Hour), true; i == 0 {
			now, synced = right.AddDate(36, 0, 0), false // a clock that starts wrong
		}
	}
	g.start()
	for date, want := range map[string]int{"2026-11-20": 2, "2062-11-20": 1, "2026-11-21": 0} {
		if rows := g.table(`{"date":"` + date + `","format":"csv","rows":"sales"}`); len(rows)-1 != want {
			t.Errorf("%s: %d sales, want %d", date, len(rows)-1, want)
		}
	}
}

// The day that is not over yet has also what came behind its last sale: cash that moved,
// baskets that are open.
func TestExportOfAnOpenShift(t *testing.T) {
	g := newRig(t).start()
	types := func() (list string) {
		t.Helper()
		e := g.exported(`{"date":"` + g.r.Status().BusinessDate + `"}`)
		for line := range strings.Lines(string(g.do("GET", e.Data, "").body)) {
			var l struct{ Event struct{ Type string } }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			list += " " + l.Event.Type
		}
		return list
	}
	g.step("/v1/shift/open", `{"float":10000}`)
	g.step("/v1/cash/in", `{"amount":500}`)
	if got := types(); got != " terminal.started shift.opened cash.in" {
		t.Errorf("behind the opening:%s", got)
	}
	g.sell(good)
	g.step("/v1/cash/drop", `{"amount":700}`)
	g.step("/v1/baskets", `{}`)
	if got := types(); got != " terminal.started shift.opened cash.in sale.completed cash.dropped basket.opened" {
		t.Errorf("behind a sale:%s", got)
	}
	g.step("/v1/shift/close", ``)
	g.step("/v1/baskets", `{}`) // of the shift that comes
	if got := types(); !strings.HasSuffix(got, " basket.opened shift.closed") {
		t.Errorf("behind the end:%s", got)
	}
}

// A day as JSON lines is every event of it, byte for byte, and nothing of another day.
func TestExportOfADay(t *testing.T) {
	g := newRig(t)
	days(g)
	var want []string // what an independent look at the journal says
	floor, _ := g.j.Floor()
	date := ""
	var since []string // the last event that told a date
	for seq := g.j.Oldest(); seq <= floor; seq++ {
		err := g.j.Read(seq, func(rec chain.Record) error {
			if rec.Type != event.RecordType {
				return nil
			}
			since = append(since, string(rec.Payload))
			var e struct {
				Data struct {
					Date string `json:"business_date"`
				}
			}
			if err := json.Unmarshal(rec.Payload, &e); err != nil {
				return err
			}
			if e.Data.Date != "" {
				if date = e.Data.Date; date == "2026-11-21" {
					want = append(want, since...)
				}
				since = nil
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	e := g.exported(`{"date":"2026-11-21"}`)
	a := g.do("GET", e.Data, "")
	lines := strings.Split(strings.TrimSuffix(string(a.body), "\n"), "\n")
	if len(lines) != len(want) || len(want) < 12 || e.Written != uint64(len(want)) || e.Truncated {
		t.Fatalf("%d lines, want %d: %+v", len(lines), len(want), e)
	}
	for i, l := range lines {
		var x struct {
			Journal string
			Seq     uint64
			Event   json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &x); err != nil || string(x.Event) != want[i] || x.Journal != g.j.ID().String() || x.Seq == 0 {
			t.Fatalf("line %d: %s\nwant %s, %v", i+1, l, want[i], err)
		}
	}
	z := g.exported(`{"z":2,"format":"jsonl"}`)
	if b := g.do("GET", z.Data, ""); !bytes.Equal(a.body, b.body) {
		t.Errorf("the shift of that day differs:\n%s", b.body)
	}
	for _, day := range []string{"2026-11-19", "2026-11-27"} {
		if e := g.exported(`{"date":"` + day + `"}`); e.Written != 0 {
			t.Errorf("%s: %+v", day, e)
		}
	}
}

// The tables add up to the Z report, and give back what somebody has written.
func TestExportTables(t *testing.T) {
	g := newRig(t)
	second := days(g)
	var z struct {
		Data struct {
			Totals struct{ Gross, Cash, Card, Discounts pos.Money }
		}
	}
	if err := json.Unmarshal(g.do("GET", "/v1/reports/2", "").body, &z); err != nil {
		t.Fatal(err)
	}
	want := z.Data.Totals
	sales := g.table(`{"date":"2026-11-21","format":"csv"}`)
	for column, m := range map[string]pos.Money{"total": want.Gross, "cash": want.Cash, "card": want.Card, "discounts": want.Discounts} {
		if got := sum(t, sales, column); got != m {
			t.Errorf("%s: %d, the Z report says %d", column, got, m)
		}
	}
	if len(sales) != 3 || sales[2][0] != second {
		t.Errorf("%v", sales)
	}
	lines, taxes, tenders := g.table(`{"z":2,"format":"csv","rows":"lines"}`), g.table(`{"z":2,"format":"csv","rows":"taxes"}`), g.table(`{"z":2,"format":"csv","rows":"tenders"}`)
	if a, b, c := sum(t, lines, "amount"), sum(t, taxes, "gross"), sum(t, tenders, "amount"); a != want.Gross || b != want.Gross || c != want.Gross {
		t.Errorf("lines %d, taxes %d, tenders %d, the Z report says %d", a, b, c, want.Gross)
	}
	if got := lines[3][9]; got != `'=1+1, "quoted"` {
		t.Errorf("a text that a spreadsheet would take for a formula: %s", got)
	}
	for _, row := range append(lines, sales...) {
		for _, cell := range row {
			if strings.HasPrefix(cell, "=") || strings.HasPrefix(cell, "-x") {
				t.Errorf("a formula: %s", cell)
			}
		}
	}
}

func TestExportRefusals(t *testing.T) {
	g := newRig(t).start()
	g.sell(cashSale)
	for body, slug := range map[string]string{
		`{}`: "value-invalid", `{"date":"2026-11-21","z":1}`: "value-invalid", `{"date":"21.11.2026"}`: "value-invalid", `{"date":"2026-11-21","format":"xls"}`: "value-invalid",
		`{"date":"2026-11-21","rows":"lines"}`: "value-invalid", `{"date":"2026-11-21","format":"csv","rows":"x"}`: "value-invalid", `{"day":1}`: "unknown-member", `{"z":9}`: "report-not-found",
	} {
		if a := g.do("POST", "/v1/exports", body); a.slug() != slug {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	e := g.exported(`{"date":"2026-11-21"}`, key("same"))
	if again := g.exported(`{"date":"2026-11-21"}`, key("same")); again.Export != e.Export {
		t.Errorf("repeated: %+v", again)
	}
	if a := g.do("POST", "/v1/exports", `{"date":"2026-11-20"}`, key("same")); a.slug() != "idempotency-key-reused" {
		t.Errorf("%s", a.body)
	}
	for range 9 { // newer ones take its place
		g.exported(`{"date":"2026-11-21"}`)
	}
	if a := g.do("GET", "/v1/exports/"+e.Export, ""); a.slug() != "export-not-found" {
		t.Errorf("%s", a.body)
	}
	if a := g.do("POST", "/v1/exports/"+e.Export, `{}`); a.slug() != "method-not-allowed" {
		t.Errorf("%s", a.body)
	}
	if names, err := os.ReadDir(filepath.Join(g.dir, "exports")); err != nil || len(names) != 8 {
		t.Errorf("%d files, %v", len(names), err)
	}
	var list struct{ Exports []exportAnswer }
	if err := json.Unmarshal(g.do("GET", "/v1/exports", "").body, &list); err != nil || len(list.Exports) != 8 {
		t.Errorf("%+v, %v", list, err)
	}
	if a := g.do("GET", list.Exports[0].Data, ""); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	last := list.Exports[0].Export
	g.stop()
	g.start() // files of before are nobody's
	if a := g.do("GET", "/v1/exports/"+last, ""); a.slug() != "export-not-found" {
		t.Errorf("%s", a.body)
	}
	g.exported(`{"date":"2026-11-21"}`)
	if names, err := os.ReadDir(filepath.Join(g.dir, "exports")); err != nil || len(names) != 1 {
		t.Errorf("%d files, %v", len(names), err)
	}
}

// Of a day whose beginning was freed the rest is given, and said to be that.
func TestExportOfFreedRecords(t *testing.T) {
	g := newRig(t)
	g.open.SegmentSize, g.open.Retention = 64<<10, time.Nanosecond
	g.now = func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }
	g.start()
	for g.j.Oldest() < 3 {
		g.sell(cashSale)
		floor, _ := g.j.Floor()
		g.j.Settle(floor)
		if floor > 5000 {
			t.Fatal("nothing is freed")
		}
	}
	if e := g.exported(`{"date":"2026-11-21","format":"csv"}`); !e.Truncated || e.Written == 0 {
		t.Errorf("%+v", e)
	}
}

// Whatever is asked for, it is refused with a reason or is one of the exports that there are.
func FuzzExport(f *testing.F) {
	for _, body := range []string{"", "{}", `{"date":"2026-11-21","format":"csv","rows":"lines"}`, `{"z":17}`, `{"z":-1}`, `{"date":"2026-02-30"}`, `{"z":1,"date":""}`} {
		f.Add([]byte(body))
	}
	var d decoder
	f.Fuzz(func(t *testing.T, b []byte) {
		var q export.Query
		if bad := d.decodeExport(b, &q); bad != nil {
			if bad.kind.slug == "internal" || bad.detail == "" || !json.Valid(bad.append(nil)) {
				t.Fatalf("%q: %+v", b, bad)
			}
			return
		}
		if _, err := time.Parse(time.DateOnly, q.Date); (q.Date == "") == (q.Z == 0) || q.Date != "" && err != nil ||
			q.Format == export.CSV != slices.Contains(export.RowKinds, q.Rows) || q.Format == export.JSONL != (q.Rows == "") {
			t.Fatalf("%q: %+v", b, q)
		}
	})
}

// Nor does a query of a paper or a stream get through that means nothing.
func FuzzPaperQuery(f *testing.F) {
	for _, q := range []string{"", "as=html&columns=48", "columns=&blind=true", "types=a,b&after=start", "after=0123-9", "%zz", "as=text;as=html"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		r := &http.Request{URL: &url.URL{RawQuery: q}}
		if f, bad := formOf(r); bad == nil && (mediaTypes[f.as] == "" || f.columns != 0 && (f.columns < leastColumns || f.columns > mostColumns)) {
			t.Fatalf("%q: %+v", q, f)
		}
	})
}
