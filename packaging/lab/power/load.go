package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// till is the front end of one terminal in one round.
type till struct {
	url, token string
	a          *account
	client     *http.Client
}

func newTill(port int, token string, a *account) *till {
	return &till{fmt.Sprintf("http://127.0.0.1:%d", port), token, a, &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
}

func (t *till) close() { t.client.CloseIdleConnections() }

// errUnanswered: nothing is known of the sale.
var errUnanswered = errors.New("no answer")

// post asks for one sale.
func (t *till) post(ctx context.Context, key, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+"/v1/checkout", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.GetBody = nil // no silent repetition
	req.Header.Set("Authorization", "Bearer "+t.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := t.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnanswered, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", errUnanswered, err)
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusCreated:
		return string(b), nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
		return "", fmt.Errorf("%w: %s %s", errUnanswered, res.Status, b)
	}
	return "", found(falseAlarm, "posd refused the sale of key %s: %s %s", key, res.Status, b)
}

// sell makes sales with so many workers until ctx ends, or something is wrong.
func (t *till) sell(ctx context.Context, workers int, seed uint64) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for ctx.Err() == nil {
				key, o := t.a.pick(rng)
				answer, err := t.post(ctx, key, o.body)
				if err == nil {
					err = t.a.answered(key, answer)
				} else {
					t.a.unanswered(key)
				}
				if errors.Is(err, errUnanswered) {
					select {
					case <-time.After(time.Duration(5+rng.IntN(20)) * time.Millisecond):
					case <-ctx.Done():
					}
				} else if err != nil {
					fail(err)
				}
			}
		})
	}
	wg.Wait()
	var f *finding
	if err := context.Cause(ctx); errors.As(err, &f) {
		return err
	}
	return nil
}

// again sends keys that were answered before: the same answer must come.
func (t *till) again(ctx context.Context, keys []string) error {
	for _, key := range keys {
		t.a.mu.Lock()
		body := t.a.sent[key].body
		t.a.mu.Unlock()
		for {
			answer, err := t.post(ctx, key, body)
			if err == nil {
				err = t.a.answered(key, answer)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, errUnanswered) || ctx.Err() != nil {
				return fmt.Errorf("the sale of key %s, asked for again: %w", key, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// get reads a document of posd or poshub.
func get(ctx context.Context, c *http.Client, url, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.300s", url, res.Status, b)
	}
	return b, err
}
