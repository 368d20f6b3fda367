package itemcode

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"posd/pos"
)

var euro = pos.Currency{Code: "EUR", Exponent: 2}

const gs = "\x1d"

func rules(t testing.TB, patterns ...string) *Rules {
	t.Helper()
	r, err := NewRules(patterns, euro)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGTINForms(t *testing.T) {
	for _, tc := range []struct{ in, normal, short string }{
		{"96385074", "00000096385074", "96385074"},
		{"036000291452", "00036000291452", "036000291452"},
		{"0036000291452", "00036000291452", "036000291452"},
		{"00036000291452", "00036000291452", "036000291452"},
		{"4006381333931", "04006381333931", "4006381333931"},
		{"5901234123457", "05901234123457", "5901234123457"},
		{"09506000134352", "09506000134352", "9506000134352"},
		{"10614141000415", "10614141000415", "10614141000415"},
		{"9780306406157", "09780306406157", "9780306406157"}, // ISBN-13
	} {
		g, err := ParseGTIN(tc.in)
		if err != nil || g.String() != tc.normal || g.Short() != tc.short {
			t.Errorf("%s: %s, %s, %v", tc.in, g, g.Short(), err)
		}
		for digits := g.Digits(); digits <= 14; digits++ {
			form := string(g.Append(nil, digits))
			if again, err := ParseGTIN(form); gtinLength(digits) && (err != nil || again != g) {
				t.Errorf("%s as %s: %v %v", tc.in, form, again, err)
			}
		}
	}
	for in, want := range map[string]string{
		"4006381333932":  "character 13: check digit 2 does not fit the digits before it, which give 1",
		"400638133393":   "character 12: check digit 3",
		"40063813339":    "11 digits; a GTIN has 8, 12, 13 or 14",
		"400638133393x":  "character 13: not a digit",
		"":               "0 digits",
		"00000000":       "only zeros",
		"40063813339311": "character 14: check digit 1",
	} {
		if _, err := ParseGTIN(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
}

// Every single wrong digit of a GTIN-13 is found, wherever it is.
func TestEveryOneDigitErrorIsFound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	tried := 0
	for range 2000 {
		body := fmt.Sprintf("%012d", rnd.Int64N(1e12))
		good := []byte(body + string(rune(checkDigit(body))))
		if _, err := ParseGTIN(string(good)); err != nil && body != "000000000000" {
			t.Fatalf("%s: %v", good, err)
		}
		for i := range good {
			was := good[i]
			for d := byte('0'); d <= '9'; d++ {
				if d == was {
					continue
				}
				good[i] = d
				tried++
				if _, err := ParseGTIN(string(good)); err == nil {
					t.Fatalf("%s was taken for a GTIN; digit %d was %c", good, i+1, was)
				}
			}
			good[i] = was
		}
	}
	if tried != 2000*13*9 {
		t.Errorf("%d errors tried", tried)
	}
}

// The verifier digit finds every single wrong digit of a price, itself included.
func TestVerifierFindsOneDigitErrors(t *testing.T) {
	for digits, want := range map[string]byte{"2875": '9', "14685": '6'} { // General Specifications 7.9.3, 7.9.4
		if got := verifier(digits); got != want {
			t.Errorf("verifier of %s: %c, want %c", digits, got, want)
		}
	}
	for _, width := range []int{4, 5} {
		for n := range map[int]int{4: 10_000, 5: 100_000}[width] {
			s := []byte(fmt.Sprintf("%0*d", width, n))
			v := verifier(string(s))
			if n%7 != 0 {
				continue
			}
			for i := range s {
				was := s[i]
				for d := byte('0'); d <= '9'; d++ {
					if s[i] = d; d != was && verifier(string(s)) == v {
						t.Fatalf("%0*d and %s have one verifier %c", width, n, s, v)
					}
				}
				s[i] = was
			}
		}
	}
}

func TestUPCE(t *testing.T) {
	for in, want := range map[string]string{
		"04252614": "042100005264", "01234565": "012345000065", "06141939": "061400000193",
		"01234133": "012300000413", "01234544": "012340000054", "01234558": "012345000058", "01234592": "012345000092", "11234562": "112345000062",
	} {
		want = want[:11] + string(rune(checkDigit(want[:11])))
		in = in[:7] + want[11:]
		if g, err := ExpandUPCE(in); err != nil || g.Short() != want {
			t.Errorf("%s: %s %v, want %s", in, g.Short(), err, want)
		}
	}
	if g, err := ExpandUPCE("04252614"); err != nil || g.Short() != "042100005264" {
		t.Errorf("published example: %s %v", g, err)
	}
	for in, want := range map[string]string{
		"04252615": "character 8: check digit 5", "24252614": "character 1: number system 2", "0425261": "7 digits", "0425261x": "character 8",
	} {
		if _, err := ExpandUPCE(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
}

func TestIdentifiersAreUnambiguous(t *testing.T) {
	seen := map[string]bool{}
	for i := range identifiers {
		id := &identifiers[i]
		if id.least > id.most || id.numeric > id.most || id.check > id.least || id.first > id.last {
			t.Errorf("%+v", *id)
		}
		for n := int(id.first); n <= int(id.last); n++ {
			text := aiText(id, n)
			if got, ai := identify(text); len(text) != id.digits() || got != id || ai != n || seen[text] {
				t.Errorf("%s: %+v", text, got)
			}
			seen[text] = true
		}
	}
	for a := range seen {
		for n := 2; n < len(a); n++ {
			if seen[a[:n]] {
				t.Errorf("%s begins with %s", a, a[:n])
			}
		}
	}
}

// say tells all that a code says, for tables.
func say(c Code) string {
	var b strings.Builder
	for _, it := range c.Items {
		if it != "" {
			fmt.Fprintf(&b, "%s ", it)
		}
	}
	for _, m := range c.Measures {
		if m.Unit != "" {
			fmt.Fprintf(&b, "%s%s ", m.Qty, m.Unit)
		}
	}
	if c.Priced {
		fmt.Fprintf(&b, "=%d ", c.Amount)
	}
	if c.UnitPriced {
		fmt.Fprintf(&b, "@%d ", c.UnitPrice)
	}
	for name, v := range map[string]string{"batch": c.Batch} {
		if v != "" {
			fmt.Fprintf(&b, "%s:%s ", name, v)
		}
	}
	for _, f := range []struct{ name, v string }{{"serial", c.Serial}, {"before", c.BestBefore.String()}, {"sell", c.SellBy.String()}, {"expires", c.Expiry.String()}, {"addon", c.AddOn}} {
		if f.v != "" {
			fmt.Fprintf(&b, "%s:%s ", f.name, f.v)
		}
	}
	if c.Doubt != nil {
		fmt.Fprintf(&b, "doubt@%d ", c.Doubt.At)
	}
	if c.Label {
		b.WriteString("label ")
	}
	return strings.TrimSpace(b.String())
}

func TestRead(t *testing.T) {
	r := rules(t, "02IIIIIVPPPPC", "20IIIIIPPPPPC", "22IIIIVPPPPPC", "28IIIIIWW.WWWC", "29IIIIINNNNNC", "25IIIIIIIIIIC", "27IIIIWWWWC kg", "77IIIIWWWW l")
	for _, tc := range []struct{ in, want string }{
		// plain numbers
		{"4006381333931", "4006381333931"},
		{"036000291452", "036000291452"},
		{"96385074", "96385074"},
		{"01234565", "01234565 012345000065"}, // both: the eight digits are tried first
		{"04252614", "04252614 042100005264"},
		{"4006381333932", "4006381333932 doubt@13"},
		{"4011", "4011"},
		{"A-17/b", "A-17/b"},
		{"]E04006381333931", "4006381333931"},
		{"]E496385074", "96385074"},
		{"]E3977147396801212", "9771473968012 addon:12"},
		{"]C0A17", "A17"},
		{"]A04011", "4011"},
		{"]Z", "]Z"},
		// labels of scales
		{variable("02", "12345", "9", "2875"), "12345 " + variable("02", "12345", "0", "0000") + " =2875 label"},
		{variable("02", "04011", "9", "2875"), "04011 " + variable("02", "04011", "0", "0000") + " 4011 =2875 label"},
		{variable("02", "12345", "9", "2875")[1:], "12345 " + variable("02", "12345", "0", "0000")[1:] + " =2875 label"}, // UPC-A
		{"0" + variable("02", "12345", "9", "2875"), "12345 " + variable("02", "12345", "0", "0000") + " =2875 label"},   // fourteen
		{"]E0" + variable("20", "12345", "00199"), "12345 " + variable("20", "12345", "00000") + " =199 label"},
		{variable("22", "1234", "6", "14685"), "1234 " + variable("22", "1234", "0", "00000") + " =14685 label"},
		{variable("28", "12345", "01234"), "12345 " + variable("28", "12345", "00000") + " 1.234kg label"},
		{variable("29", "12345", "00006"), "12345 " + variable("29", "12345", "00000") + " 6pc label"},
		{variable("25", "0000012345"), "0000012345 12345 label"},
		{"7712340500", "1234 7712340000 0.5l label"},
		// element strings
		{"]C10109506000134352", "09506000134352 label"},
		{"]d20109506000134352" + "10ABC123" + gs + "17271231" + "21S1", "09506000134352 batch:ABC123 serial:S1 expires:2027-12-31 label"},
		{gs + "0109506000134352" + "15260200", "09506000134352 before:2026-02-28 label"},
		{"0109506000134352" + "15280200", "09506000134352 before:2028-02-29 label"},
		{"]e001" + "90614141000015" + "3103001750" + "3922" + "1475", "90614141000015 1.75kg =1475 label"},
		{"]C101" + "90614141000015" + "3102001750", "90614141000015 17.5kg label"},
		{"]C101" + "90614141000015" + "3105001500", "90614141000015 0.015kg label"},
		{"]C102" + "10614141000415" + "3712", "10614141000415 12pc label"},
		{"]C101" + "10614141000415" + "306" + gs + "10X", "10614141000415 6pc batch:X label"},
		{"]C101" + "90614141000015" + "3103001750" + "3932978" + "1475", "90614141000015 1.75kg =1475 label"},
		{"]C101" + "90614141000015" + "3103001750" + "3920" + "15", "90614141000015 1.75kg =1500 label"},
		{"]C101" + "90614141000015" + "3103001750" + gs + "8005000299", "90614141000015 1.75kg label"},
		{"]C101" + "90614141000015" + "3201000105" + "10B", "90614141000015 10.5lb batch:B label"},
		{"]C101" + "09506000134352" + "7003" + "2612311200" + gs + "9101X", "09506000134352 expires:2026-12-31 label"},
		{"(01)09506000134352(10)A(B)7(17)270101", "09506000134352 batch:A(B)7 expires:2027-01-01 label"},
		// links
		{"https://id.gs1.org/01/09520123456788/10/ABC1/21/12345?17=180426", "09520123456788 batch:ABC1 serial:12345 expires:2018-04-26 label"},
		{"]Q1https://shop.example/de/p/01/4006381333931?3103=000500&lang=de", "04006381333931 0.5kg label"},
		{"https://id.gs1.org/01/09520123456788/10/A%2FB", "09520123456788 batch:A/B label"},
		{"https://shop.example/coupon", "https://shop.example/coupon"},
	} {
		c, err := r.Read(tc.in, 2026)
		if err != nil || say(c) != tc.want {
			t.Errorf("%q\n got  %s %v\n want %s", tc.in, say(c), err, tc.want)
		}
	}
	c, err := r.Read("]C101"+"90614141000015"+"3150000002"+"3952"+"000199", 2026)
	if err != nil || say(c) != "90614141000015 2l @199 label" {
		t.Errorf("price per unit: %s %v", say(c), err)
	}
}

// variable joins the parts and adds the check digit.
func variable(parts ...string) string {
	s := strings.Join(parts, "")
	return s + string(rune(checkDigit(s)))
}

func TestReadRefuses(t *testing.T) {
	r := rules(t, "02IIIIIVPPPPC", "28IIIIIWW.WWWC", "24IIIIIP.PPPPC")
	good := variable("02", "12345", "9", "2875")
	for _, tc := range []struct{ in, want string }{
		{"", "the code is empty"},
		{strings.Repeat("1", MaxScan+1), "too long"},
		{"40063\r", "character 6: a control character"},
		{good[:12] + "0", "character 13: check digit 0"},
		{variable("02", "12345", "8", "2875"), "character 8: verifier digit 8 does not fit 2875, which gives 9"},
		{"]E0" + variable("02", "12345", "8", "2875"), "character 11: verifier digit"},
		{variable("28", "12345", "00000"), "character 8: the label says that nothing is in it"},
		{variable("24", "12345", "12345"), "character 8: the price 12345 with 4 decimals: more decimals than the till counts"},
		{"]E04006381333932", "character 16: check digit 2"},
		{"]E112", "only the add-on"},
		{"]C10109506000134353", "character 19: (01) check digit 3"},
		{"]C1010950600013435", "(01) has 13 characters and needs 14"},
		{"]C1" + "00" + "106141411234567897", "names no item"},
		{"]C1" + "10ABC", "names no item"},
		{"]C1" + "5512", "character 4: no application identifier"},
		{"]C1" + "0109506000134352" + "10" + strings.Repeat("A", 21), "at most 20 fit; the scanner may not send the separator"},
		{"]C1" + "0109506000134352" + "171302", "needs 6"},
		{"]C1" + "0109506000134352" + "17131302", "character 24: no month: 13"},
		{"]C1" + "0109506000134352" + "17260230", "no day of that month: 30"},
		{"]C1" + "0109506000134352" + "3103ABCDEF", "has to have a digit here"},
		{"]C1" + "0109506000134352" + "3105000123", "more decimals than the till counts"},
		{"]C1" + "0109506000134352" + "3932840" + "100", "currency 840 (ISO 4217), the till sells in EUR"},
		{"]C1" + "0109506000134352" + "3923" + "1475", "the price 1475 with 3 decimals"},
		{"]C1" + "0109506000134352" + "0190614141000015", "says again"},
		{"]C1" + "0109506000134352" + "10A" + gs + "10B", "says again"},
		{"(01)09506000134352(10)A B", "holds a character"},
		{"(01)095060001343", "needs 14"},
		{"https://id.gs1.org/01/09520123456789", "check digit"},
		{"https://id.gs1.org/01/09520123456788/5/1", "no application identifier"},
		{"https://id.gs1.org/01/09520123456788/10/%zz", "escape"},
	} {
		c, err := r.Read(tc.in, 2026)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q\n got  %s %v\n want %s", tc.in, say(c), err, tc.want)
		}
	}
}

func TestCentury(t *testing.T) {
	r := rules(t)
	for _, tc := range []struct {
		year int
		yy   string
		want string
	}{{2026, "76", "2076-01-31"}, {2026, "77", "1977-01-31"}, {2060, "10", "2110-01-31"}, {2060, "11", "2011-01-31"}, {2099, "05", "2105-01-31"}} {
		c, err := r.Read("]C10109506000134352"+"17"+tc.yy+"0100", tc.year)
		if err != nil || c.Expiry.String() != tc.want {
			t.Errorf("%d, %s: %s %v", tc.year, tc.yy, c.Expiry, err)
		}
	}
}

func TestMeasureInTheItemsUnit(t *testing.T) {
	c, err := rules(t).Read("]C101"+"90614141000015"+"3103001750"+"3112000250", 2026)
	if err != nil {
		t.Fatal(err)
	}
	for unit, want := range map[string]pos.Qty{"kg": 1750, "g": 1_750_000, "m": 2500, "cm": 250_000, "mm": 2_500_000, "pc": 0, "l": 0} {
		if q, ok := c.Measure(unit); q != want || ok != (want != 0) {
			t.Errorf("%s: %s %v", unit, q, ok)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, good := range []string{"02IIIIIVPPPPC", "2IIIIIVPPPPC", "21IIIIIWWWWWC", "21IIIIIWW.WWWC l", "29IIIIINNNNNC", "26XXIIIIPPPPC", "98IIIIWWWWWW", "04IIIIIIIIIIC", "28IIIIIWWWWWC 100g"} {
		if err := CheckPattern(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                    "4 to 32 digits",
		"IIIIIIII":            "character 1: a pattern begins with",
		"02PPPPPPPPPPC":       "no I says",
		"02IIIPIIPPPPC":       "character 7: the I have to stand together",
		"02IIIIIVPPWWC":       "one of P, W and N",
		"02IIIIIVPPPC":        "V goes with four or five",
		"02IIIIIVVPPPC":       "a second V",
		"02IIIIICPPPPP":       "C is the last",
		"02IIIIIVPP.PP.C":     "a second point",
		"02IIIII.VPPPPC":      "the point has to stand among",
		"29IIIIINN.NNNC":      "the point has to stand among",
		"02IIIIIVPPPPc":       `"c" has no meaning`,
		"02IIIIIVPPPPC kg":    "a unit stands behind a pattern with W",
		"21IIIIIWWWWWC ":      "a unit has 1 to 8 letters",
		"21IIIWWWWWWWWWC":     "at most 8 digits",
		"2IIIIIIIIIIIIIIIPPC": "at most 14 digits",
	} {
		if err := CheckPattern(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", bad, err, want)
		}
	}
	if _, err := NewRules([]string{"x"}, euro); err == nil {
		t.Error("a bad pattern was taken")
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	r := rules(t, "02IIIIIVPPPPC")
	for _, scan := range []string{"4006381333931", "4011", "]C10109506000134352" + "10ABC123" + gs + "17271231", "(01)09506000134352(10)A7"} {
		if n := testing.AllocsPerRun(100, func() { r.Read(scan, 2026) }); n != 0 {
			t.Errorf("%s: %v allocations", scan, n)
		}
	}
}

// FuzzRead: no scan makes the reader panic; what it reads is in bounds; an error
// says something and points into the scan; brackets change nothing.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"4006381333931", "]C10109506000134352" + "10ABC" + gs + "3922123", "(01)09506000134352(10)A7", "01234565",
		"https://id.gs1.org/01/09520123456788/10/A%2F?17=180426&3103=000500", variable("02", "12345", "9", "2875"), variable("28", "12345", "01234"), "]E3977147396801212"} {
		f.Add(s, "02IIIIIVPPPPC")
		f.Add(s, "2IIIIIWW.WWWC l")
	}
	f.Fuzz(func(t *testing.T, scan, pattern string) {
		r, err := NewRules([]string{pattern, "28IIIIIWW.WWWC"}, euro)
		if err != nil {
			if err.Error() == "" {
				t.Error("no reason")
			}
			r = rules(t, "02IIIIIVPPPPC")
		}
		c, err := r.Read(scan, 2026)
		if err != nil {
			e := err.(*Error)
			if e.What == "" || e.At < 0 || e.At > len(scan)+1 {
				t.Errorf("%q: %+v", scan, e)
			}
			return
		}
		if c.Items[0] == "" || c.Amount < 0 || c.Amount > pos.MaxAmount || c.UnitPrice < 0 {
			t.Errorf("%q: %+v", scan, c)
		}
		for _, m := range c.Measures {
			if m.Qty < 0 || m.Qty > pos.MaxQty || m.Qty != 0 && m.Unit == "" {
				t.Errorf("%q: %+v", scan, m)
			}
		}
		for _, d := range []Date{c.BestBefore, c.SellBy, c.Expiry} {
			if d != (Date{}) && (d.Month < 1 || d.Month > 12 || d.Day < 1 || int(d.Day) > daysOf(int(d.Year), int(d.Month))) {
				t.Errorf("%q: %+v", scan, d)
			}
		}
		if c.GTIN != 0 {
			if again, err := ParseGTIN(c.GTIN.String()); err != nil || again != c.GTIN {
				t.Errorf("%q: GTIN %d %v", scan, c.GTIN, err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	r := rules(b, "02IIIIIVPPPPC", "28IIIIIWW.WWWC")
	for name, scan := range map[string]string{"gtin": "4006381333931", "label": variable("02", "12345", "9", "2875"), "elements": "]C10109506000134352" + "10ABC123" + gs + "17271231"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Read(scan, 2026); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
