package till

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/event"
)

var euro = pos.Currency{Code: "EUR", Exponent: 2}

func fullState() State {
	back := pos.Line{Item: "1", Unit: "pc", Tax: "A", Rate: 190000, Qty: -1000, Fixed: true, Price: -100, Amount: -100, Return: &pos.Return{Sale: "x-1", Line: 2}}
	return State{
		Branch: 3, Receipt: 41, Training: 2, Z: 8, Perpetual: 123456789, Refunds: 200, Wall: 1795253400123, Currency: euro, Date: "2026-11-21", Returned: 77,
		Offline: Offline{Outstanding: 500, Date: "2026-11-20", Day: 300, Terminal: "P400-17", Memory: "b1946ac9", Forwarded: 12300},
		Shift: Shift{Number: 9, Open: true, Implicit: true, Operator: `7 "seven" ü`, Counted: true, Declared: 4711,
			Totals: event.ShiftTotals{Sales: 2, Gross: 300, Cash: 100, Card: 200, Perpetual: 123456789, Dropped: 5,
				Taxes: []pos.TaxTotal{{Code: "A", Rate: 190000, Net: 252, Tax: 48, Gross: 300}}}},
		Baskets: []*Basket{{
			OpenBasket: event.OpenBasket{
				Basket: "b-1", Version: "3-17", Parked: true, Name: "table", Operator: "8", Prices: pos.Exclusive, Training: true, Opened: time.UnixMilli(1795253400123).UTC(),
				Customer: "C-1", Note: "n", Age: 18, Total: -100, Due: -50, Last: 4, Discounts: []pos.Discount{{Percent: 10000, Amount: 3, Reason: "r"}},
				Lines:   []event.OpenLine{{N: 4, Line: back, MinAge: 16}},
				Tenders: []event.OpenTender{{Tender: pos.Tender{ID: "1", Kind: pos.Card, Amount: -50, Reference: "s"}, State: "unknown", Driver: "d", Memory: "m", Offline: 7, OfflineDate: "2026-11-20", ForwardedBefore: 12000, Reason: "why"}},
			},
			Keys: []Key{{ID: [16]byte{1}, Hash: [8]byte{2}, Seq: 17}, {ID: [16]byte{3}, Seq: 18}},
		}, {OpenBasket: event.OpenBasket{Basket: "b-2", Opened: time.UnixMilli(0).UTC()}}},
		Wrong:   []Wrong{{"7", 3}, {`"8"`, 12}},
		Setback: 11,
	}
}

func TestOpeningRoundTrip(t *testing.T) {
	full := reflect.ValueOf(fullState())
	for i := range full.NumField() {
		if full.Field(i).IsZero() {
			t.Errorf("the full state has no %s", full.Type().Field(i).Name)
		}
	}
	for name, s := range map[string]State{"full": fullState(), "new": {Branch: 1}} {
		b := s.Append(nil)
		got, err := ParseState(b)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, b)
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%s: %+v, want %+v", name, got, s)
		}
	}
}

// What a release before baskets has written.
func TestOpeningOfVersion1(t *testing.T) {
	const old = `{"v":1,"branch":1,"receipt":12,"perpetual":4711,"wall":1795253400123,"currency":{"code":"EUR","exponent":2},"shift":3,"open":true,"implicit":true,` +
		`"operator":"7","date":"2026-11-21","totals":{"sales":1,"gross":5,"taxes":[],"cash":5,"card":0,"perpetual":4711}}`
	got, err := ParseState([]byte(old))
	want := State{Branch: 1, Receipt: 12, Perpetual: 4711, Wall: 1795253400123, Currency: euro, Date: "2026-11-21",
		Shift: Shift{Number: 3, Open: true, Implicit: true, Operator: "7", Totals: event.ShiftTotals{Sales: 1, Gross: 5, Cash: 5, Perpetual: 4711}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// What a newer release adds behind the baskets is skipped: going back must be possible.
func TestOpeningOfANewerRelease(t *testing.T) {
	b := strings.Replace(string((&State{Branch: 1}).Append(nil)), `"baskets":[]}`, `"baskets":[],"later":{"x":[1]},"wrong":[["7",2]]}`, 1)
	if s, err := ParseState([]byte(b)); err != nil || len(s.Wrong) != 1 || s.Branch != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOpeningIsStrict(t *testing.T) {
	s := State{Branch: 1}
	good := string(s.Append(nil))
	for _, c := range []struct{ old, new string }{
		{`"v":2`, `"v":3`},
		{`"v":2`, `"v":1`},
		{`"branch":1`, `"branch":0`},
		{`"branch":1`, `"branch":-1`},
		{`"branch":1`, `"branch":1.5`},
		{`"branch":1,`, ``},
		{`"branch":1`, `"branch":1,"branch":1`},
		{`"branch":1`, `"bramch":1`},
		{`"refunds":0`, `"refunds":-1`},
		{`"perpetual":0`, `"perpetual":99999999999999999999`},
		{`"open":false`, `"open":true`},
		{`"open":false`, `"open":0`},
		{`"date":""`, `"date":"21.11.2026"`},
		{`"exponent":0`, `"exponent":9`},
		{`"baskets":[]}`, `"baskets":[],"keys":[}`},
		{`"baskets":[]}`, `"baskets":[],"keys":[],"keys":[]}`},
		{`"baskets":[]}`, `"keys":[],"baskets":[]}`},
		{`"baskets":[]}`, `"baskets":[]} {}`},
		{`"baskets":[]}`, `"baskets":[],"wrong":[["7"]]}`},
		{`"baskets":[]}`, `"baskets":[],"wrong":[["7",-1]]}`},
		{`"baskets":[]}`, `"baskets":[],"wrong":[],"wrong":[]}`},
		{`"baskets":[]}`, `"baskets":[]`},
		{`"baskets":[]`, `"baskets":[{}]`},
		{`"baskets":[]`, `"baskets":[`},
		{good, ``},
		{good, `[]`},
	} {
		b := strings.Replace(good, c.old, c.new, 1)
		if b == good {
			t.Fatalf("%s does not occur in %s", c.old, good)
		}
		if _, err := ParseState([]byte(b)); err == nil {
			t.Errorf("%s instead of %s was accepted", c.new, c.old)
		}
	}
}

// What a later release adds, this one passes over: it can be gone back to.
func TestOpeningOfALaterRelease(t *testing.T) {
	s := fullState()
	now := string(s.Append(nil))
	later := now
	for _, at := range []string{`"exponent":2`, `"forwarded":12300`, `"perpetual":123456789,"dropped":5`, `"why"`, `"last":4`, `"min_age":16`,
		`["03000000000000000000000000000000","0000000000000000",18]]`, `["\"8\"",12]]`} {
		added := strings.Replace(later, at, at+`,"later":{"a":[1,"b"],"later":null},"latest":7`, 1)
		if added == later {
			t.Fatalf("%s does not occur in %s", at, now)
		}
		later = added
	}
	later = later[:len(later)-1] + `,"last":[["7"]]}`
	got, err := ParseState([]byte(later))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v\n%s", got, err, later)
	}
}

func FuzzOpening(f *testing.F) {
	s := fullState()
	f.Add(s.Append(nil))
	f.Add((&State{Branch: 1}).Append(nil))
	f.Add([]byte(`{"v":1,"branch":1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseState(b)
		if err != nil {
			return
		}
		once := s.Append(nil)
		again, err := ParseState(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if !bytes.Equal(once, again.Append(nil)) {
			t.Fatalf("%q is read as %+v, then as %+v", b, s, again)
		}
	})
}
