package itemcode

import "strconv"

// GTIN is a Global Trade Item Number in its normal form: the number that its 14
// digits make, check digit included. The same number printed with 8, 12, 13 or 14
// digits is the same GTIN. Zero is none.
type GTIN uint64

// Error says what is wrong with a code, and where.
type Error struct {
	At   int    // the character to look at, from 1; 0: the code as a whole
	What string // what is wrong, and what to do
}

// Error is "character 13: what".
func (e *Error) Error() string {
	if e.At == 0 {
		return e.What
	}
	return "character " + strconv.Itoa(e.At) + ": " + e.What
}

func wrong(at int, what string) *Error { return &Error{At: at, What: what} }

// ParseGTIN reads 8, 12, 13 or 14 digits. Errors: *Error.
func ParseGTIN(s string) (GTIN, error) {
	g, bad := parseGTIN(s)
	if bad != nil {
		return 0, bad
	}
	return g, nil
}

func parseGTIN(s string) (GTIN, *Error) {
	if i := notDigit(s); i >= 0 {
		return 0, wrong(i+1, "not a digit; a GTIN has digits only")
	}
	if !gtinLength(len(s)) {
		return 0, wrong(0, strconv.Itoa(len(s))+" digits; a GTIN has 8, 12, 13 or 14: scan again, or complete it")
	}
	if bad := checkLast(s); bad != nil {
		return 0, bad
	}
	g := GTIN(number(s))
	if g == 0 {
		return 0, wrong(0, "only zeros; that is no GTIN")
	}
	return g, nil
}

// Normal is the GTIN that s spells, if it does; s may be anything.
func Normal(s string) (GTIN, bool) {
	if !gtinLength(len(s)) || notDigit(s) >= 0 || s[len(s)-1] != checkDigit(s[:len(s)-1]) {
		return 0, false
	}
	g := GTIN(number(s))
	return g, g != 0
}

func gtinLength(n int) bool { return n == 8 || n >= 12 && n <= 14 }

// checkLast tells whether the last digit is the check digit of those before it.
func checkLast(s string) *Error {
	last := len(s) - 1
	if want := checkDigit(s[:last]); s[last] != want {
		return wrong(last+1, "check digit "+s[last:]+" does not fit the digits before it, which give "+string(rune(want))+
			": scan again; if it was typed, compare every digit")
	}
	return nil
}

// Digits is how many digits the shortest form has: 8, 12, 13 or 14.
func (g GTIN) Digits() int {
	switch {
	case g < 1e8:
		return 8
	case g < 1e12:
		return 12
	case g < 1e13:
		return 13
	}
	return 14
}

// Append appends the form with that many digits.
func (g GTIN) Append(dst []byte, digits int) []byte {
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= at && g > 0; i-- {
		dst[i] = byte('0' + g%10)
		g /= 10
	}
	return dst
}

// String is the normal form, 14 digits.
func (g GTIN) String() string { return string(g.Append(make([]byte, 0, 14), 14)) }

// Short is the shortest form.
func (g GTIN) Short() string { return string(g.Append(make([]byte, 0, 14), g.Digits())) }

// ExpandUPCE gives the GTIN of an eight-digit UPC-E: number system 0 or 1, six
// digits, check digit. Errors: *Error.
func ExpandUPCE(s string) (GTIN, error) {
	if i := notDigit(s); i >= 0 {
		return 0, wrong(i+1, "not a digit; a UPC-E has digits only")
	}
	if len(s) != 8 {
		return 0, wrong(0, strconv.Itoa(len(s))+" digits; a UPC-E has 8 with its number system and check digit")
	}
	if s[0] > '1' {
		return 0, wrong(1, "number system "+s[:1]+"; a UPC-E begins with 0 or 1")
	}
	b := [12]byte{'0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', s[7]}
	copy(b[:], s[:3])
	switch d := s[6]; {
	case d <= '2':
		b[3] = d
		copy(b[8:], s[3:6])
	case d == '3':
		b[3] = s[3]
		copy(b[9:], s[4:6])
	case d == '4':
		copy(b[3:], s[3:5])
		b[10] = s[5]
	default:
		copy(b[3:], s[3:6])
		b[10] = d
	}
	g, bad := parseGTIN(string(b[:]))
	if bad != nil {
		if bad.At > 0 {
			bad.At = len(s)
		}
		return 0, bad
	}
	return g, nil
}

// number reads digits; there are at most 18.
func number(s string) (n uint64) {
	for i := 0; i < len(s); i++ {
		n = n*10 + uint64(s[i]-'0')
	}
	return n
}

// notDigit is the place of the first character that is no digit, or -1.
func notDigit(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return -1
}
