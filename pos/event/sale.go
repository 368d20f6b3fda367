package event

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"posd/pos"
)

// SaleID names a sale for ever: the first 8 hex digits of its journal's id and
// its sequence number there, "3f9a0c1e-1042".
func SaleID(journalID [16]byte, seq uint64) string {
	b := make([]byte, 0, 8+1+20)
	b = hex.AppendEncode(b, journalID[:4])
	b = append(b, '-')
	return string(strconv.AppendUint(b, seq, 10))
}

// AppendData appends the event's data as one JSON object, as it stands behind
// "data" in the event; ParseSale reads it. It does not check what AppendEvent
// checks.
func (e *SaleCompleted) AppendData(dst []byte) []byte {
	dst = appendText(dst, `{"sale":`, e.Sale)
	dst = appendText(dst, `,"receipt":`, e.Receipt)
	dst = appendUint(dst, `,"number":`, e.Number)
	dst = appendText(dst, `,"store":`, e.Store)
	dst = appendText(dst, `,"terminal":`, e.Terminal)
	dst = appendUint(dst, `,"shift":`, e.Shift)
	dst = appendText(dst, `,"business_date":`, e.BusinessDate)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendCurrency(dst, e.Currency)
	dst = appendText(dst, `,"prices":`, e.Prices.String())
	dst = appendText(dst, `,"rounding":`, e.Rounding.String())
	dst = append(dst, `,"lines":[`...)
	for i := range e.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendLine(dst, i+1, &e.Lines[i])
	}
	dst = append(dst, ']')
	dst = appendDiscounts(dst, e.Discounts)
	dst = appendTaxes(dst, e.Taxes)
	dst = appendInt(dst, `,"total":`, e.Total)
	dst = appendNumber(dst, `,"cash_rounding":`, e.CashRounding)
	dst = append(dst, `,"tenders":[`...)
	for i := range e.Tenders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTender(dst, &e.Tenders[i])
	}
	dst = appendInt(dst, `],"change":`, e.Change)
	dst = appendInt(dst, `,"perpetual":`, e.Perpetual)
	dst = appendNumber(dst, `,"refunds":`, e.Refunds)
	dst = appendSome(dst, `,"basket":`, e.Basket)
	if !e.Opened.IsZero() {
		dst = append(appendTime(append(dst, `,"opened":"`...), e.Opened), '"')
	}
	dst = appendSome(dst, `,"customer":`, e.Customer)
	dst = appendSome(dst, `,"note":`, e.Note)
	dst = appendNumber(dst, `,"age":`, e.Age)
	dst = appendSome(dst, `,"void_of":`, e.VoidOf)
	dst = appendSome(dst, `,"void_receipt":`, e.VoidReceipt)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendTrue(dst, `,"print":`, e.Print)
	return append(dst, '}')
}

func appendLine(dst []byte, n int, l *pos.Line) []byte {
	dst = appendInt(dst, `{"n":`, n)
	dst = appendSome(dst, `,"item":`, l.Item)
	dst = appendSome(dst, `,"code":`, l.Code)
	dst = appendSome(dst, `,"description":`, l.Description)
	dst = appendSome(dst, `,"department":`, l.Department)
	dst = appendQty(dst, `,"quantity":`, l.Qty)
	dst = appendText(dst, `,"unit":`, l.Unit)
	if l.Fixed {
		dst = append(dst, `,"fixed":true`...)
	} else {
		dst = appendInt(dst, `,"price":`, l.Price)
	}
	if l.Changed {
		dst = appendInt(dst, `,"list":`, l.List)
	}
	dst = appendDiscounts(dst, l.Discounts)
	dst = appendInt(dst, `,"amount":`, l.Amount)
	dst = appendText(dst, `,"tax":`, l.Tax)
	dst = appendRate(dst, `,"rate":`, l.Rate)
	if r := l.Return; r != nil {
		dst = append(dst, `,"return":{`...)
		from := len(dst)
		dst = appendSome(dst, `,"sale":`, r.Sale)
		dst = appendSome(dst, `,"receipt":`, r.Receipt)
		dst = appendNumber(dst, `,"line":`, r.Line)
		dst = appendSome(dst, `,"reason":`, r.Reason)
		if r.Taxed {
			dst = appendInt(dst, `,"tax":`, r.Tax)
		}
		dst = append(withoutComma(dst, from), '}')
	}
	dst = appendSome(dst, `,"note":`, l.Note)
	dst = appendSome(dst, `,"approved":`, l.Approved)
	return append(dst, '}')
}

// withoutComma takes away the comma at from, where the first member of an object has it.
func withoutComma(dst []byte, from int) []byte {
	if len(dst) == from {
		return dst
	}
	return append(dst[:from], dst[from+1:]...)
}

// appendDiscounts leaves an empty list out.
func appendDiscounts(dst []byte, list []pos.Discount) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, `,"discounts":[`...)
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		d := &list[i]
		dst = appendInt(dst, `{"amount":`, d.Amount)
		if d.Percent != 0 {
			dst = appendRate(dst, `,"percent":`, d.Percent)
		}
		dst = appendSome(dst, `,"reason":`, d.Reason)
		dst = appendNumber(dst, `,"of":`, d.Of)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendTender(dst []byte, t *pos.Tender) []byte {
	dst = appendText(dst, `{"kind":`, string(t.Kind))
	dst = appendInt(dst, `,"amount":`, t.Amount)
	dst = appendSome(dst, `,"reference":`, t.Reference)
	dst = appendSome(dst, `,"id":`, t.ID)
	if c := t.Card; c != nil {
		dst = append(dst, `,"card":{`...)
		from := len(dst)
		dst = appendSome(dst, `,"brand":`, c.Brand)
		dst = appendSome(dst, `,"last4":`, c.Last4)
		dst = appendSome(dst, `,"auth":`, c.Auth)
		dst = appendTrue(dst, `,"offline":`, c.Offline)
		dst = append(withoutComma(dst, from), '}')
	}
	return append(dst, '}')
}

func appendTaxes(dst []byte, taxes []pos.TaxTotal) []byte {
	dst = append(dst, `,"taxes":[`...)
	for i := range taxes {
		if i > 0 {
			dst = append(dst, ',')
		}
		t := &taxes[i]
		dst = appendText(dst, `{"code":`, t.Code)
		dst = appendRate(dst, `,"rate":`, t.Rate)
		dst = appendInt(dst, `,"net":`, t.Net)
		dst = appendInt(dst, `,"tax":`, t.Tax)
		dst = appendInt(dst, `,"gross":`, t.Gross)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// check refuses what Parse would refuse later, when the sale is already given.
func (e *SaleCompleted) check() error {
	if e.Prices > pos.Exclusive || e.Rounding > pos.PerLine {
		return fmt.Errorf("%w: price mode %d, rounding %d", ErrValue, e.Prices, e.Rounding)
	}
	if err := checkCurrency(e.Currency); err != nil {
		return err
	}
	for i := range e.Lines {
		if err := checkLine(&e.Lines[i], i+1); err != nil {
			return err
		}
	}
	if err := checkDiscounts(e.Discounts); err != nil {
		return err
	}
	if e.Age < 0 {
		return fmt.Errorf("%w: age %d", ErrValue, e.Age)
	}
	return checkTaxes(e.Taxes)
}

func checkLine(l *pos.Line, n int) error {
	if l.Qty > pos.MaxQty || l.Qty < -pos.MaxQty || !rateFits(l.Rate) {
		return fmt.Errorf("%w: line %d: quantity %s, rate %s", ErrValue, n, l.Qty, l.Rate)
	}
	if r := l.Return; r != nil && r.Line < 0 {
		return fmt.Errorf("%w: line %d: gives back line %d", ErrValue, n, r.Line)
	}
	if err := checkDiscounts(l.Discounts); err != nil {
		return fmt.Errorf("line %d: %w", n, err)
	}
	return nil
}

func checkCurrency(c pos.Currency) error {
	if c.Exponent < 0 || c.Exponent > maxExponent {
		return fmt.Errorf("%w: currency %s with %d decimals", ErrValue, c.Code, c.Exponent)
	}
	return nil
}

func checkTaxes(taxes []pos.TaxTotal) error {
	for i := range taxes {
		if !rateFits(taxes[i].Rate) {
			return fmt.Errorf("%w: tax %d: rate %s", ErrValue, i+1, taxes[i].Rate)
		}
	}
	return nil
}

func checkDiscounts(list []pos.Discount) error {
	for i := range list {
		if !rateFits(list[i].Percent) || list[i].Of < 0 {
			return fmt.Errorf("%w: discount %d: %s percent, of %d", ErrValue, i+1, list[i].Percent, list[i].Of)
		}
	}
	return nil
}

func rateFits(r pos.Rate) bool { return r >= 0 && r <= pos.MaxRate }
