package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// An order is what head office decides about one terminal: a configuration, or a
// command. It is signed, so that nobody who can merely write to the NATS servers
// can give one, and numbered, so that an old one cannot be given again:
//
//	<128 hexadecimal digits: Ed25519 over "posd order 1\n" and all behind this line>\n
//	{"v":1,"store":"s1","terminal":"t1","serial":1795247911250,"kind":"config"}\n
//	<body, MaxOrderBody bytes at most>
//
// The body stays as it was written: a configuration can be read in the bucket.

// ErrOrder is the error of an order or an answer that cannot be read.
var ErrOrder = errors.New("not a valid order")

// ErrSignature is the error of an order that head office has not signed.
var ErrSignature = errors.New("the signature is not head office's")

const (
	// MaxOrderBody is the longest body of an order, in bytes.
	MaxOrderBody = 16 << 10
	// MaxAnswerData is the most that one answer carries behind its header, in bytes.
	MaxAnswerData = 512 << 10

	maxHeader   = 1024
	orderDomain = "posd order 1\n"
	sigDigits   = 2 * ed25519.SignatureSize
)

// KindConfig is the kind of an order whose body is a configuration. All other kinds
// are commands, and the kind is the command's name.
const KindConfig = "config"

// The commands.
const (
	CommandStatus    = "status"     // Data is what GET /v1/status answers
	CommandSync      = "sync"       // ship now, whatever pause the uplink is in; Reason says how far it is
	CommandBundle    = "bundle"     // Data is diagnostics, see AppendFile, compressed as an s2 block
	CommandLogLevel  = "log-level"  // Body "debug 30m": the level, and how long it holds
	CommandRotateKey = "rotate-key" // see NewKey; Body is a JWT, or nothing: then Data is a NewKey
)

// Order is an order. Serial grows with each order of the same class (configuration,
// command) to the same terminal.
type Order struct {
	Store, Terminal string
	Serial          uint64 // from 1
	Kind            string
	Expires         int64 // Unix seconds after which a terminal that knows the time refuses; 0: never
	Body            []byte
}

// Sign writes the order with its signature.
func (o *Order) Sign(dst []byte, key ed25519.PrivateKey) ([]byte, error) {
	if err := o.check(); err != nil {
		return dst, err
	}
	said := append(make([]byte, 0, 256+len(o.Body)), orderDomain...)
	said = append(said, `{"v":1,"store":"`+o.Store+`","terminal":"`+o.Terminal+`","serial":`...)
	said = strconv.AppendUint(said, o.Serial, 10)
	said = append(said, `,"kind":"`+o.Kind+`"`...)
	if o.Expires != 0 {
		said = strconv.AppendInt(append(said, `,"expires":`...), o.Expires, 10)
	}
	said = append(append(said, "}\n"...), o.Body...)
	dst = hex.AppendEncode(dst, ed25519.Sign(key, said))
	return append(append(dst, '\n'), said[len(orderDomain):]...), nil
}

func (o *Order) check() error {
	switch {
	case !isToken(o.Store) || !isToken(o.Terminal):
		return fmt.Errorf("%w: store %q or terminal %q is no name", ErrOrder, o.Store, o.Terminal)
	case !isToken(o.Kind):
		return fmt.Errorf("%w: kind %q is no name", ErrOrder, o.Kind)
	case o.Serial == 0:
		return fmt.Errorf("%w: it has no serial number", ErrOrder)
	case o.Expires < 0:
		return fmt.Errorf("%w: it expires before 1970", ErrOrder)
	case len(o.Body) > MaxOrderBody:
		return fmt.Errorf("%w: the body has %d bytes, at most %d", ErrOrder, len(o.Body), MaxOrderBody)
	}
	return nil
}

// OpenOrder verifies the signature, before it looks at anything else, and reads the
// order. Body is a part of b. Errors: ErrSignature, ErrOrder.
func OpenOrder(b []byte, key ed25519.PublicKey) (Order, error) {
	if len(b) > sigDigits+1+maxHeader+1+MaxOrderBody {
		return Order{}, fmt.Errorf("%w: it has %d bytes", ErrOrder, len(b))
	}
	if len(b) <= sigDigits || b[sigDigits] != '\n' {
		return Order{}, fmt.Errorf("%w: it does not begin with a signature", ErrOrder)
	}
	var sig [ed25519.SignatureSize]byte
	if _, err := hex.Decode(sig[:], b[:sigDigits]); err != nil {
		return Order{}, fmt.Errorf("%w: signature: %w", ErrOrder, err)
	}
	said := b[sigDigits+1:]
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(orderDomain), said...), sig[:]) {
		return Order{}, ErrSignature
	}
	header, body, ok := bytes.Cut(said, []byte{'\n'})
	if !ok || len(header) > maxHeader {
		return Order{}, fmt.Errorf("%w: it has no header of at most %d bytes", ErrOrder, maxHeader)
	}
	o := Order{Body: body}
	var expires uint64
	err := parseNotice(header, map[string]func(jsontext.Token) error{
		"store":    stringField(&o.Store),
		"terminal": stringField(&o.Terminal),
		"serial":   uintField(&o.Serial),
		"kind":     stringField(&o.Kind),
		"expires":  uintField(&expires),
	}, "store", "terminal", "serial", "kind")
	if err != nil {
		return Order{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	o.Expires = int64(expires)
	if err := o.check(); err != nil {
		return Order{}, err
	}
	return o, nil
}

// Digest names the exact bytes of an order.
func Digest(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

// What became of an order, as State of an answer says.
const (
	StateApplied = "applied" // a configuration is in force
	StateRefused = "refused" // nothing was done; Reason says why
	StateDone    = "done"    // a command was carried out
	StateFailed  = "failed"  // a command was tried, and Reason says what was in the way
	StateUnknown = "unknown" // a command was begun, and how it ended is not known
)

// Answer is what a terminal says about an order: one header line, then Data.
type Answer struct {
	Store, Terminal string
	Serial          uint64 // 0: of an order that could not be read
	Kind            string // "" likewise
	State           string
	Reason          string
	Config          string // hash of the configuration in force, hexadecimal
	Data            []byte // what a command was to fetch
}

// Append writes the answer.
func (a *Answer) Append(dst []byte) []byte {
	text := func(name, s string) {
		if s != "" {
			dst = append(dst, `,"`+name+`":`...)
			dst, _ = jsontext.AppendQuote(dst, s) // the error only reports replaced UTF-8
		}
	}
	dst = append(dst, `{"v":1`...)
	text("store", a.Store)
	text("terminal", a.Terminal)
	dst = strconv.AppendUint(append(dst, `,"serial":`...), a.Serial, 10)
	text("kind", a.Kind)
	text("state", a.State)
	text("reason", a.Reason)
	text("config", a.Config)
	return append(append(dst, "}\n"...), a.Data...)
}

// MaxReason is the longest Reason that a header has room for, in bytes.
const MaxReason = 2048

// ParseAnswer is the inverse of Append, as strict as ParseWatermark. Data is a part
// of b. Errors: ErrOrder.
func ParseAnswer(b []byte) (Answer, error) {
	header, data, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || len(data) > MaxAnswerData {
		return Answer{}, fmt.Errorf("%w: answer: no header, or %d bytes behind it, at most %d", ErrOrder, len(data), MaxAnswerData)
	}
	a := Answer{Data: data}
	err := parseNotice(header, map[string]func(jsontext.Token) error{
		"store":    stringField(&a.Store),
		"terminal": stringField(&a.Terminal),
		"serial":   uintField(&a.Serial),
		"kind":     stringField(&a.Kind),
		"state":    stringField(&a.State),
		"reason":   stringField(&a.Reason),
		"config":   stringField(&a.Config),
	}, "store", "terminal", "serial", "state")
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("%w: answer: %w", ErrOrder, err)
	case !isToken(a.Store) || !isToken(a.Terminal):
		return Answer{}, fmt.Errorf("%w: answer: store %q or terminal %q is no name", ErrOrder, a.Store, a.Terminal)
	case a.State == "":
		return Answer{}, fmt.Errorf("%w: answer: it does not say what became of the order", ErrOrder)
	}
	return a, nil
}

// ConfigKey is the key in Bucket of a terminal's configuration.
func ConfigKey(store, terminal string) string { return store + "." + terminal + ".config" }

// CommandSubject is where a terminal takes the command of that name; ">" for all.
func CommandSubject(store, terminal, command string) string {
	return "pos.cmd." + store + "." + terminal + "." + command
}

// AnswerSubject is where a terminal answers an order.
func AnswerSubject(shard int, store, terminal string, serial uint64) string {
	return AnswerPrefix(shard) + store + "." + terminal + "." + strconv.FormatUint(serial, 10)
}

// AnswerPrefix is the common beginning of all answers of a shard, with the last dot.
func AnswerPrefix(shard int) string { return "pos.ans." + strconv.Itoa(shard) + "." }

// ParseAnswerSubject is the inverse of AnswerSubject.
func ParseAnswerSubject(s string) (shard int, store, terminal string, serial uint64, err error) {
	bad := fmt.Errorf("%w: subject %q is not pos.ans.<shard>.<store>.<terminal>.<serial>", ErrOrder, s)
	t := strings.Split(s, ".")
	if len(t) != 6 || t[0] != "pos" || t[1] != "ans" || !isToken(t[3]) || !isToken(t[4]) {
		return 0, "", "", 0, bad
	}
	shard, err = strconv.Atoi(t[2])
	if err != nil || shard < 0 || strconv.Itoa(shard) != t[2] {
		return 0, "", "", 0, bad
	}
	serial, err = strconv.ParseUint(t[5], 10, 64)
	if err != nil || strconv.FormatUint(serial, 10) != t[5] {
		return 0, "", "", 0, bad
	}
	return shard, t[3], t[4], serial, nil
}
