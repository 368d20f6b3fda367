package tradeday

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"posd/pos"
)

var errNumber = errors.New("not a number of the data set")

// parseScaled reads decimal text, also in scientific notation, as an integer
// scaled by 10^decimals: exact, and rounded once, half away from zero.
func parseScaled(s string, decimals int, limit int64) (int64, error) {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n < -400 || n > 400 { // what a float64 can print
			return 0, fmt.Errorf("%q: %w", s, errNumber)
		}
		mantissa, exponent = s[:i], n
	}
	digits := strings.TrimPrefix(mantissa, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	all := whole + fraction
	if whole == "" || point && fraction == "" || len(all) > 40 || strings.Trim(all, "0123456789") != "" {
		return 0, fmt.Errorf("%q: %w", s, errNumber)
	}
	n, _ := new(big.Int).SetString(all, 10)
	if shift := exponent - len(fraction) + decimals; shift >= 0 {
		n.Mul(n, power(shift))
	} else {
		unit := power(-shift)
		n.Mul(n, big.NewInt(2)).Add(n, unit).Quo(n, unit.Mul(unit, big.NewInt(2)))
	}
	if !n.IsInt64() || n.Int64() > limit {
		return 0, fmt.Errorf("%q: %w", s, pos.ErrOverflow)
	}
	if digits != mantissa {
		return -n.Int64(), nil
	}
	return n.Int64(), nil
}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func parseAmount(s string) (pos.Money, error) {
	n, err := parseScaled(s, Currency.Exponent, int64(pos.MaxAmount))
	return pos.Money(n), err
}

func parseQuantity(s string) (pos.Qty, error) {
	n, err := parseScaled(s, 3, int64(pos.MaxQty))
	return pos.Qty(n), err
}
