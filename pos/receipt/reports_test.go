package receipt

import (
	"bytes"
	"strings"
	"testing"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/receipt/internal/sample"
)

// shift is a day with a bit of everything.
func shift() *event.ShiftClosed {
	t := event.ShiftTotals{Sales: 311, Gross: 1234567, Taxes: []pos.TaxTotal{
		{Code: "R", Rate: 70000, Net: 500000, Tax: 35000, Gross: 535000}, {Code: "S", Rate: 190000, Net: 587871, Tax: 111696, Gross: 699567}},
		Cash: 734560, Card: 480007, Voucher: 15000, Account: 5000, Refunds: 3, Refunded: 4599, PostVoids: 1, Discounts: 20010, CashRounding: 3,
		Float: 20000, In: 5000, Out: 1250, Dropped: 600000, DrawerOpened: 2, LinesVoided: 9, LinesVoidedSum: 8812, BasketsVoided: 1, BasketsVoidedSum: 399,
		PriceChanges: 4, Copies: 2, Trainings: 1, Perpetual: 987654321, PerpetualRefunds: 54321,
		LinesReturned: 12, LinesReturnedSum: 7345, BasketsOpen: 2, BasketsOpenSum: 4711}
	return &event.ShiftClosed{Shift: 42, BusinessDate: "2026-11-21", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Totals: t, Z: 17,
		Operator: "7", Counted: true, Declared: 158300, Expected: t.Drawer(), Approved: "3"}
}

func reportOptions(shop *Shop) Options {
	o := options(shop)
	o.Store, o.Terminal, o.Operator, o.Record, o.Currency = "S042", "T7", "7", "3f9a0c1e-1050", pos.Currency{Code: "EUR", Exponent: 2}
	return o
}

func reports() map[string]func() Document {
	open := shift()
	open.Counted, open.Declared, open.Approved, open.Operator = false, 0, "", ""
	blind := reportOptions(plainShop)
	blind.Blind = true
	again := reportOptions(germanShop)
	again.Copy = 1
	return map[string]func() Document{
		"z":        func() Document { return Z(shift(), reportOptions(plainShop)) },
		"z-german": func() Document { return Z(shift(), again) },
		"x":        func() Document { return X(open, reportOptions(plainShop)) },
		"x-blind":  func() Document { return X(open, blind) },
		"cash-out": func() Document {
			return CashSlip(&event.Cash{Type: event.TypeCashOut, Shift: 42, Operator: "7", Approved: "3", Amount: 1250, Reason: "window cleaner"}, reportOptions(plainShop))
		},
		"cash-count": func() Document {
			o := reportOptions(germanShop)
			o.Drawer = false
			return CashSlip(&event.Cash{Type: event.TypeCashDeclared, Shift: 42, Operator: "7", Amount: 158300,
				Counts: []event.Count{{Value: 10000, Pieces: 15}, {Value: 500, Pieces: 16}, {Value: 5, Pieces: 60}}}, o)
		},
	}
}

// What is counted blindly cannot be worked out from an X report: neither the sum nor
// its parts stand there.
func TestBlindReport(t *testing.T) {
	open := shift()
	o := reportOptions(plainShop)
	d := X(open, o)
	figures := []pos.Money{open.Expected, open.Totals.Cash, open.Totals.Card, open.Totals.Float, open.Totals.In, open.Totals.Dropped}
	told := func(d *Document) (n int) {
		text := d.Text(42)
		for _, m := range figures {
			if bytes.Contains(text, []byte(" "+m.Format(open.Currency)+"\n")) || bytes.Contains(text, []byte("-"+m.Format(open.Currency)+"\n")) {
				n++
			}
		}
		return n
	}
	if n := told(&d); n != len(figures) {
		t.Errorf("%d of %d figures are told", n, len(figures))
	}
	o.Blind = true
	d = X(open, o)
	if n := told(&d); n != 0 {
		t.Errorf("a blind report tells %d figures:\n%s", n, d.Text(42))
	}
}

// A paper of a shop of which nothing is known is a paper.
func TestNoShop(t *testing.T) {
	for _, d := range []Document{Sale(sample.All(), Options{}), Z(shift(), Options{}), X(shift(), Options{}), CashSlip(&event.Cash{}, Options{})} {
		if len(d.Text(42)) == 0 || d.Lang != "en" {
			t.Errorf("%+v", d)
		}
	}
}

// All words are there in all languages, and fit with an amount on the narrowest paper.
func TestWords(t *testing.T) {
	for _, l := range languages {
		for n, s := range l.words {
			if strings.TrimSpace(s) == "" || len([]rune(s)) > 26 {
				t.Errorf("%s: word %d is %q", l.code, n, s)
			}
		}
	}
	if lang, w := wordsOf("xx"); lang != "en" || w[wTotal] != "TOTAL" {
		t.Errorf("an unknown language is %s", lang)
	}
}
