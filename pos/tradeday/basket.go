package tradeday

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"posd/pos"
)

// Basket is what one shopper buys and how it is paid.
type Basket struct {
	ID       string // decimal digits
	Time     time.Time
	Store    string
	Operator string
	Lines    []pos.Line // Amount is filled in
	Totals   pos.Totals
	Tenders  []pos.Tender
}

// Currency is what the amounts of all baskets are in.
var Currency = pos.Currency{Code: "USD", Exponent: 2}

// Options is how the sums of all baskets are taken.
var Options = pos.ComputeOptions{Prices: pos.Inclusive, Rounding: pos.PerDocument}

// Taxes returns the tax table that the baskets use.
func Taxes() []pos.Tax {
	return []pos.Tax{{Code: "R", Rate: 70_000}, {Code: "S", Rate: 190_000}, {Code: "E", Rate: 0}}
}

var (
	reduced = []string{
		"GROCERY", "PRODUCE", "MEAT", "MEAT-PCKGD", "DELI", "PASTRY", "NUTRITION", "SEAFOOD", "SEAFOOD-PCKGD",
		"SALAD BAR", "CHEF SHOPPE", "RESTAURANT", "FROZEN GROCERY",
	}
	exempt = []string{"COUPON", "MISCELLANEOUS", "POSTAL CENTER", "CHARITABLE CONT", "PROD-WHS SALES", "CNTRL/STORE SUP"}
)

// taxOf is the stated rule: a tax code per department.
func taxOf(department string) pos.Tax {
	taxes := Taxes()
	switch {
	case slices.Contains(reduced, department):
		return taxes[0]
	case slices.Contains(exempt, department):
		return taxes[2]
	}
	return taxes[1]
}

// settle fills in what follows from the id and the lines.
func (b *Basket) settle() error {
	b.Operator = operatorOf(b.ID)
	totals, err := pos.Compute(b.Lines, Options)
	if err != nil {
		return fmt.Errorf("basket %s: %w", b.ID, err)
	}
	b.Totals = totals
	b.Tenders = tendersOf(b.ID, totals.Total)
	return nil
}

func operatorOf(id string) string {
	if len(id) < 2 {
		return "1"
	}
	return fmt.Sprint(id[len(id)-2] - '0' + 1)
}

func tendersOf(id string, total pos.Money) []pos.Tender {
	if total == 0 {
		return nil
	}
	if id[len(id)-1] <= '5' {
		return []pos.Tender{{Kind: pos.Card, Amount: total, Reference: "slip " + id}}
	}
	return []pos.Tender{{Kind: pos.Cash, Amount: nextNote(total)}}
}

// nextNote is the smallest note that covers total, or the fewest of the largest.
func nextNote(total pos.Money) pos.Money {
	const largest = 200_00
	for _, note := range []pos.Money{5_00, 10_00, 20_00, 50_00, 100_00, largest} {
		if note >= total {
			return note
		}
	}
	return (total + largest - 1) / largest * largest
}

// parseID gives an id its plain digits, because the rules read the last ones: the
// data set has one basket by the name of 4.0128e+10.
func parseID(s string) (string, error) {
	n, err := parseScaled(s, 0, 1<<62)
	if err != nil || n < 0 {
		return "", fmt.Errorf("basket id %q is not a number", s)
	}
	return strconv.FormatInt(n, 10), nil
}
