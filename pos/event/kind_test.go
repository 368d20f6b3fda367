package event

import (
	"strings"
	"testing"
)

// The type is told as parsing tells it, however the event is written.
func FuzzKindOf(f *testing.F) {
	for _, s := range []string{
		`{"v":1,"type":"sale.completed","time":"2026-11-21T09:30:00Z","data":{}}`, `{ "type":"a","v":2,"time":"2026-11-21T09:30:00Z","data":{}}`,
		`{"v":1,"type":"a\\u0062","time":"2026-11-21T09:30:00Z","data":{}}`, `{"v":1,"type":"`, ``, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := Parse(b)
		if got := KindOf(b); err == nil && got != h.Type || strings.Contains(got, `"`) && err != nil {
			t.Fatalf("%q: %q, parsed %q, %v", b, got, h.Type, err)
		}
	})
}
