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
	dst = appendTaxes(dst, e.Taxes)
	dst = appendInt(dst, `,"total":`, e.Total)
	dst = append(dst, `,"tenders":[`...)
	for i := range e.Tenders {
		if i > 0 {
			dst = append(dst, ',')
		}
		t := &e.Tenders[i]
		dst = appendText(dst, `{"kind":`, string(t.Kind))
		dst = appendInt(dst, `,"amount":`, t.Amount)
		dst = appendSome(dst, `,"reference":`, t.Reference)
		dst = append(dst, '}')
	}
	dst = appendInt(dst, `],"change":`, e.Change)
	dst = appendInt(dst, `,"perpetual":`, e.Perpetual)
	return append(dst, '}')
}

func appendLine(dst []byte, n int, l *pos.Line) []byte {
	dst = appendInt(dst, `{"n":`, n)
	dst = appendSome(dst, `,"item":`, l.Item)
	dst = appendSome(dst, `,"description":`, l.Description)
	dst = appendSome(dst, `,"department":`, l.Department)
	dst = appendQty(dst, `,"quantity":`, l.Qty)
	dst = appendText(dst, `,"unit":`, l.Unit)
	if l.Fixed {
		dst = append(dst, `,"fixed":true`...)
	} else {
		dst = appendInt(dst, `,"price":`, l.Price)
	}
	dst = appendInt(dst, `,"amount":`, l.Amount)
	dst = appendText(dst, `,"tax":`, l.Tax)
	dst = appendRate(dst, `,"rate":`, l.Rate)
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
		l := &e.Lines[i]
		if l.Qty > pos.MaxQty || l.Qty < -pos.MaxQty || !rateFits(l.Rate) {
			return fmt.Errorf("%w: line %d: quantity %s, rate %s", ErrValue, i+1, l.Qty, l.Rate)
		}
	}
	return checkTaxes(e.Taxes)
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

func rateFits(r pos.Rate) bool { return r >= 0 && r <= pos.MaxRate }
