package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

const fiveLines = `{"operator":"7","lines":[{"item":"4011","quantity":"1.250"},{"item":"100","quantity":2},{"item":"100"},` +
	`{"item":"200","price":2500},{"description":"Bag","tax":"A","price":10}],"tenders":[{"kind":"card","amount":3000,"reference":"A1"},{"kind":"cash","amount":1000}]}`

// sink is a response writer that costs next to nothing.
type sink struct {
	h      http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkCheckout is a sale of five lines through the handler, durable: the
// time holds the device's sync, shared by the sales under way.
func BenchmarkCheckout(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprint("parallel-", parallel), func(b *testing.B) {
			g := newRig(b).start()
			var n atomic.Uint64
			local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
			b.SetParallelism(parallel)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, local)
				w := &sink{h: http.Header{}}
				r, _ := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:8080/v1/checkout", nil)
				r.Header = http.Header{"Authorization": {"Bearer " + secret}, "Content-Type": {"application/json"}, "Idempotency-Key": {""}}
				body := strings.NewReader(fiveLines)
				for pb.Next() {
					body.Reset(fiveLines)
					r.Body, r.ContentLength = io.NopCloser(body), int64(len(fiveLines))
					r.Header["Idempotency-Key"][0] = fmt.Sprint("bench-", n.Add(1))
					clear(w.h)
					if g.s.ServeHTTP(w, r); w.status != 201 {
						b.Errorf("status %d", w.status)
						return
					}
				}
			})
			b.StopTimer()
			st := g.j.Stats()
			b.ReportMetric(float64(st.Bytes)/float64(b.N), "device-B/op")
			b.ReportMetric(float64(st.Groups)/float64(b.N), "groups/op")
		})
	}
}

// BenchmarkScan is a line that is added to a basket by its code, which is durable soon.
func BenchmarkScan(b *testing.B) {
	g := newRig(b).start()
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	w := &sink{h: http.Header{}}
	const scan = `{"item":"4011","quantity":"1.250"}`
	at, body := "", strings.NewReader("")
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%25 == 0 {
			b.StopTimer()
			if at != "" {
				g.step(at+"/void", `{"reason":"next"}`)
			}
			at = "/v1/baskets/" + g.step("/v1/baskets", ``).Data.Basket
			b.StartTimer()
		}
		r, _ := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:8080"+at+"/lines", nil)
		r.Header = http.Header{"Authorization": {"Bearer " + secret}, "Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprint("scan-", n)}}
		body.Reset(scan)
		r.Body, r.ContentLength = io.NopCloser(body), int64(len(scan))
		clear(w.h)
		if g.s.ServeHTTP(w, r); w.status != 201 {
			b.Fatalf("status %d", w.status)
		}
	}
}

// BenchmarkDecode is the part that reads the request.
func BenchmarkDecode(b *testing.B) {
	var d decoder
	var req request
	in := []byte(fiveLines)
	b.ReportAllocs()
	for b.Loop() {
		if bad := d.decode(in, &req); bad != nil {
			b.Fatal(bad.detail)
		}
	}
}
