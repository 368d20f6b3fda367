package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Order is a basket that is sold with one call.
type Order struct {
	Body  string
	Total int64
}

// NewOrder is mostly small; one in so many is too large for one page.
func NewOrder(rng *rand.Rand, large int) (o Order) {
	var b strings.Builder
	b.WriteString(`{"lines":[`)
	n := 1 + rng.IntN(4)
	if rng.IntN(large) == 0 {
		n = 5 + rng.IntN(40)
	}
	for i := range n {
		price, quantity := int64(1+rng.IntN(5000)), int64(1+rng.IntN(5))
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"description":"item %d","tax":"A","price":%d,"quantity":%d}`, rng.IntN(1000), price, quantity)
		o.Total += price * quantity
	}
	fmt.Fprintf(&b, `],"tenders":[{"kind":"cash","amount":%d}]}`, o.Total)
	o.Body = b.String()
	return o
}

// ErrUnanswered: nothing is known of the sale.
var ErrUnanswered = errors.New("no answer")

// Sell asks the posd at url for a sale, and gives its answer. An error that is no
// ErrUnanswered is a refusal.
func Sell(ctx context.Context, c *http.Client, url, token, key, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/checkout", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.GetBody = nil // no silent repetition
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := c.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrUnanswered, err)
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusCreated:
		return string(b), nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
		return "", fmt.Errorf("%w: %s %s", ErrUnanswered, res.Status, b)
	}
	return "", fmt.Errorf("%s %s", res.Status, b)
}
