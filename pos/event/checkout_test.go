package event

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"posd/pos"
)

// of gives the parser of a family of types the shape of the others.
func of[T any, P interface {
	*T
	appender
}](kind string, parse func(string, []byte) (T, error)) func([]byte) (appender, error) {
	return func(data []byte) (appender, error) {
		v, err := parse(kind, data)
		return P(&v), err
	}
}

type kindRow struct {
	name    string
	header  Header
	example appender
	parse   func([]byte) (appender, error)
}

// checkoutKinds are the steps of a sale that is made step by step, in their order, and
// what else operators do.
func checkoutKinds() (rows []kindRow) {
	eur := pos.Currency{Code: "EUR", Exponent: 2}
	wine := pos.Line{Item: "4006381333931", Code: "04006381333931", Description: "Riesling", Department: "WINE", Unit: "pc", Tax: "S", Rate: 190000, Qty: 2000, Price: 799, Amount: 1598}
	less := wine
	less.Price, less.List, less.Changed, less.Approved = 699, 799, true, "3"
	less.Discounts = []pos.Discount{{Percent: 100000, Amount: 140, Reason: "label torn"}}
	less.Amount = 1258
	back := pos.Line{Item: "4011", Description: "Bananas", Department: "PRODUCE", Unit: "kg", Tax: "R", Rate: 70000, Qty: -500, Fixed: true, Price: -150, Amount: -150,
		Return: &pos.Return{Sale: "3f9a0c1e-1042", Receipt: "T7-1-311", Line: 1, Reason: "rotten"}}
	key := Header{Time: at("2026-11-21T10:15:30.5Z"), Clock: ClockSynced, Key: "k-17", Hash: "a3", Front: "till-1"}
	basket := func(kind string, n int, total, due pos.Money, change func(*Basket)) {
		e := &Basket{Type: kind, Basket: "3f9a0c1e-2040", Version: "12-2041", State: "open", Operator: "7", Lines: n, Total: total, Due: due}
		change(e)
		rows = append(rows, kindRow{kind, key, e, of(kind, ParseBasket)})
	}
	basket(TypeBasketOpened, 0, 0, 0, func(e *Basket) { e.Name, e.Opened = "table 4", at("2026-11-21T10:15:30.5Z") })
	basket(TypeLineAdded, 1, 1598, 1598, func(e *Basket) { e.N, e.Line, e.MinAge = 1, wine, 16 })
	basket(TypeLineChanged, 1, 1258, 1258, func(e *Basket) { e.N, e.Line, e.MinAge = 1, less, 16 })
	basket(TypeLineVoided, 1, 1258, 1258, func(e *Basket) { e.N, e.Line, e.Reason = 2, back, "not from here" })
	basket(TypeLineRepeated, 1, 1258, 1258, func(e *Basket) { e.N, e.Line, e.MinAge = 1, wine, 16 })
	basket(TypeBasketChanged, 1, 1158, 1158, func(e *Basket) {
		e.Customer, e.Note, e.Age, e.Discounts = "C-4711", "gift", 18, []pos.Discount{{Amount: 100, Reason: "coupon"}}
	})
	basket(TypeBasketParked, 1, 1158, 1158, func(e *Basket) { e.State, e.Name = "parked", "table 4" })
	basket(TypeBasketRecalled, 1, 1158, 1158, func(e *Basket) { e.Operator = "8" })
	basket(TypeBasketVoided, 1, 1158, 1158, func(e *Basket) { e.State, e.Reason, e.Approved = "void", "customer left", "3" })
	card := pos.Tender{ID: "1", Kind: pos.Card, Amount: 1000}
	basket(TypeTenderPending, 1, 1158, 1158, func(e *Basket) { e.Tender, e.Driver = card, "pinpad" })
	approved := card
	approved.Reference, approved.Card = "0815", &pos.CardData{Brand: "visa", Last4: "1111", Auth: "A7Z", Offline: true}
	basket(TypeTenderApproved, 1, 1158, 158, func(e *Basket) { e.Tender, e.Driver = approved, "pinpad" })
	basket(TypeTenderDeclined, 1, 1158, 1158, func(e *Basket) { e.Tender, e.Driver, e.Reason = card, "pinpad", "insufficient funds" })
	basket(TypeTenderUnknown, 1, 1158, 1158, func(e *Basket) {
		e.Tender, e.Driver, e.Reason = card, "pinpad", "the line broke before the answer"
	})
	basket(TypeTenderReversing, 1, 1158, 158, func(e *Basket) {
		e.Tender, e.Driver, e.Memory, e.Offline, e.Reason = approved, "P400-17", "b1946ac9", 1000, "customer pays cash"
	})
	basket(TypeTenderReversed, 1, 1158, 1158, func(e *Basket) { e.Tender, e.Driver, e.Reason = approved, "pinpad", "customer pays cash" })

	cash := func(kind string, amount pos.Money, change func(*Cash)) {
		e := &Cash{Type: kind, Shift: 42, Operator: "7", Amount: amount}
		change(e)
		rows = append(rows, kindRow{kind, key, e, of(kind, ParseCash)})
	}
	cash(TypeCashIn, 5000, func(e *Cash) { e.Reason = "change from the bank" })
	cash(TypeCashOut, 1250, func(e *Cash) { e.Reason, e.Approved = "window cleaner", "3" })
	cash(TypeCashDropped, 50000, func(e *Cash) {})
	cash(TypeDrawerOpened, 0, func(e *Cash) { e.Reason = "customer wants change" })
	cash(TypeCashDeclared, 21050, func(e *Cash) { e.Counts = []Count{{5000, 4}, {1000, 1}, {50, 1}} })

	forwarded := CardForwarded{Terminal: "P400-17", Memory: "b1946ac9", Total: 12300, Amount: 1000}
	rows = append(rows, kindRow{TypeCardForwarded, Header{Time: key.Time, Clock: ClockSynced}, &forwarded, reads(ParseCardForwarded)})

	operator := func(kind string, e Operator) {
		e.Type = kind
		rows = append(rows, kindRow{kind, Header{Time: key.Time, Clock: ClockSynced, Front: "till-1"}, &e, of(kind, ParseOperator)})
	}
	operator(TypeSignedIn, Operator{Operator: "7", Role: "cashier"})
	operator(TypeSignedOut, Operator{Operator: "7", Reason: "nothing was done for 10 minutes"})
	operator(TypeOperatorLocked, Operator{Operator: "7", Failures: 5})
	operator(TypeReceiptPrinted, Operator{Operator: "7", Sale: "3f9a0c1e-1042"})
	operator(TypeReceiptCopied, Operator{Operator: "7", Sale: "3f9a0c1e-1042", Copy: 1, Reason: "paper was out"})
	operator(TypeOperatorRefused, Operator{Operator: "7", Failures: 2})
	operator(TypeOperatorUnlocked, Operator{Operator: "7", Reason: "forgot the new one", Approved: "3"})
	operator(TypeOperatorApproved, Operator{Operator: "3", Role: "manager", For: "7", Permission: "sale.void"})
	return append(rows, kindRow{TypeShiftHanded, key, &ShiftHanded{Shift: 42, From: "7", To: "8"}, reads(ParseShiftHanded)},
		kindRow{TypeTraining, key, &SaleCompleted{
			Sale: "3f9a0c1e-3000", Receipt: "T7-1-training-3", Number: 3, Store: "S042", Terminal: "T7", Shift: 42, BusinessDate: "2026-11-21", Operator: "9",
			Currency: eur, Lines: []pos.Line{less}, Taxes: []pos.TaxTotal{{Code: "S", Rate: 190000, Net: 1057, Tax: 201, Gross: 1258}}, Total: 1258,
			Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 1300}}, Change: 40, CashRounding: 2, Perpetual: 1002067, Training: true,
			Basket: "3f9a0c1e-2990", Opened: at("2026-11-21T10:10:00Z"), Age: 18,
		}, func(data []byte) (appender, error) {
			e, err := ParseSale(data)
			e.Training = true
			return &e, err
		}})
}

func drawLine(t *rapid.T) pos.Line {
	s := drawSale(t)
	if len(s.Lines) == 0 {
		return pos.Line{}
	}
	return s.Lines[0]
}

func drawBasket(t *rapid.T) *Basket {
	text := rapid.String()
	e := &Basket{Type: rapid.SampledFrom(BasketTypes[:]).Draw(t, "kind"), Basket: text.Draw(t, "basket"), Version: text.Draw(t, "version"), State: text.Draw(t, "state"),
		Operator: text.Draw(t, "operator"), Approved: text.Draw(t, "approved"), Reason: text.Draw(t, "reason"), Lines: rapid.IntRange(0, 500).Draw(t, "lines"),
		Total: drawMoney(t), Due: drawMoney(t)}
	switch e.Type {
	case TypeBasketOpened:
		e.Name, e.Training, e.Opened = text.Draw(t, "name"), rapid.Bool().Draw(t, "training"), time.UnixMilli(1795253400123).UTC()
		e.Prices = pos.PriceMode(rapid.IntRange(0, 1).Draw(t, "prices"))
	case TypeBasketParked:
		e.Name = text.Draw(t, "name")
	case TypeBasketChanged:
		e.Customer, e.Note, e.Age, e.Discounts = text.Draw(t, "customer"), text.Draw(t, "note"), rapid.IntRange(0, 99).Draw(t, "age"), drawDiscounts(t)
	case TypeLineAdded, TypeLineChanged, TypeLineVoided, TypeLineRepeated:
		e.N, e.MinAge, e.Line = rapid.IntRange(0, 500).Draw(t, "n"), rapid.IntRange(0, 99).Draw(t, "age"), drawLine(t)
	case TypeTenderPending, TypeTenderApproved, TypeTenderDeclined, TypeTenderUnknown, TypeTenderReversed, TypeTenderReversing:
		e.Tender, e.Driver = pos.Tender{ID: text.Draw(t, "id"), Kind: pos.TenderKind(text.Draw(t, "kind")), Amount: drawMoney(t)}, text.Draw(t, "driver")
		e.Memory, e.Offline, e.Charged = text.Draw(t, "memory"), drawMoney(t), drawMoney(t)
	}
	return e
}

func drawCash(t *rapid.T) *Cash {
	text := rapid.String()
	return &Cash{Type: rapid.SampledFrom(CashTypes[:]).Draw(t, "kind"), Shift: rapid.Uint64().Draw(t, "shift"), Operator: text.Draw(t, "operator"),
		Approved: text.Draw(t, "approved"), Amount: drawMoney(t), Reason: text.Draw(t, "reason"),
		Counts: drawSome(t, "counts", func(t *rapid.T) Count { return Count{drawMoney(t), rapid.IntRange(0, 999).Draw(t, "pieces")} })}
}

// The rarer members of a shift's end are each their own: none is written as another.
func TestTotalsNamesDiffer(t *testing.T) {
	var e ShiftTotals
	for i, m := range e.more() {
		*m.value = int64(i + 1)
	}
	got, err := ParseTotals(e.AppendData(nil))
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Drawer() != got.Float+got.In-got.Out-got.Dropped {
		t.Error(got.Drawer())
	}
}

func TestRefusesWhatHasNoForm(t *testing.T) {
	for _, e := range []appender{
		&Basket{Type: "sale.completed"}, &Basket{Type: TypeLineAdded, N: -1}, &Basket{Type: TypeBasketChanged, Discounts: []pos.Discount{{Percent: -1}}},
		&Basket{Type: TypeLineAdded, Line: pos.Line{Rate: -1}}, &Cash{Type: "cash"}, &Cash{Type: TypeCashDeclared, Counts: []Count{{1, -1}}}, &Operator{Type: "operator"},
		&SaleCompleted{Discounts: []pos.Discount{{Of: -1}}}, &SaleCompleted{Age: -1},
	} {
		if b, err := e.AppendEvent([]byte("x"), Header{}); !errors.Is(err, ErrValue) || string(b) != "x" {
			t.Errorf("%+v: %s, %v", e, b, err)
		}
	}
}
