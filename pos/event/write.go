package event

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"posd/pos"
)

// ErrValue means that an event holds a value that its JSON has no form for; the
// writers refuse it, so that whatever is in the journal can be read back.
var ErrValue = errors.New("value outside the event schema")

// AppendEvent appends the event as one JSON object. It sets the version and the
// type itself and takes the rest of the header from h. Strings that are not
// valid UTF-8 are repaired with U+FFFD. Nothing is allocated when dst has room.
// Errors: ErrValue; dst is then returned as it was.
func (e *SaleCompleted) AppendEvent(dst []byte, h Header) ([]byte, error) {
	kind := TypeSaleCompleted
	if e.Training {
		kind = TypeTraining
	}
	if err := e.check(); err != nil {
		return dst, fmt.Errorf("%s: %w", kind, err)
	}
	return append(e.AppendData(appendHeader(dst, kind, h)), '}'), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ShiftOpened) AppendEvent(dst []byte, h Header) ([]byte, error) {
	if err := checkCurrency(e.Currency); err != nil {
		return dst, fmt.Errorf("%s: %w", TypeShiftOpened, err)
	}
	dst = appendHeader(dst, TypeShiftOpened, h)
	dst = appendUint(dst, `{"shift":`, e.Shift)
	dst = appendText(dst, `,"business_date":`, e.BusinessDate)
	dst = appendText(dst, `,"operator":`, e.Operator)
	dst = appendTrue(dst, `,"implicit":`, e.Implicit)
	dst = appendCurrency(dst, e.Currency)
	dst = appendNumber(dst, `,"float":`, e.Float)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ShiftHanded) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeShiftHanded, h)
	dst = appendUint(dst, `{"shift":`, e.Shift)
	dst = appendText(dst, `,"from":`, e.From)
	dst = appendText(dst, `,"to":`, e.To)
	dst = appendSome(dst, `,"operator":`, e.Operator)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ShiftClosed) AppendEvent(dst []byte, h Header) ([]byte, error) {
	if err := errors.Join(checkCurrency(e.Currency), checkTaxes(e.Totals.Taxes)); err != nil {
		return dst, fmt.Errorf("%s: %w", TypeShiftClosed, err)
	}
	dst = appendHeader(dst, TypeShiftClosed, h)
	dst = appendUint(dst, `{"shift":`, e.Shift)
	dst = appendText(dst, `,"business_date":`, e.BusinessDate)
	dst = appendTrue(dst, `,"implicit":`, e.Implicit)
	dst = appendCurrency(dst, e.Currency)
	if e.Z != 0 {
		dst = appendUint(dst, `,"z":`, e.Z)
	}
	dst = appendSome(dst, `,"operator":`, e.Operator)
	dst = appendSome(dst, `,"approved":`, e.Approved)
	dst = appendNumber(dst, `,"expected":`, e.Expected)
	if e.Counted {
		dst = appendInt(dst, `,"declared":`, e.Declared)
	}
	dst = append(dst, `,"totals":`...)
	return append(e.Totals.AppendData(dst), "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *TerminalStarted) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeTerminalStarted, h)
	dst = appendText(dst, `{"release":`, e.Release)
	dst = appendUint(dst, `,"incarnation":`, e.Incarnation)
	dst = appendText(dst, `,"config":`, e.Config)
	dst = appendSome(dst, `,"recovered":`, e.Recovered)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *TerminalStopped) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeTerminalStopped, h)
	dst = appendText(dst, `{"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ClockStepped) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeClockStepped, h)
	dst = appendInt(dst, `{"from_ms":`, e.FromMilli)
	dst = appendInt(dst, `,"to_ms":`, e.ToMilli)
	return append(dst, "}}"...), nil
}

// AppendData appends the totals as one JSON object, as they stand in a
// shift.closed; ParseTotals reads it. It does not check the tax rates.
func (t *ShiftTotals) AppendData(dst []byte) []byte {
	dst = appendUint(dst, `{"sales":`, t.Sales)
	dst = appendInt(dst, `,"gross":`, t.Gross)
	dst = appendTaxes(dst, t.Taxes)
	dst = appendInt(dst, `,"cash":`, t.Cash)
	dst = appendInt(dst, `,"card":`, t.Card)
	dst = appendInt(dst, `,"perpetual":`, t.Perpetual)
	for _, m := range t.more() {
		if v := *m.value; v != 0 {
			dst = appendInt(append(append(append(dst, ',', '"'), m.name...), '"'), ":", v)
		}
	}
	return append(dst, '}')
}

// AppendTaxes appends the member "taxes" as it stands in the totals, with a comma
// before it.
func (t *ShiftTotals) AppendTaxes(dst []byte) []byte { return appendTaxes(dst, t.Taxes) }

// more are the sums that are left out where they are zero.
func (t *ShiftTotals) more() [24]sum {
	return [...]sum{
		{"voucher", (*int64)(&t.Voucher)}, {"account", (*int64)(&t.Account)},
		{"refunds", &t.Refunds}, {"refunded", (*int64)(&t.Refunded)}, {"post_voids", &t.PostVoids},
		{"discounts", (*int64)(&t.Discounts)}, {"cash_rounding", (*int64)(&t.CashRounding)},
		{"float", (*int64)(&t.Float)}, {"in", (*int64)(&t.In)}, {"out", (*int64)(&t.Out)}, {"dropped", (*int64)(&t.Dropped)},
		{"drawer_opened", &t.DrawerOpened},
		{"lines_voided", &t.LinesVoided}, {"lines_voided_sum", (*int64)(&t.LinesVoidedSum)},
		{"baskets_voided", &t.BasketsVoided}, {"baskets_voided_sum", (*int64)(&t.BasketsVoidedSum)},
		{"price_changes", &t.PriceChanges}, {"copies", &t.Copies}, {"trainings", &t.Trainings},
		{"perpetual_refunds", (*int64)(&t.PerpetualRefunds)},
		{"lines_returned", &t.LinesReturned}, {"lines_returned_sum", (*int64)(&t.LinesReturnedSum)},
		{"baskets_open", &t.BasketsOpen}, {"baskets_open_sum", (*int64)(&t.BasketsOpenSum)},
	}
}

type sum struct {
	name  string
	value *int64
}

func appendHeader(dst []byte, kind string, h Header) []byte {
	dst = appendInt(dst, `{"v":`, Version)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","time":"`...)
	dst = appendTime(dst, h.Time)
	dst = append(dst, '"')
	dst = appendSome(dst, `,"clock":`, string(h.Clock))
	dst = appendSome(dst, `,"key":`, h.Key)
	dst = appendSome(dst, `,"hash":`, h.Hash)
	dst = appendSome(dst, `,"front":`, h.Front)
	dst = appendSome(dst, `,"trace":`, h.Trace)
	return append(dst, `,"data":`...)
}

// The times that four digits of a year can write.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
)

// appendTime takes the nearest time that has a form: a clock that has gone mad
// must not stop sales, and order is the sequence number anyway.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Before(firstTime) {
		t = firstTime
	} else if t.After(lastTime) {
		t = lastTime
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// appendText appends a member's name with its punctuation, and a JSON string.
func appendText(dst []byte, name, s string) []byte {
	return AppendString(append(dst, name...), s)
}

// appendSome is appendText that leaves an empty string out.
func appendSome(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return appendText(dst, name, s)
}

func appendTrue(dst []byte, name string, v bool) []byte {
	if !v {
		return dst
	}
	return append(append(dst, name...), "true"...)
}

func appendInt[T ~int | ~int64](dst []byte, name string, v T) []byte {
	return strconv.AppendInt(append(dst, name...), int64(v), 10)
}

// appendNumber is appendInt that leaves zero out.
func appendNumber[T ~int | ~int64](dst []byte, name string, v T) []byte {
	if v == 0 {
		return dst
	}
	return appendInt(dst, name, v)
}

func appendUint(dst []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(dst, name...), v, 10)
}

func appendQty(dst []byte, name string, q pos.Qty) []byte {
	return append(q.Append(append(append(dst, name...), '"')), '"')
}

func appendRate(dst []byte, name string, r pos.Rate) []byte {
	return append(r.Append(append(append(dst, name...), '"')), '"')
}

func appendCurrency(dst []byte, c pos.Currency) []byte {
	dst = appendText(dst, `,"currency":{"code":`, c.Code)
	dst = appendInt(dst, `,"exponent":`, c.Exponent)
	return append(dst, '}')
}

// AppendString appends s as a JSON string that is valid whatever s holds:
// quotes, backslashes and control characters are escaped, and each byte that is
// not valid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0 // s[from:i] needs no change
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
