package outbox

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"posd/pos/event"
	"posd/sync/ledger"
)

// ContentType of a message: CloudEvents in structured mode.
const ContentType = "application/cloudevents+json"

// Prefix is the beginning of all subjects: pos.events.<store>.<event type>.
const Prefix = "pos.events."

// Types of events that have no usable one of their own.
const (
	typeMalformed = "malformed" // not an event of pos/event; bytes that are no JSON stand in data_base64
	typeOther     = "other"     // its type cannot be part of a subject
)

const maxType = 64

// Name is what an event is called in the id of a CloudEvent: "<journal>:<seq>:<head>".
func Name(n ledger.Name) string {
	b := make([]byte, 0, 118)
	b = hex.AppendEncode(b, n.Journal[:])
	b = strconv.AppendUint(append(b, ':'), n.Seq, 10)
	b = hex.AppendEncode(append(b, ':'), n.Head[:])
	return string(b)
}

// cloudEvent is one message.
type cloudEvent struct {
	subject string
	body    []byte
}

// encode writes an event as a CloudEvent. With byReference it has no data but says where
// to get it.
func encode(dst []byte, store, terminal string, e *ledger.Event, byReference bool) cloudEvent {
	head, _, err := event.Parse(e.Payload)
	isJSON := err == nil || jsontext.Value(e.Payload).IsValid()
	typ := head.Type
	switch {
	case err != nil:
		typ = typeMalformed
	case !isType(typ):
		typ = typeOther
	}
	b := append(dst, `{"specversion":"1.0","id":"`...)
	b = append(b, Name(e.Name)...)
	b = append(b, `","source":"/pos/`...)
	b = append(b, store...) // tokens of [A-Za-z0-9_-]: nothing to escape
	b = append(append(b, '/'), terminal...)
	b = append(b, `","type":"pos.`...)
	b = append(append(b, typ...), '"')
	if err == nil {
		b = appendTime(b, head)
	}
	b = append(b, `,"journal":"`...)
	b = hex.AppendEncode(b, e.Journal[:])
	b = append(b, `","seq":"`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, '"')
	if e.At != 0 {
		b = append(b, `,"copyjournal":"`...)
		b = hex.AppendEncode(b, e.In[:])
		b = append(b, `","copyseq":"`...)
		b = append(strconv.AppendUint(b, e.At, 10), '"')
	}
	switch {
	case byReference:
		b = append(b, `,"dataref":"/v1/events?journal=`...)
		b = hex.AppendEncode(b, e.Journal[:])
		b = append(b, `&after=`...)
		b = strconv.AppendUint(b, e.Seq-1, 10)
		b = append(b, `&limit=1"`...)
	case isJSON:
		b = append(b, `,"datacontenttype":"application/json","data":`...)
		b = append(b, e.Payload...)
	default:
		b = append(b, `,"datacontenttype":"application/octet-stream","data_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, e.Payload)
		b = append(b, '"')
	}
	return cloudEvent{Prefix + store + "." + typ, append(b, '}')}
}

// appendTime writes the event's own time and trace, if CloudEvents can carry them.
func appendTime(b []byte, h event.Header) []byte {
	if !h.Time.IsZero() {
		b = append(b, `,"time":"`...)
		b = append(h.Time.UTC().AppendFormat(b, time.RFC3339Nano), '"')
	}
	if isTrace(h.Trace) {
		b = append(b, `,"traceparent":"`...)
		b = append(append(b, h.Trace...), '"')
	}
	return b
}

// isTrace: what may stand in a traceparent, so that nothing needs an escape.
func isTrace(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return false
		}
	}
	return len(s) >= 55 && len(s) <= 128
}

// isType: words of [A-Za-z0-9_-] with dots between, as a subject takes them.
func isType(s string) bool {
	if s == "" || len(s) > maxType || s == typeMalformed || s == typeOther {
		return false
	}
	for word := range strings.SplitSeq(s, ".") {
		if word == "" {
			return false
		}
		for i := range len(word) {
			c := word[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
