package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/tradeday"
)

// front plays baskets through posd until each is acknowledged.
type front struct {
	url, token string
	client     *http.Client
	patience   time.Duration // without an answer to one basket, the day ends
	out        *os.File
	progress   io.Writer

	mu       sync.Mutex
	sold     int
	retried  int // requests sent again
	replayed int // answers for a sale that had been made before
	times    []time.Duration
}

func frontCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	var t trade
	f := front{progress: out, client: &http.Client{Timeout: 15 * time.Second}}
	fs := flag.NewFlagSet("posdemo front", flag.ContinueOnError)
	fs.StringVar(&f.url, "url", "", "of posd, such as http://127.0.0.1:8080")
	tokenFile := fs.String("token-file", "", "file with the front end's token")
	outFile := fs.String("out", "", "file for what was acknowledged; must not exist")
	fs.DurationVar(&f.patience, "patience", 30*time.Second, "give up when a basket finds no answer for so long")
	t.flags(fs)
	if err := parse(fs, args, errs); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	if f.url == "" || *tokenFile == "" || *outFile == "" {
		return &usageError{"give -url, -token-file and -out"}
	}
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return err
	}
	f.token = strings.TrimSpace(string(token))
	if f.out, err = os.OpenFile(*outFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	n, baskets, err := t.baskets()
	if err != nil {
		return errors.Join(err, f.out.Close())
	}
	fmt.Fprintln(out, "baskets", n)
	err = f.play(ctx, baskets, t.tills)
	return errors.Join(err, f.out.Sync(), f.out.Close())
}

// baskets counts the day's baskets and gives a way to stream them.
func (t *trade) baskets() (int, iter.Seq2[tradeday.Basket, error], error) {
	if t.data == "" {
		return t.sales, tradeday.Synthetic(t.seed, t.sales), nil
	}
	perDay, all := map[string]int{}, 0
	for b, err := range tradeday.Real(t.data) {
		if err != nil {
			return 0, nil, err
		}
		perDay[b.Time.Format(time.DateOnly)]++
		all++
	}
	if t.day == "all" {
		return all, tradeday.Real(t.data), nil
	}
	day := t.day
	if day == "" {
		for d, n := range perDay {
			if n > perDay[day] || n == perDay[day] && d < day {
				day = d
			}
		}
	}
	if perDay[day] == 0 {
		return 0, nil, fmt.Errorf("the data has no baskets on %q; give a date of 2017, or all", day)
	}
	return perDay[day], only(day, tradeday.Real(t.data)), nil
}

func only(day string, baskets iter.Seq2[tradeday.Basket, error]) iter.Seq2[tradeday.Basket, error] {
	return func(yield func(tradeday.Basket, error) bool) {
		for b, err := range baskets {
			if (err != nil || b.Time.Format(time.DateOnly) == day) && !yield(b, err) {
				return
			}
		}
	}
}

// play sells all baskets, tills of them at once. The first error ends the day.
func (f *front) play(ctx context.Context, baskets iter.Seq2[tradeday.Basket, error], tills int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	queue := make(chan tradeday.Basket)
	var work sync.WaitGroup
	for range tills {
		work.Go(func() {
			for b := range queue {
				if err := f.sell(ctx, &b); err != nil {
					fail(fmt.Errorf("basket %s: %w", b.ID, err))
					return
				}
			}
		})
	}
	for b, err := range baskets {
		if err != nil {
			fail(err)
		}
		select {
		case queue <- b:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(queue)
	work.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.report()
	return nil
}

// report tells how it went, for the orchestrator.
func (f *front) report() {
	slices.Sort(f.times)
	at := func(percent int) int64 {
		if len(f.times) == 0 {
			return 0
		}
		return f.times[(len(f.times)-1)*percent/100].Microseconds()
	}
	fmt.Fprintln(f.progress, "sold", f.sold)
	fmt.Fprintln(f.progress, "retried", f.retried)
	fmt.Fprintln(f.progress, "replayed", f.replayed)
	fmt.Fprintln(f.progress, "p50", at(50))
	fmt.Fprintln(f.progress, "p99", at(99))
}

// errRetry: nothing is known of the sale; the same request is sent again.
var errRetry = errors.New("no answer")

// sell sends one basket, again and again with the same key, until posd has
// acknowledged it, and then writes it down.
func (f *front) sell(ctx context.Context, b *tradeday.Basket) error {
	body := appendCheckout(nil, b)
	key := "basket-" + b.ID
	begun := time.Now()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 300*time.Millisecond) {
		sent := time.Now()
		s, replayed, err := f.send(ctx, key, body)
		if err == nil {
			if err := agree(b, &s); err != nil {
				return err
			}
			return f.acknowledged(&s, replayed, time.Since(sent))
		}
		if !errors.Is(err, errRetry) {
			return err
		}
		if time.Since(begun) > f.patience {
			return fmt.Errorf("given up after %v: %w", f.patience, err)
		}
		f.mu.Lock()
		f.retried++
		f.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send makes one attempt. An answer that breaks off, 429 and 5xx are errRetry.
func (f *front) send(ctx context.Context, key string, body []byte) (s sold, replayed bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url+"/v1/checkout", bytes.NewReader(body))
	if err != nil {
		return s, false, err
	}
	req.GetBody = nil // else Go sends it again by itself, and nobody counts it
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := f.client.Do(req)
	if err != nil {
		return s, false, fmt.Errorf("%w: %w", errRetry, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxRecordLine))
	switch {
	case err != nil:
		return s, false, fmt.Errorf("%w: %w", errRetry, err)
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return s, false, fmt.Errorf("%w: %s: %s", errRetry, res.Status, answer)
	case res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK:
		return s, false, fmt.Errorf("posd refused it: %s: %s", res.Status, answer)
	}
	var a struct {
		Event struct {
			Journal string `json:"journal"`
			Seq     uint64 `json:"seq"`
		} `json:"event"`
		Sale json.RawMessage `json:"sale"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return s, false, fmt.Errorf("answer %s: %w", answer, err)
	}
	e, err := event.ParseSale(a.Sale)
	if err != nil {
		return s, false, fmt.Errorf("answer %s: %w", answer, err)
	}
	return soldOf(key, a.Event.Journal, a.Event.Seq, &e), res.Header.Get("Idempotency-Replayed") == "true", nil
}

// agree holds posd's sums against those that the front end made itself.
func agree(b *tradeday.Basket, s *sold) error {
	if s.Total != b.Totals.Total || !slices.Equal(s.Taxes, b.Totals.Taxes) {
		return fmt.Errorf("posd says total %d, taxes %v; it is %d, %v", s.Total, s.Taxes, b.Totals.Total, b.Totals.Taxes)
	}
	return nil
}

// acknowledged writes the sale to the front end's own file.
func (f *front) acknowledged(s *sold, replayed bool, took time.Duration) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.out.Write(append(line, '\n')); err != nil {
		return err
	}
	f.times = append(f.times, took)
	if replayed {
		f.replayed++
	}
	if f.sold++; f.sold%10 == 0 {
		fmt.Fprintln(f.progress, "sold", f.sold)
	}
	if f.sold%500 == 0 {
		return f.out.Sync()
	}
	return nil
}

// appendCheckout appends the request for a basket. The catalogue gives an item's
// text, tax and, unless the amount is fixed, its price.
func appendCheckout(dst []byte, b *tradeday.Basket) []byte {
	text := func(name, s string) {
		if s != "" {
			dst = event.AppendString(append(append(dst, `,"`+name...), `":`...), s)
		}
	}
	money := func(name string, m pos.Money) { dst = strconv.AppendInt(append(dst, `,"`+name+`":`...), int64(m), 10) }
	dst = event.AppendString(append(dst, `{"operator":`...), b.Operator)
	dst = append(dst, `,"lines":[`...)
	for i, l := range b.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"quantity":"`...), l.Qty.String()...), '"')
		if l.Item != "" {
			text("item", l.Item)
		} else {
			text("description", l.Description)
			text("department", l.Department)
			text("unit", l.Unit)
			text("tax", l.Tax)
		}
		if l.Fixed {
			money("amount", l.Amount)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"tenders":[`...)
	for i, t := range b.Tenders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"kind":"`...), t.Kind...), '"')
		money("amount", t.Amount)
		text("reference", t.Reference)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}
