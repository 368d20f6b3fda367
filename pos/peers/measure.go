package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"posd/packaging/lab/place"
)

var (
	lines   = []int{1, 5, 20}
	callers = []int{1, 8, 32}
)

// sample is what was measured of one cell in one round, each figure of one sale.
type sample struct {
	rate      float64 // sales a second
	p50, p99  float64 // µs
	user, sys float64 // µs of the processor
	allocs    float64
	bytes     float64 // written to the device, -1 if it does not count
}

// scan is one row of what only posd is asked for.
type scan struct {
	what     string
	n        int
	p50, p99 float64 // µs
	user     float64
}

// measure runs everything. The contenders take turns in each cell, so that what changes
// with time meets all of them.
func (o options) measure(ctx context.Context, p *place.Place) (rep *report, err error) {
	r := &report{options: o, place: p, began: time.Now(), loadFrom: place.Load()}
	core, err := place.LastCore()
	if err != nil {
		return nil, err
	}
	if err := place.Leave(core); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s: the contenders are started\n", name)
	r.servers, err = o.startAll(ctx, p.Dir, core)
	defer func() {
		for _, s := range r.servers {
			err = errors.Join(err, s.Kill())
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := o.fill(ctx, r); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%s: scans and look-ups\n", name)
	if err := o.measureScans(ctx, r, r.servers[0]); err != nil {
		return nil, err
	}
	r.loadTo = place.Load()
	for _, s := range r.servers {
		if err := s.finish(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// fill measures the tables.
func (o options) fill(ctx context.Context, rep *report) error {
	random := rand.New(rand.NewPCG(1, 2))
	sales := map[int][]string{}
	for _, n := range lines {
		sales[n] = bodies(random, n)
	}
	for _, s := range rep.servers { // a start is not what is measured
		if _, err := s.sell(ctx, rep.place, cell{5, 8}, o.long/2, sales[5]); err != nil {
			return err
		}
	}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", name, round+1, o.rounds)
		for i := range len(lines) * len(callers) {
			at := cell{lines[i/len(callers)], callers[i%len(callers)]}
			for turn := range rep.servers {
				s := rep.servers[(turn+round)%len(rep.servers)]
				if s.only != 0 && s.only != at.lines {
					continue
				}
				one, err := s.sell(ctx, rep.place, at, o.long, sales[at.lines])
				if err != nil {
					return err
				}
				s.cells[at] = append(s.cells[at], one)
			}
		}
	}
	return nil
}

// sell measures one cell.
func (s *server) sell(ctx context.Context, p *place.Place, at cell, long time.Duration, sales []string) (one sample, err error) {
	device, err := place.Count(p.Dir, p.Device)
	if err != nil {
		return one, err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return one, err
	}
	took, in, err := s.together(ctx, at.callers, long, func(c *caller, n int) error {
		status, body, err := c.call("POST", "/v1/checkout", sales[n%len(sales)])
		return want(201, status, body, err)
	})
	if err != nil {
		return one, err
	}
	after, err := s.usage(ctx)
	if err != nil {
		return one, err
	}
	written, err := device.Bytes()
	n := float64(len(took))
	s.made += len(took)
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / n }
	one = sample{rate: n / in.Seconds(), p50: took.at(0.5), p99: took.at(0.99), user: micros(after.user - before.user), sys: micros(after.sys - before.sys),
		allocs: float64(after.allocs-before.allocs) / n, bytes: max(-1, written/n)}
	return one, err
}

// measureScans times the steps of a till whose front end sends each scan.
func (o options) measureScans(ctx context.Context, rep *report, s *server) error {
	sales := bodies(rand.New(rand.NewPCG(5, 6)), 5)
	for _, kind := range []struct {
		what    string
		sellers int
		pause   time.Duration
		scans   int
	}{
		{"scan to line, one after the other", 0, 0, o.scans},
		{"scan to line, 20 a second", 0, 50 * time.Millisecond, o.scans / 20},
		{"scan to line, one after the other, while 8 others check out without a pause", 8, 0, o.scans / 3},
	} {
		row, err := s.beside(ctx, kind.sellers, sales, func(ctx context.Context) (scan, error) { return s.scans(ctx, kind.scans, kind.pause) })
		if err != nil {
			return err
		}
		row.what = kind.what
		rep.scans = append(rep.scans, row)
	}
	row, err := s.lookups(ctx, o.scans)
	if err != nil {
		return err
	}
	rep.scans = append(rep.scans, row)
	return nil
}

// beside runs one while others sell.
func (s *server) beside(ctx context.Context, sellers int, sales []string, one func(context.Context) (scan, error)) (scan, error) {
	if sellers == 0 {
		return one(ctx)
	}
	selling, stop := context.WithCancel(ctx)
	type end struct {
		n   int
		err error
	}
	ended := make(chan end, 1)
	go func() {
		n := make([]int, sellers)
		_, _, err := s.together(selling, sellers, time.Minute, func(c *caller, i int) error {
			status, body, err := c.call("POST", "/v1/checkout", sales[i%len(sales)])
			if err == nil {
				n[i%sellers]++
			}
			return want(201, status, body, err)
		})
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		sum := 0
		for _, x := range n {
			sum += x
		}
		ended <- end{sum, err}
	}()
	row, err := one(ctx)
	stop()
	e := <-ended
	s.made += e.n
	return row, errors.Join(err, e.err)
}

// scansPerBasket is how many articles a customer has; then the basket is voided.
const scansPerBasket = 25

func (s *server) scans(ctx context.Context, n int, pause time.Duration) (row scan, err error) {
	c, err := s.dial(ctx)
	if err != nil {
		return row, err
	}
	defer c.conn.Close()
	random := rand.New(rand.NewPCG(3, 4))
	from := newCodes(random)
	basket, took := "", make(times, 0, n)
	before, err := s.usage(ctx)
	if err != nil {
		return row, err
	}
	for i := range n {
		if i%scansPerBasket == 0 {
			if basket, err = c.nextBasket(basket); err != nil {
				return row, err
			}
		}
		if pause > 0 {
			time.Sleep(pause/2 + time.Duration(random.Int64N(int64(pause))))
		}
		begun := time.Now()
		status, body, err := c.call("POST", "/v1/baskets/"+basket+"/lines", `{"item":"`+from.next()+`"}`)
		took = append(took, time.Since(begun))
		if err := want(201, status, body, err); err != nil {
			return row, err
		}
	}
	after, err := s.usage(ctx)
	if err != nil {
		return row, err
	}
	return rowOf(took, after.user-before.user), nil
}

// nextBasket voids the one before and opens another.
func (c *caller) nextBasket(last string) (string, error) {
	if last != "" {
		status, body, err := c.call("POST", "/v1/baskets/"+last+"/void", "")
		if err := want(201, status, body, err); err != nil {
			return "", err
		}
	}
	status, body, err := c.call("POST", "/v1/baskets", "{}")
	if err := want(201, status, body, err); err != nil {
		return "", err
	}
	var opened struct{ Data struct{ Basket string } }
	if err := json.Unmarshal(body, &opened); err != nil || opened.Data.Basket == "" {
		return "", fmt.Errorf("no basket in %s: %w", body, err)
	}
	return opened.Data.Basket, nil
}

// lookups asks for articles all over the catalogue, so that the cache seldom knows them.
func (s *server) lookups(ctx context.Context, n int) (row scan, err error) {
	c, err := s.dial(ctx)
	if err != nil {
		return row, err
	}
	defer c.conn.Close()
	random := rand.New(rand.NewPCG(7, 8))
	took := make(times, 0, n)
	before, err := s.usage(ctx)
	if err != nil {
		return row, err
	}
	for range n {
		path := fmt.Sprint("/v1/items/", 100_000+random.IntN(itemCount))
		begun := time.Now()
		status, body, err := c.call("GET", path, "")
		took = append(took, time.Since(begun))
		if err := want(200, status, body, err); err != nil {
			return row, err
		}
	}
	after, err := s.usage(ctx)
	row = rowOf(took, after.user-before.user)
	row.what = fmt.Sprintf("GET /v1/items/CODE, any of %d", itemCount)
	return row, err
}

func rowOf(took times, user time.Duration) scan {
	slices.Sort(took)
	return scan{n: len(took), p50: took.at(0.5), p99: took.at(0.99), user: float64(user.Microseconds()) / float64(len(took))}
}
