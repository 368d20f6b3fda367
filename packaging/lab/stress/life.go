package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

func client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
}

func pause(ctx context.Context, d time.Duration) bool {
	return load.SleepUntil(ctx, time.Now().Add(d))
}

// sell is one front end. It repeats a sale until it is answered, and finishes the
// last one after the end.
func (s *stress) sell(ctx context.Context, i int) {
	c := client()
	defer c.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		s.sellOne(context.WithoutCancel(ctx), c, i, fmt.Sprint("front-", i, "-", n))
		if !pause(ctx, rand.N(2*time.Second/salesEach)) {
			return
		}
	}
}

func (s *stress) sellOne(ctx context.Context, c *http.Client, i int, key string) {
	for try := range 100 {
		begun := time.Now()
		a, err := load.Checkout(ctx, c, s.url, s.tokens[i], key)
		took := time.Since(begun)
		var r *load.Refusal
		switch {
		case err == nil:
			s.mu.Lock()
			s.acks, s.slowest = append(s.acks, a), max(s.slowest, took)
			s.mu.Unlock()
			return
		case errors.As(err, &r) && r.Problem == "":
			s.fail(fmt.Errorf("an answer that is no problem document: %w", err))
		}
		s.count("attempts repeated")
		time.Sleep(min(time.Duration(try+1)*50*time.Millisecond, time.Second))
		select {
		case <-s.posd.Done:
			return
		default:
		}
	}
	s.fail(fmt.Errorf("sale %s was not taken in a hundred attempts", key))
}

// upAndDown stops or kills head office, and starts it again.
func (s *stress) upAndDown(ctx context.Context) {
	for n := 0; pause(ctx, 15*time.Second+rand.N(15*time.Second)); n++ {
		end, what := s.hub.Stop, "hub stopped"
		if n%2 == 1 {
			end, what = s.hub.Kill, "hub killed"
		}
		if err := end(); err != nil {
			s.fail(err)
		}
		s.count(what)
		pause(ctx, 5*time.Second+rand.N(15*time.Second))
		if err := s.hub.Start(context.WithoutCancel(ctx)); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *stress) importAgain(ctx context.Context) {
	csv := filepath.Join(s.dir, "items.csv")
	for n := 0; pause(ctx, 5*time.Second); n++ {
		text := rig.CatalogueCSV() + fmt.Sprintf("new-%d,Article of import %d,,pc,1.00,A\n", n, n)
		err := os.WriteFile(csv, []byte(text), 0o600)
		if err == nil {
			_, err = rig.Output(context.WithoutCancel(ctx), s.bin.Posctl, "catalogue", "import", csv, "--config", s.conf)
		}
		if err != nil {
			s.fail(err)
		}
		s.count("catalogue imported")
	}
}

func (s *stress) poll(ctx context.Context) {
	c := client()
	defer c.CloseIdleConnections()
	for pause(ctx, 500*time.Millisecond) {
		for _, page := range []string{"/v1/status", "/metrics", "/readyz"} {
			if _, err := rig.Get(ctx, c, s.url+page, s.till.Posctl); err != nil && ctx.Err() == nil {
				s.fail(err)
			}
			s.count("status and metrics")
		}
	}
}

// abuse sends what has to be refused, each time over a new connection.
func (s *stress) abuse(ctx context.Context) {
	bodies := []string{`{"lines":[{"item":"no such item"}],"tenders":[]}`, `{"lines":[{"quantity":` + strings.Repeat("9", 1000), "", strings.Repeat("x", 300<<10), "\x00\xff"}
	for n := 0; pause(ctx, 50*time.Millisecond); n++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/checkout", strings.NewReader(bodies[n%len(bodies)]))
		if err != nil {
			s.fail(err)
			return
		}
		req.Close = true
		req.Header = http.Header{"Authorization": {"Bearer " + s.tokens[n%fronts]}, "Content-Type": {"application/json"}, "Idempotency-Key": {fmt.Sprint("bad-", n)}}
		if n%3 == 0 {
			req.Header.Set("Authorization", fmt.Sprint("Bearer guess-", n))
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // posd may close before it has read 300 KiB
		}
		if res.StatusCode < 400 || res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable {
			s.fail(fmt.Errorf("a bad request got %s", res.Status))
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		s.count("bad requests refused")
	}
}

// dawdle connects and sends a byte now and then, until it is cut.
func (s *stress) dawdle(ctx context.Context) {
	for pause(ctx, rand.N(time.Second)) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			s.fail(err)
			continue
		}
		s.count("slow clients")
		text := "POST /v1/checkout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\nAuthorization: Bearer " + s.tokens[0] + "\r\n\r\n" + strings.Repeat(" ", 900)
		for i := 0; i < len(text) && pause(ctx, 200*time.Millisecond); i += 1 + rand.N(20) {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				break
			}
		}
		c.Close()
	}
}

// leak is the planted mistake: connections that are kept and used just often enough.
func (s *stress) leak(ctx context.Context) {
	var all []*http.Client
	for n := 0; pause(ctx, time.Second); n++ {
		if len(all) < 60 {
			all = append(all, client())
		}
		if _, err := rig.Get(ctx, all[n%len(all)], s.url+"/livez", ""); err != nil && ctx.Err() == nil {
			s.fail(err)
		}
	}
	for _, c := range all {
		c.CloseIdleConnections()
	}
}

// trace takes an execution trace every now and then and says what stood longest.
func (s *stress) trace(ctx context.Context) {
	if !pause(ctx, min(30*time.Second, s.long/4)) {
		return
	}
	for n := 1; ; n++ {
		text, err := s.socket(fmt.Sprint("/debug/trace?seconds=", traceTime))
		if err != nil {
			if ctx.Err() == nil && !busy(err) {
				s.fail(err)
			}
		} else {
			if s.keep != "" {
				if err := os.WriteFile(filepath.Join(s.keep, fmt.Sprintf("%d.trace", n)), text, 0o644); err != nil {
					s.fail(err)
				}
			}
			f, err := analyze(text)
			if err != nil {
				s.fail(fmt.Errorf("trace %d of %d bytes: %w", n, len(text), err))
			} else {
				fmt.Printf("trace %d: %v\n", n, f)
			}
		}
		if !pause(ctx, min(time.Minute, s.long/8)) {
			return
		}
	}
}

func hasRecord(text []byte, last uint64) bool {
	var all []struct{ Last uint64 }
	return json.Unmarshal(text, &all) == nil && len(all) == 1 && all[0].Last >= last
}
