package card

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos"
	"posd/pos/event"
)

// MaxLine bounds a message, its newline included.
const MaxLine = 4096

const version = 1

// ErrMessage means that a line is not a message of the protocol.
var ErrMessage = errors.New("not a message of the payment protocol")

// Greeting is what a payment terminal says first on each connection.
type Greeting struct {
	Terminal  string    // its name, 1 to 32 of A-Z a-z 0-9 _ - .
	Memory    string    // names what it remembers; another one once it has forgotten anything
	Forwarded pos.Money // of its offline approvals, since that memory began
}

// What can be asked.
const (
	AskAuthorise = "authorise"
	AskRefund    = "refund"
	AskStatus    = "status"
	AskReverse   = "reverse"
)

// Request is the one question of a connection.
type Request struct {
	Ask         string
	Reference   string    // of the payment, for ever
	Amount      pos.Money // above zero, also of a refund
	Currency    pos.Currency
	OfflineMost pos.Money // that may be approved without the acquirer
	Seconds     int       // after which posd waits no more
}

// States of a payment, in an answer.
const (
	Approved = "approved"
	Declined = "declined"
	Reversed = "reversed"
	Pending  = "pending" // the customer, or the acquirer, is at it
	Absent   = "absent"  // never heard of it, and never will act on it
)

// Answer is what became of a payment.
type Answer struct {
	Reference string
	State     string
	Amount    pos.Money // of an approved one
	Number    string    // the payment terminal's own, on its slip
	Auth      string
	Brand     string
	Last4     string
	Offline   bool   // approved without the acquirer, and not forwarded yet; or reversed, and never forwarded
	Reason    string // of a refusal, for people
	Text      string // what the customer is shown meanwhile
}

// Append appends the line, with its newline.
func (g *Greeting) Append(dst []byte) []byte {
	dst = event.AppendString(append(dst, `{"v":1,"terminal":`...), g.Terminal)
	dst = event.AppendString(append(dst, `,"memory":`...), g.Memory)
	dst = number(dst, `,"forwarded":`, int64(g.Forwarded))
	return append(dst, "}\n"...)
}

// Append appends the line, with its newline.
func (r *Request) Append(dst []byte) []byte {
	dst = event.AppendString(append(dst, `{"v":1,"ask":`...), r.Ask)
	dst = event.AppendString(append(dst, `,"reference":`...), r.Reference)
	dst = number(dst, `,"amount":`, int64(r.Amount))
	dst = event.AppendString(append(dst, `,"currency":`...), r.Currency.Code)
	dst = number(dst, `,"exponent":`, int64(r.Currency.Exponent))
	if r.Ask == AskAuthorise {
		dst = number(dst, `,"offline_most":`, int64(r.OfflineMost))
	}
	if r.Seconds > 0 {
		dst = number(dst, `,"seconds":`, int64(r.Seconds))
	}
	return append(dst, "}\n"...)
}

// Append appends the line, with its newline.
func (a *Answer) Append(dst []byte) []byte {
	dst = event.AppendString(append(dst, `{"v":1,"reference":`...), a.Reference)
	dst = event.AppendString(append(dst, `,"state":`...), a.State)
	if a.Amount != 0 {
		dst = number(dst, `,"amount":`, int64(a.Amount))
	}
	for _, m := range []struct{ name, value string }{
		{`,"number":`, a.Number}, {`,"auth":`, a.Auth}, {`,"brand":`, a.Brand}, {`,"last4":`, a.Last4},
		{`,"reason":`, a.Reason}, {`,"text":`, a.Text},
	} {
		if m.value != "" {
			dst = event.AppendString(append(dst, m.name...), m.value)
		}
	}
	if a.Offline {
		dst = append(dst, `,"offline":true`...)
	}
	return append(dst, "}\n"...)
}

func number(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}

// ParseGreeting reads a greeting. Errors: ErrMessage.
func ParseGreeting(line []byte) (Greeting, error) {
	var g Greeting
	err := parse(line, map[string]any{"terminal": &g.Terminal, "memory": &g.Memory, "forwarded": &g.Forwarded})
	switch {
	case err != nil:
	case !isName(g.Terminal):
		err = fmt.Errorf("%w: \"terminal\" has to be a name of 1 to 32 letters, digits, _, - and points", ErrMessage)
	case g.Memory == "" || len(g.Memory) > 64 || !isPlain(g.Memory):
		err = fmt.Errorf("%w: \"memory\" has to be 1 to 64 characters", ErrMessage)
	case g.Forwarded < 0:
		err = fmt.Errorf("%w: \"forwarded\" is below zero", ErrMessage)
	}
	return g, err
}

// ParseRequest reads a request. Errors: ErrMessage.
func ParseRequest(line []byte) (Request, error) {
	var r Request
	var exponent, seconds pos.Money
	err := parse(line, map[string]any{
		"ask": &r.Ask, "reference": &r.Reference, "amount": &r.Amount, "currency": &r.Currency.Code, "exponent": &exponent,
		"offline_most": &r.OfflineMost, "seconds": &seconds,
	})
	r.Currency.Exponent, r.Seconds = int(min(max(exponent, 0), 8)), int(min(max(seconds, 0), 3600))
	switch {
	case err != nil:
	case r.Ask != AskAuthorise && r.Ask != AskRefund && r.Ask != AskStatus && r.Ask != AskReverse:
		err = fmt.Errorf("%w: \"ask\" is none of authorise, refund, status and reverse", ErrMessage)
	case r.Reference == "" || len(r.Reference) > 64 || !isPlain(r.Reference):
		err = fmt.Errorf("%w: \"reference\" has to be 1 to 64 characters", ErrMessage)
	case r.Amount <= 0 || r.OfflineMost < 0:
		err = fmt.Errorf("%w: amounts are above zero", ErrMessage)
	}
	return r, err
}

// ParseAnswer reads an answer. Texts are bounded and hold no card number then.
// Errors: ErrMessage.
func ParseAnswer(line []byte) (Answer, error) {
	var a Answer
	err := parse(line, map[string]any{
		"reference": &a.Reference, "state": &a.State, "amount": &a.Amount, "number": &a.Number, "auth": &a.Auth, "brand": &a.Brand,
		"last4": &a.Last4, "offline": &a.Offline, "reason": &a.Reason, "text": &a.Text,
	})
	if err != nil {
		return Answer{}, err
	}
	switch a.State {
	case Approved, Declined, Reversed, Pending, Absent:
	default:
		return Answer{}, fmt.Errorf("%w: \"state\" is none of approved, declined, reversed, pending and absent", ErrMessage)
	}
	a.Number = plain(a.Number, 64)
	if pos.CheckReference(a.Number) != nil {
		a.Number = ""
	}
	a.Auth, a.Brand = clean(a.Auth, 32), clean(a.Brand, 32)
	a.Reason, a.Text = clean(a.Reason, 200), clean(a.Text, 200)
	if len(a.Last4) != 4 || strings.Trim(a.Last4, "0123456789") != "" {
		a.Last4 = ""
	}
	return a, nil
}

// parse reads the members of one object into what members point to: texts, amounts,
// flags. Other members are skipped: the other side may be newer.
func parse(line []byte, members map[string]any) error {
	if len(line) > MaxLine {
		return fmt.Errorf("%w: longer than %d bytes", ErrMessage, MaxLine)
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(line))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return fmt.Errorf("%w: no JSON object", ErrMessage)
	}
	v := pos.Money(0)
	members["v"] = &v
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return fmt.Errorf("%w: %v", ErrMessage, err)
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return fmt.Errorf("%w: %v", ErrMessage, err)
		}
		if to, known := members[key]; known && !set(to, value) {
			return fmt.Errorf("%w: %q is not of its type", ErrMessage, key)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return fmt.Errorf("%w: %v", ErrMessage, err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the object", ErrMessage)
	}
	if v != version {
		return fmt.Errorf("%w: \"v\" is %d, this release speaks %d", ErrMessage, v, version)
	}
	return nil
}

func set(to any, value jsontext.Value) bool {
	switch to := to.(type) {
	case *string:
		if value.Kind() != '"' {
			return false
		}
		b, err := jsontext.AppendUnquote(nil, value)
		*to = string(b)
		return err == nil
	case *pos.Money:
		n, err := strconv.ParseInt(string(value), 10, 64)
		*to = pos.Money(n)
		return err == nil && n <= int64(pos.MaxAmount) && n >= -int64(pos.MaxAmount)
	case *bool:
		*to = value.Kind() == 't'
		return value.Kind() == 't' || value.Kind() == 'f'
	}
	return false
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// clean is plain without what could be a card number, which has 12 to 19 digits.
func clean(s string, most int) string {
	digits := 0
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			if digits++; digits == 12 {
				return plain("(withheld: it could be a card number)", most)
			}
		case unicode.IsLetter(r): // whatever else stands between them
			digits = 0
		}
	}
	return plain(s, most)
}

// plain makes a text of a payment terminal fit to be kept: bounded, and of one line.
func plain(s string, most int) string {
	b := make([]byte, 0, min(len(s), most))
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == 0x2028 || r == 0x2029 {
			r = ' '
		}
		if len(b)+utf8.RuneLen(r) > most {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}
