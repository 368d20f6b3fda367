package lab

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// audit holds a journal's events against the promises, one after the other. It knows
// no model and no state of posd's: an auditor's view.
type audit struct {
	coin      int64
	keys      map[string]uint64
	versions  map[string]bool
	baskets   map[string]*auditedBasket
	ended     map[string]bool
	sales     map[string]*auditedSale
	receipt   uint64
	trainings uint64
	z         uint64
	perpetual int64
	refunds   int64
	shift     uint64
	open      bool
	sums      map[string]int64
}

type auditedBasket struct {
	training bool
	tenders  map[string]tenderData // that count
}

type auditedSale struct {
	lines     []lineData
	back      map[int]backSum
	void      bool
	tax, most int64 // that came back, and that can
}

func newAudit(coin int64) *audit {
	return &audit{coin: coin, keys: map[string]uint64{}, versions: map[string]bool{}, baskets: map[string]*auditedBasket{}, ended: map[string]bool{},
		sales: map[string]*auditedSale{}, sums: map[string]int64{}}
}

// see takes the next event in.
func (a *audit) see(e *made) error {
	err := a.take(e)
	if err != nil {
		return fmt.Errorf("record %d, %s: %w\n%s", e.seq, e.kind, err, e.raw)
	}
	return nil
}

func (a *audit) take(e *made) error {
	if e.key != "" {
		if was, twice := a.keys[e.key]; twice {
			return fmt.Errorf("key %s has made record %d already", e.key, was)
		}
		a.keys[e.key] = e.seq
	}
	switch e.kind {
	case "sale.completed":
		return a.sale(&e.sale)
	case "training.completed":
		if a.trainings++; e.sale.Number != a.trainings {
			return fmt.Errorf("training %d follows %d", e.sale.Number, a.trainings-1)
		}
		return a.sold(&e.sale)
	case "shift.opened":
		if a.open || e.shift.Shift != a.shift+1 {
			return fmt.Errorf("shift %d follows %d, open %v", e.shift.Shift, a.shift, a.open)
		}
		a.open, a.shift = true, e.shift.Shift
		a.sums["float"] = e.shift.Float
	case "shift.closed":
		return a.closed(&e.shift)
	case "cash.in":
		a.sums["in"] += e.cash.Amount
	case "cash.out":
		a.sums["out"] += e.cash.Amount
	case "cash.dropped":
		a.sums["dropped"] += e.cash.Amount
	default:
		if e.basket.Basket != "" {
			return a.step(e)
		}
	}
	return nil
}

// closed holds a Z report against the sum of what was journaled since the one before.
func (a *audit) closed(d *shiftData) error {
	a.z++
	drawer := a.sums["float"] + a.sums["cash"] + a.sums["in"] - a.sums["out"] - a.sums["dropped"]
	if d.Z != a.z || d.Shift != a.shift || !a.open || d.Expected != drawer {
		return fmt.Errorf("Z %d of shift %d expects %d, should be Z %d of shift %d and %d", d.Z, d.Shift, d.Expected, a.z, a.shift, drawer)
	}
	if d.Totals.figures["perpetual"] != a.perpetual || d.Totals.figures["perpetual_refunds"] != a.refunds {
		return fmt.Errorf("perpetual totals should be %d and %d", a.perpetual, a.refunds)
	}
	for _, name := range []string{"sales", "gross", "cash", "card", "voucher", "account", "cash_rounding", "float", "in", "out", "dropped"} {
		if got := d.Totals.figures[name]; got != a.sums[name] {
			return fmt.Errorf("%s is %d, the events make %d", name, got, a.sums[name])
		}
	}
	var net, tax, gross int64
	for _, r := range d.Totals.taxes {
		net, tax, gross = net+r.Net, tax+r.Tax, gross+r.Gross
	}
	if net != a.sums["net"] || tax != a.sums["tax"] || gross != net+tax || gross != a.sums["gross"] {
		return fmt.Errorf("taxes make %d + %d = %d, the sales %d + %d = %d", net, tax, gross, a.sums["net"], a.sums["tax"], a.sums["gross"])
	}
	a.open, a.sums = false, map[string]int64{}
	return nil
}

func (a *audit) step(e *made) error {
	d := &e.basket
	if a.versions[d.Version] || a.ended[d.Basket] {
		return fmt.Errorf("version %s of basket %s, ended %v", d.Version, d.Basket, a.ended[d.Basket])
	}
	a.versions[d.Version] = true
	if e.kind == "basket.opened" {
		if a.baskets[d.Basket] != nil {
			return fmt.Errorf("basket %s was opened before", d.Basket)
		}
		a.baskets[d.Basket] = &auditedBasket{training: d.Training, tenders: map[string]tenderData{}}
		return nil
	}
	b := a.baskets[d.Basket]
	switch {
	case b == nil:
		return fmt.Errorf("basket %s was never opened", d.Basket)
	case e.kind == "tender.approved":
		b.tenders[d.Tender.ID] = d.Tender
	case e.kind == "tender.reversed":
		delete(b.tenders, d.Tender.ID)
	case e.kind == "basket.voided":
		if len(b.tenders) > 0 {
			return fmt.Errorf("basket %s is void though money was taken: %v", d.Basket, b.tenders)
		}
		a.end(d.Basket)
	}
	var paid int64
	for _, t := range b.tenders {
		paid += t.Amount
	}
	if d.Due != d.Total-paid {
		return fmt.Errorf("due is %d, total %d less %d", d.Due, d.Total, paid)
	}
	return nil
}

func (a *audit) end(basket string) {
	delete(a.baskets, basket)
	a.ended[basket] = true
}

func (a *audit) sale(d *saleData) error {
	a.receipt++
	a.perpetual += d.Total
	if d.Total < 0 {
		a.refunds -= d.Total
	}
	if d.Number != a.receipt || d.Receipt != "T1-1-"+strconv.FormatUint(a.receipt, 10) {
		return fmt.Errorf("receipt %s, number %d, follows %d", d.Receipt, d.Number, a.receipt-1)
	}
	if d.Perpetual != a.perpetual || d.Refunds != a.refunds || !a.open || d.Shift != a.shift {
		return fmt.Errorf("perpetual %d, refunds %d, shift %d; should be %d, %d, %d", d.Perpetual, d.Refunds, d.Shift, a.perpetual, a.refunds, a.shift)
	}
	a.sums["sales"]++
	a.sums["gross"] += d.Total
	a.sums["cash_rounding"] += d.Rounding
	a.sums["cash"] -= d.Change
	for _, t := range d.Tenders {
		a.sums[t.Kind] += t.Amount
	}
	for _, r := range d.Taxes {
		a.sums["net"] += r.Net
		a.sums["tax"] += r.Tax
	}
	if err := a.returns(d); err != nil {
		return err
	}
	return a.sold(d)
}

// returns: of no line comes more back than was sold.
func (a *audit) returns(d *saleData) error {
	void := a.sales[d.VoidOf]
	if d.VoidOf != "" && (void == nil || void.void || len(void.back) > 0) {
		return fmt.Errorf("voids %s, which cannot be voided", d.VoidOf)
	}
	for _, l := range d.Lines {
		if l.Return == nil || l.Return.Sale == "" {
			continue
		}
		of := a.sales[l.Return.Sale]
		if of == nil || l.Return.Line < 1 || l.Return.Line > len(of.lines) {
			return fmt.Errorf("line %d gives back line %d of %s, which nobody sold", l.N, l.Return.Line, l.Return.Sale)
		}
		sold, was := of.lines[l.Return.Line-1], of.back[l.Return.Line]
		now := backSum{was.qty - int64(l.Quantity), was.amount - l.Amount, was.tax - l.Return.Tax}
		if of.back[l.Return.Line] = now; now.qty > int64(sold.Quantity) || now.amount > sold.Amount {
			return fmt.Errorf("of line %d of %s %+v has come back, %d for %d was sold", l.Return.Line, l.Return.Sale, now, sold.Quantity, sold.Amount)
		}
		if of.tax -= l.Return.Tax; l.Return.Tax > 0 || of.tax > of.most {
			return fmt.Errorf("of %s tax of %d has come back, %d was paid", l.Return.Sale, of.tax, of.most)
		}
	}
	sale := &auditedSale{lines: d.Lines, back: map[int]backSum{}, void: d.VoidOf != ""}
	for _, r := range d.Taxes {
		sale.most += r.Tax
	}
	if slices.ContainsFunc(d.Lines, func(l lineData) bool { return l.Return != nil }) {
		sale.most = math.MaxInt64 // what it sold alone is not told
	}
	a.sales[d.Sale] = sale
	return nil
}

// sold checks what every sale says of itself, in training too.
func (a *audit) sold(d *saleData) error {
	if d.Basket != "" {
		b := a.baskets[d.Basket]
		if b == nil {
			return fmt.Errorf("basket %s is not open", d.Basket)
		}
		had := slices.Collect(maps.Values(b.tenders))
		for _, t := range d.Tenders {
			had = slices.DeleteFunc(had, func(x tenderData) bool { return x == t })
		}
		if len(had) > 0 || len(d.Tenders) != len(b.tenders) {
			return fmt.Errorf("paid with %v, the basket's tenders are %v", d.Tenders, b.tenders)
		}
		a.end(d.Basket)
	}
	var net, gross, paid, cash, amounts int64
	for _, r := range d.Taxes {
		if net, gross = net+r.Net, gross+r.Gross; r.Net+r.Tax != r.Gross {
			return fmt.Errorf("tax %s: %d + %d is not %d", r.Code, r.Net, r.Tax, r.Gross)
		}
	}
	for _, t := range d.Tenders {
		if paid += t.Amount; t.Kind == "cash" {
			cash += t.Amount
		}
	}
	shares := make([]int64, len(d.Discounts)+1)
	for i := range d.Lines {
		l := &d.Lines[i]
		if amounts += l.Amount; !l.Fixed {
			full := half(l.Price*int64(l.Quantity), 1000)
			for _, off := range l.Discounts {
				full -= off.Amount
			}
			if full != l.Amount {
				return fmt.Errorf("line %d makes %d, not %d", l.N, full, l.Amount)
			}
		}
		for _, off := range l.Discounts {
			shares[off.Of] += off.Amount
		}
	}
	for i, off := range d.Discounts {
		if shares[i+1] != off.Amount {
			return fmt.Errorf("discount %d of %d is shared as %d", i+1, off.Amount, shares[i+1])
		}
	}
	base := gross
	if d.Prices == "exclusive" {
		base = net
	}
	switch {
	case gross != d.Total || amounts != base:
		return fmt.Errorf("lines make %d, taxes %d and %d, total %d", amounts, net, gross, d.Total)
	case paid-d.Change != d.Total+d.Rounding || d.Change < 0 || d.Change > max(cash, 0):
		return fmt.Errorf("%d paid, %d change, total %d, rounding %d", paid, d.Change, d.Total, d.Rounding)
	case d.Rounding != 0 && (2*abs(d.Rounding) > a.coin || (cash-d.Change)%a.coin != 0):
		return fmt.Errorf("rounding %d, %d in cash, the coin is %d", d.Rounding, cash-d.Change, a.coin)
	}
	return nil
}

func abs(n int64) int64 { return max(n, -n) }
