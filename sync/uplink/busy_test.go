package uplink

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"posd/journal"
)

// A server that is too busy is not called one that is wrong.
func TestBusyServerIsExplained(t *testing.T) {
	u := &Uplink{}
	l := &line{first: []byte("INFO {}")}
	for name, row := range map[string]struct {
		err  error
		want string
	}{
		"too many handshakes": {tls.RecordHeaderError{RecordHeader: [5]byte([]byte("-ERR "))}, "lets nobody more in"},
		"no TLS":              {tls.RecordHeaderError{RecordHeader: [5]byte([]byte("HTTP/"))}, "does not speak TLS"},
		"late":                {errors.New("nats: expected 'PONG', got 'PING'"), "overloaded"},
		"something else":      {journal.ErrFreed, journal.ErrFreed.Error()},
	} {
		if got := u.explain(row.err, &server{}, l).Error(); !strings.Contains(got, row.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
