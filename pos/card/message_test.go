package card

import (
	"errors"
	"strings"
	"testing"

	"posd/pos"
)

var euro = pos.Currency{Code: "EUR", Exponent: 2}

func TestMessagesReadBack(t *testing.T) {
	g := Greeting{Terminal: "P400-17", Memory: "b1946ac9", Forwarded: 12300}
	if got, err := ParseGreeting(g.Append(nil)); err != nil || got != g {
		t.Errorf("%+v, %v", got, err)
	}
	r := Request{Ask: AskAuthorise, Reference: "9f3a61c2-57-1", Amount: 1234, Currency: euro, OfflineMost: 1234, Seconds: 120}
	if got, err := ParseRequest(r.Append(nil)); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	a := Answer{Reference: "9f3a61c2-57-1", State: Approved, Amount: 1234, Number: "000123", Auth: "A1B2C3", Brand: "visa", Last4: "1111", Offline: true, Reason: `"so" ü`, Text: "thank you"}
	if got, err := ParseAnswer(a.Append(nil)); err != nil || got != a {
		t.Errorf("%+v, %v", got, err)
	}
}

// What docs/payment.md shows is what is sent.
func TestMessagesAsDocumented(t *testing.T) {
	for want, line := range map[string][]byte{
		`{"v":1,"terminal":"P400-17","memory":"b1946ac9","forwarded":12300}`: (&Greeting{Terminal: "P400-17", Memory: "b1946ac9", Forwarded: 12300}).Append(nil),
		`{"v":1,"ask":"authorise","reference":"9f3a61c2-57-1","amount":1234,"currency":"EUR","exponent":2,"offline_most":0,"seconds":120}`: (&Request{
			Ask: AskAuthorise, Reference: "9f3a61c2-57-1", Amount: 1234, Currency: euro, Seconds: 120}).Append(nil),
	} {
		if string(line) != want+"\n" {
			t.Errorf("%s, want %s", line, want)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	const good = `{"v":1,"reference":"r","state":"approved","amount":5}`
	if _, err := ParseAnswer([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"empty":          "",
		"no object":      `[1]`,
		"broken":         good[:len(good)-1],
		"two":            good + good,
		"other version":  strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no version":     strings.Replace(good, `"v":1,`, ``, 1),
		"no state":       strings.Replace(good, `"state":"approved",`, ``, 1),
		"other state":    strings.Replace(good, `approved`, `perhaps`, 1),
		"state twice":    strings.Replace(good, `"amount":5`, `"state":"declined"`, 1),
		"amount as text": strings.Replace(good, `5`, `"5"`, 1),
		"fraction":       strings.Replace(good, `5`, `5.0`, 1),
		"too much":       strings.Replace(good, `5`, `5000000000000000000`, 1),
		"not UTF-8":      strings.Replace(good, `"r"`, "\"\xff\"", 1),
		"too long":       strings.Replace(good, `"r"`, `"`+strings.Repeat("r", MaxLine)+`"`, 1),
	} {
		if a, err := ParseAnswer([]byte(line)); !errors.Is(err, ErrMessage) || a != (Answer{}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	for name, line := range map[string]string{
		"name": `{"v":1,"terminal":"a b","memory":"m"}`, "no memory": `{"v":1,"terminal":"a"}`,
		"memory": `{"v":1,"terminal":"a","memory":"` + strings.Repeat("m", 65) + `"}`, "forwarded": `{"v":1,"terminal":"a","memory":"m","forwarded":-1}`,
	} {
		if _, err := ParseGreeting([]byte(line)); !errors.Is(err, ErrMessage) {
			t.Errorf("greeting, %s: %v", name, err)
		}
	}
	for name, line := range map[string]string{
		"ask": `{"v":1,"ask":"steal","reference":"r","amount":1}`, "reference": `{"v":1,"ask":"status","amount":1}`, "amount": `{"v":1,"ask":"refund","reference":"r","amount":-1}`,
	} {
		if _, err := ParseRequest([]byte(line)); !errors.Is(err, ErrMessage) {
			t.Errorf("request, %s: %v", name, err)
		}
	}
}

// No card number gets into the journal, whatever a payment terminal sends where.
func TestNoCardNumberIsKept(t *testing.T) {
	for _, pan := range []string{"4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "4111.1111.1111.1111", "4111/1111/1111/1111", "card 4111111111111111, thank you", "4111111111111111\u2028"} {
		a := Answer{Reference: "r", State: Declined, Number: pan, Auth: pan, Brand: pan, Last4: pan, Reason: pan, Text: pan}
		got, err := ParseAnswer(a.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{got.Auth, got.Brand, got.Last4, got.Reason, got.Text} {
			if digits(s) > 8 {
				t.Errorf("%q keeps %q", pan, s)
			}
		}
		if pos.CheckReference(got.Number) != nil {
			t.Errorf("number %q", got.Number)
		}
	}
	got, err := ParseAnswer([]byte(`{"v":1,"reference":"r","state":"approved","number":"632510394712","auth":"12345678901","last4":"11a1","reason":"a\nb\u0000c"}`))
	if err != nil || got.Number != "632510394712" || got.Auth != "12345678901" || got.Last4 != "" || got.Reason != "a b c" {
		t.Errorf("%+v, %v", got, err)
	}
}

func digits(s string) (n int) {
	for _, c := range s {
		if c >= '0' && c <= '9' {
			n++
		}
	}
	return n
}

func FuzzMessages(f *testing.F) {
	f.Add((&Answer{Reference: "r", State: Approved, Amount: 5, Offline: true, Last4: "1111"}).Append(nil))
	f.Add((&Greeting{Terminal: "a", Memory: "m"}).Append(nil))
	f.Add((&Request{Ask: AskRefund, Reference: "r", Amount: 1, Currency: euro}).Append(nil))
	f.Add([]byte(`{"v":1,"state":"absent","reference":"4111111111111111","x":[{"y":1}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if a, err := ParseAnswer(line); err == nil {
			if len(a.Number) > 64 || len(a.Auth) > 32 || len(a.Reason) > 200 || strings.ContainsAny(a.Reason+a.Text+a.Number, "\n\r\x00") {
				t.Fatalf("%+v", a)
			}
			if again, err := ParseAnswer(a.Append(nil)); err != nil || again != a {
				t.Fatalf("%+v, %+v, %v", a, again, err)
			}
		}
		if g, err := ParseGreeting(line); err == nil {
			if again, err := ParseGreeting(g.Append(nil)); err != nil || again != g {
				t.Fatalf("%+v, %v", again, err)
			}
		}
		if r, err := ParseRequest(line); err == nil {
			if again, err := ParseRequest(r.Append(nil)); err != nil || again.Reference != r.Reference || again.Amount != r.Amount {
				t.Fatalf("%+v, %v", again, err)
			}
		}
	})
}
