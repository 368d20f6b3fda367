package itemcode

// checkDigit is GS1's: weights 3 and 1 in turn, beginning with 3 at the right
// (General Specifications 7.9.1). It finds every single wrong digit.
func checkDigit(digits string) byte {
	sum, weight := 0, 3
	for i := len(digits) - 1; i >= 0; i-- {
		sum += int(digits[i]-'0') * weight
		weight = 4 - weight
	}
	return byte('0' + (10-sum%10)%10)
}

// The weighting tables of price and measure verifier digits (7.9.2).
const (
	weight2minus = "0246891357"
	weight3      = "0369258147"
	weight5plus  = "0516273849"
	weight5minus = "0594837261"
	// The digit whose 5- product is the index.
	inverse5minus = "0975318642"
)

// verifier is the digit that guards a price or measure of four or five digits
// (7.9.3, 7.9.4). A label is read right by its check digit in nine of ten
// misreadings of two digits; this one is for the field that costs money.
func verifier(digits string) byte {
	if len(digits) == 4 {
		sum := product(digits[0], weight2minus) + product(digits[1], weight2minus) +
			product(digits[2], weight3) + product(digits[3], weight5minus)
		return byte('0' + sum*3%10)
	}
	sum := product(digits[0], weight5plus) + product(digits[1], weight2minus) + product(digits[2], weight5minus) +
		product(digits[3], weight5plus) + product(digits[4], weight2minus)
	return inverse5minus[(10-sum%10)%10]
}

func product(digit byte, table string) int { return int(table[digit-'0'] - '0') }
