package uplink

import (
	"errors"
	"testing"
)

func TestParseAck(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want pubAck
		ok   bool
	}{
		{`{"stream":"S","seq":7}`, pubAck{stream: "S", seq: 7}, true},
		{`{"stream":"S","domain":"d","seq":7,"duplicate":true,"val":{"x":[1]}}`, pubAck{stream: "S", seq: 7}, true},
		{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 12"},"stream":"S","seq":0}`,
			pubAck{stream: "S", code: 10071, text: "wrong last sequence: 12"}, true},
		{`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`,
			pubAck{code: 10077, text: "maximum bytes exceeded"}, true},
		{`{"stream":"S","seq":0}`, pubAck{}, false},
		{`{"seq":7}`, pubAck{}, false},
		{`{"stream":"S","seq":7,"error":{}}`, pubAck{}, false},
		{`{"stream":"S","seq":7,"seq":8}`, pubAck{}, false},
		{`{"stream":"S","seq":-7}`, pubAck{}, false},
		{`{"stream":"S","seq":7}{}`, pubAck{}, false},
		{`{"stream":"S","seq":7`, pubAck{}, false},
		{`[]`, pubAck{}, false},
		{``, pubAck{}, false},
	} {
		got, err := parseAck([]byte(tt.in))
		if got != tt.want || (err == nil) != tt.ok || (err != nil && !errors.Is(err, errAck)) {
			t.Errorf("%s: %+v, %v", tt.in, got, err)
		}
	}
	a := pubAck{text: "wrong last sequence: 12"}
	if n, ok := a.trueLast(); !ok || n != 12 {
		t.Errorf("%d %v", n, ok)
	}
	for _, text := range []string{"", "wrong last sequence", "wrong last sequence: x"} {
		a.text = text
		if n, ok := a.trueLast(); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte(`{"stream":"S","domain":"d","seq":7,"duplicate":true}`))
	f.Add([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 12"},"stream":"S","seq":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAck(b)
		if err == nil && a.code == 0 && (a.seq == 0 || a.stream == "") {
			t.Fatalf("%s was taken for an acknowledgement: %+v", b, a)
		}
		a.trueLast()
	})
}
