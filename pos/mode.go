package pos

import "fmt"

var (
	priceModes = [...]string{Inclusive: "inclusive", Exclusive: "exclusive"}
	roundings  = [...]string{PerDocument: "document", PerLine: "line"}
)

// String is "inclusive" or "exclusive".
func (m PriceMode) String() string { return nameOf(priceModes[:], int(m)) }

// String is "document" or "line".
func (r Rounding) String() string { return nameOf(roundings[:], int(r)) }

// ParsePriceMode reads what PriceMode.String writes.
func ParsePriceMode(s string) (PriceMode, error) {
	i, err := indexOf(priceModes[:], s)
	return PriceMode(i), err
}

// ParseRounding reads what Rounding.String writes.
func ParseRounding(s string) (Rounding, error) {
	i, err := indexOf(roundings[:], s)
	return Rounding(i), err
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "invalid"
}

func indexOf(names []string, s string) (int, error) {
	for i, name := range names {
		if name == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s is neither %q nor %q", clip(s), names[0], names[1])
}
