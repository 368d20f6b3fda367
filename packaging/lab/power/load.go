package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"posd/packaging/lab/slicebench/rig"
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

// post asks for one sale.
func (t *till) post(ctx context.Context, key, body string) (string, error) {
	answer, err := rig.Sell(ctx, t.client, t.url, t.token, key, body)
	if err != nil && !errors.Is(err, rig.ErrUnanswered) {
		err = found(falseAlarm, "posd refused the sale of key %s: %v", key, err)
	}
	return answer, err
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
				answer, err := t.post(ctx, key, o.Body)
				if err == nil {
					err = t.a.answered(key, answer)
				} else {
					t.a.unanswered(key)
				}
				if errors.Is(err, rig.ErrUnanswered) {
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
		body := t.a.sent[key].Body
		t.a.mu.Unlock()
		for {
			answer, err := t.post(ctx, key, body)
			if err == nil {
				err = t.a.answered(key, answer)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, rig.ErrUnanswered) || ctx.Err() != nil {
				return fmt.Errorf("the sale of key %s, asked for again: %w", key, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}
