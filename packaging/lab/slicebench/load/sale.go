package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// fiveLines is the sale that is timed: five lines, three of them by item code, two
// tenders. The same as in the benchmark of package httpapi.
const fiveLines = `{"operator":"7","lines":[{"item":"4011","quantity":"1.250"},{"item":"100","quantity":2},{"item":"100"},` +
	`{"item":"200","price":2500},{"description":"Bag","tax":"A","price":10}],"tenders":[{"kind":"card","amount":3000,"reference":"A1"},{"kind":"cash","amount":1000}]}`

// Ack is what posd says of a sale that is on its disk.
type Ack struct {
	Key     string `json:"key"`
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
	Receipt string `json:"receipt"`
	Total   int64  `json:"total"`
}

// Refusal is an answer that is no sale.
type Refusal struct {
	Status  int
	Problem string // type of the problem document, "" if it was none
	Text    string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("status %d, %s: %s", r.Status, r.Problem, r.Text)
}

// Checkout sells fiveLines.
func Checkout(ctx context.Context, c *http.Client, url, token, key string) (Ack, error) {
	a := Ack{Key: key}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/checkout", strings.NewReader(fiveLines))
	if err != nil {
		return a, err
	}
	req.GetBody = nil // else Go sends it again by itself, and the time is that of two
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	res, err := c.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return a, err
	}
	if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
		r := &Refusal{Status: res.StatusCode, Text: fmt.Sprintf("%.300s", b)}
		var p struct{ Type, Detail string }
		if res.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(b, &p) == nil {
			r.Problem, r.Text = p.Type, p.Detail
		}
		return a, r
	}
	var answer struct {
		Event struct {
			Journal string
			Seq     uint64
		}
		Sale struct {
			Receipt string
			Total   int64
		}
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return a, fmt.Errorf("an answer that is no sale: %w: %.300s", err, b)
	}
	a.Journal, a.Seq, a.Receipt, a.Total = answer.Event.Journal, answer.Event.Seq, answer.Sale.Receipt, answer.Sale.Total
	if a.Seq == 0 || a.Receipt == "" {
		return a, fmt.Errorf("an answer that names no event: %.300s", b)
	}
	return a, nil
}
