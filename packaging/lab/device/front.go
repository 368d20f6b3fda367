package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sold is what was acknowledged, or what head office has.
type sold struct {
	Key, Sale, Receipt string
	Number             uint64
	Total              int64
}

// front is the front end: one basket after the other, each with its key until it is
// acknowledged.
type front struct {
	url, token string
	client     http.Client
	acked      []sold
	last       time.Time // acknowledgement
	gap        time.Duration
	again      int // requests that had to be repeated
}

func newFront() *front {
	return &front{client: http.Client{Timeout: 30 * time.Second}}
}

// at tells where the terminal is, after each boot.
func (f *front) at(port int) {
	f.client.CloseIdleConnections()
	f.url = fmt.Sprintf("http://127.0.0.1:%d", port)
}

// begin begins a measurement of the longest gap.
func (f *front) begin() { f.last, f.gap = time.Now(), 0 }

// sell sells n baskets.
func (f *front) sell(ctx context.Context, n int) error {
	for range n {
		if err := f.one(ctx); err != nil {
			return err
		}
	}
	return nil
}

// until sells until the channel is closed, and one more.
func (f *front) until(ctx context.Context, done <-chan struct{}) error {
	for {
		if err := f.one(ctx); err != nil {
			return err
		}
		select {
		case <-done:
			return f.one(ctx)
		default:
		}
	}
}

func (f *front) one(ctx context.Context) error {
	n := len(f.acked)
	key := fmt.Sprintf("device-%04d", n)
	quantity := 1 + n%3
	body := fmt.Appendf(nil, `{"lines":[{"item":"4011","quantity":"%d"}],"tenders":[{"kind":"cash","amount":2000}]}`, quantity)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("not acknowledged in time"))
	defer cancel()
	for {
		s, err := f.send(ctx, key, body)
		if err == nil {
			if want := int64(249 * quantity); s.Total != want {
				return fmt.Errorf("sale %s has a total of %d, expected %d", key, s.Total, want)
			}
			f.acked = append(f.acked, s)
			f.gap = max(f.gap, time.Since(f.last))
			f.last = time.Now()
			return nil
		}
		var refused *refusedError
		if errors.As(err, &refused) {
			return err
		}
		f.again++
		select {
		case <-ctx.Done():
			return fmt.Errorf("sale %s: %w: %w", key, context.Cause(ctx), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// refusedError is an answer that another try does not change.
type refusedError struct{ text string }

func (r *refusedError) Error() string { return r.text }

func (f *front) send(ctx context.Context, key string, body []byte) (sold, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+"/v1/checkout", bytes.NewReader(body))
	if err != nil {
		return sold{}, err
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := f.client.Do(req)
	if err != nil {
		return sold{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return sold{}, err
	}
	switch {
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusCreated:
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return sold{}, fmt.Errorf("%s: %s", res.Status, text)
	default:
		return sold{}, &refusedError{fmt.Sprintf("sale %s: %s: %s", key, res.Status, text)}
	}
	var answer struct{ Sale sold }
	if err := json.Unmarshal(text, &answer); err != nil {
		return sold{}, fmt.Errorf("sale %s: %w", key, err)
	}
	answer.Sale.Key = key
	return answer.Sale, nil
}
