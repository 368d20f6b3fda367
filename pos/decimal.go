package pos

import (
	"errors"
	"fmt"
	"strconv"
)

// What the parsers and the arithmetic of this package refuse.
var (
	ErrSyntax   = errors.New("not a plain decimal number")
	ErrOverflow = errors.New("number too large")
	ErrNegative = errors.New("number below zero")
	ErrPositive = errors.New("number above zero")
	ErrDiscount = errors.New("discount not possible") // more than all, or off goods that come back
)

// Bounds of what one sale may hold. Sums of accepted amounts cannot leave int64.
const (
	MaxAmount Money = 1e15 // minor units, of a line and of a sale
	MaxQty    Qty   = 1e15 // thousandths: 10^12 units
	MaxRate   Rate  = 1e7  // parts per million: 1,000 %
)

const (
	qtyDecimals  = 3 // thousandths
	rateDecimals = 4 // a percent is 10^4 parts per million
)

// ParseQty reads a quantity such as "2", "1.25" or "-0.5", with at most three
// decimals. It takes a number as JSON writes it, without an exponent.
// Errors: ErrSyntax, ErrOverflow beyond MaxQty.
func ParseQty(s string) (Qty, error) {
	n, err := parseDecimal(s, qtyDecimals, int64(MaxQty))
	if err != nil {
		return 0, fmt.Errorf("quantity %s: %w (at most 3 decimals, for example 1.250)", clip(s), err)
	}
	return Qty(n), nil
}

// String writes the shortest text that ParseQty reads as q: "1.5", not "1.500".
func (q Qty) String() string { return string(q.Append(nil)) }

// Append appends String to dst.
func (q Qty) Append(dst []byte) []byte {
	return appendDecimal(dst, int64(q), qtyDecimals, true)
}

// ParseRate reads a tax rate in percent, such as "19", "7.25" or "0", with at
// most four decimals. Errors: ErrSyntax, ErrNegative, ErrOverflow beyond MaxRate.
func ParseRate(s string) (Rate, error) {
	n, err := parseDecimal(s, rateDecimals, int64(MaxRate))
	if err == nil && n < 0 {
		err = ErrNegative
	}
	if err != nil {
		return 0, fmt.Errorf("tax rate %s: %w (percent with at most 4 decimals, for example 7.25)", clip(s), err)
	}
	return Rate(n), nil
}

// String writes the rate in percent, as short as ParseRate reads it back: "19".
func (r Rate) String() string { return string(r.Append(nil)) }

// Append appends String to dst.
func (r Rate) Append(dst []byte) []byte {
	return appendDecimal(dst, int64(r), rateDecimals, true)
}

// ParseMoney reads an amount in major units, such as "1.99" for 199 cents, with
// at most the currency's decimals. Errors: ErrSyntax, ErrOverflow beyond MaxAmount.
func ParseMoney(s string, c Currency) (Money, error) {
	n, err := parseDecimal(s, c.Exponent, int64(MaxAmount))
	if err != nil {
		return 0, fmt.Errorf("amount %s: %w (%s has %d decimals)", clip(s), err, c.Code, c.Exponent)
	}
	return Money(n), nil
}

// Format writes the amount in major units with all of the currency's decimals
// and without its name: "2.50".
func (m Money) Format(c Currency) string { return string(m.Append(nil, c)) }

// Append appends Format to dst.
func (m Money) Append(dst []byte, c Currency) []byte {
	return appendDecimal(dst, int64(m), c.Exponent, false)
}

// parseDecimal reads [-]digits[.digits] as an integer scaled by 10^decimals.
// Leading zeros, a bare point, a plus sign and an exponent are refused, so that
// a text has one meaning everywhere.
func parseDecimal(s string, decimals int, limit int64) (int64, error) {
	digits, negative := s, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	n, seen, fraction := int64(0), 0, -1 // fraction: digits after the point, -1 before it
	for i := 0; i < len(digits); i++ {
		ch := digits[i]
		if ch == '.' && fraction < 0 && seen > 0 {
			fraction = 0
			continue
		}
		if ch < '0' || ch > '9' {
			return 0, ErrSyntax
		}
		if fraction < 0 && seen == 1 && digits[0] == '0' {
			return 0, ErrSyntax // 01
		}
		if fraction >= 0 {
			if fraction++; fraction > decimals {
				return 0, ErrSyntax
			}
		}
		seen++
		if n = n*10 + int64(ch-'0'); n > limit {
			return 0, ErrOverflow
		}
	}
	if seen == 0 || fraction == 0 {
		return 0, ErrSyntax
	}
	for f := max(fraction, 0); f < decimals; f++ {
		if n *= 10; n > limit {
			return 0, ErrOverflow
		}
	}
	if negative {
		n = -n
	}
	return n, nil
}

// appendDecimal writes n / 10^decimals; trim leaves out trailing zeros after the
// point. It is right for every int64.
func appendDecimal(dst []byte, n int64, decimals int, trim bool) []byte {
	u := uint64(n)
	if n < 0 {
		dst = append(dst, '-')
		u = -u
	}
	scale := uint64(1)
	for range decimals {
		scale *= 10
	}
	dst = strconv.AppendUint(dst, u/scale, 10)
	fraction := u % scale
	if decimals == 0 || trim && fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for scale > 1 && (!trim || fraction > 0) {
		scale /= 10
		dst = append(dst, byte('0'+fraction/scale))
		fraction %= scale
	}
	return dst
}

// clip quotes s for an error, shortened: the text may come from the network.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
