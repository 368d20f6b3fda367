package tradeday

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/pos"
)

//go:embed distributions.json
var distributionsJSON []byte

// Distributions is what Synthetic draws from: counts, all of them integers, so
// that no machine rounds differently.
type Distributions struct {
	Baskets     int64            `json:"baskets"`
	Lines       int64            `json:"lines"`
	Hours       []int64          `json:"hours"`            // baskets by hour of the day
	PerBasket   []int64          `json:"lines_per_basket"` // baskets by number of lines
	Departments []DepartmentDist `json:"departments"`
}

// DepartmentDist is the trade of one department.
type DepartmentDist struct {
	Name       string     `json:"name"`
	Lines      int64      `json:"lines"`
	Free       int64      `json:"free"`       // lines that cost nothing
	Prices     [][2]int64 `json:"prices"`     // cents per unit, lines
	Quantities [][2]int64 `json:"quantities"` // thousandths, lines
}

// distributions is read once; the embedded file is part of the program.
var distributions = sync.OnceValues(func() (Distributions, error) {
	var d Distributions
	if err := json.Unmarshal(distributionsJSON, &d); err != nil {
		return d, fmt.Errorf("distributions.json: %w: make it again with go run ./pos/tradeday/fit DIR", err)
	}
	return d, d.check()
})

func (d *Distributions) check() error {
	if len(d.Hours) != 24 || sum(d.Hours) <= 0 || sum(d.PerBasket) <= 0 || len(d.Departments) == 0 || len(d.Departments) > 99 {
		return fmt.Errorf("distributions.json: hours, lines per basket or departments are missing")
	}
	for _, dep := range d.Departments {
		if dep.Lines <= 0 || dep.Free < 0 || dep.Free > dep.Lines || sumPairs(dep.Prices) <= 0 || sumPairs(dep.Quantities) <= 0 || len(dep.Prices) > 99 {
			return fmt.Errorf("distributions.json: department %s is empty", dep.Name)
		}
	}
	return nil
}

// Synthetic yields n baskets of one day, in order of time. The same seed gives
// the same day on every machine. An error means a broken build.
func Synthetic(seed uint64, n int) iter.Seq2[Basket, error] {
	return func(yield func(Basket, error) bool) {
		d, err := distributions()
		if err != nil {
			yield(Basket{}, err)
			return
		}
		g := generator{src: rand.NewPCG(seed, 0x706f7364), d: &d}
		for i, second := range g.times(n) {
			b, err := g.basket(strconv.Itoa(i+1), syntheticDay.Add(time.Duration(second)*time.Second))
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// syntheticDay is the date of every synthetic basket.
var syntheticDay = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// generator draws with a modulus of its own: the output of PCG is fixed for ever,
// what rand.Rand makes of it is not.
type generator struct {
	src *rand.PCG
	d   *Distributions
}

func (g *generator) below(n int64) int64 { return int64(g.src.Uint64() % uint64(n)) }

// index draws i with the weight counts[i].
func (g *generator) index(counts []int64) int {
	at := g.below(sum(counts))
	for i, n := range counts {
		if at -= n; at < 0 {
			return i
		}
	}
	return len(counts) - 1
}

// pair draws a row of value and count, by count.
func (g *generator) pair(rows [][2]int64) int {
	at := g.below(sumPairs(rows))
	for i, row := range rows {
		if at -= row[1]; at < 0 {
			return i
		}
	}
	return len(rows) - 1
}

func (g *generator) times(n int) []int64 {
	seconds := make([]int64, n)
	for i := range seconds {
		seconds[i] = int64(g.index(g.d.Hours))*3600 + g.below(3600)
	}
	slices.Sort(seconds)
	return seconds
}

func (g *generator) basket(id string, t time.Time) (Basket, error) {
	b := Basket{ID: id, Time: t, Store: "1"}
	for range max(1, g.index(g.d.PerBasket)) {
		b.Lines = append(b.Lines, g.line())
	}
	return b, b.settle()
}

func (g *generator) line() pos.Line {
	lines := make([]int64, len(g.d.Departments))
	for i := range lines {
		lines[i] = g.d.Departments[i].Lines
	}
	number := g.index(lines)
	dep := &g.d.Departments[number]
	at := g.pair(dep.Prices)
	p := dep.product(number, at)
	qty := pos.Qty(dep.Quantities[g.pair(dep.Quantities)][0])
	tax := taxOf(dep.Name)
	l := pos.Line{
		Item: p.code, Description: p.description, Department: p.department, Unit: p.unit,
		Tax: tax.Code, Rate: tax.Rate, Qty: qty, Price: p.price,
	}
	switch {
	case g.below(dep.Lines) < dep.Free:
		l.Fixed, l.Price = true, 0
	case p.open:
		l.Fixed, l.Price = true, pos.Money(dep.Prices[at][0])
	}
	return l
}

// product is item number at of a department of the synthetic catalogue.
func (d *DepartmentDist) product(number, at int) product {
	p := product{
		code:        fmt.Sprintf("%02d%02d", number+1, at+1),
		description: fmt.Sprintf("%s %d", titleOf(d.Name), at+1),
		department:  d.Name, unit: "pc", price: pos.Money(d.Prices[at][0]),
	}
	switch d.Name {
	case fuel:
		p.unit = "l"
	case "MISCELLANEOUS", "COUPON":
		p.open, p.price = true, 0
	case unlisted:
		p.code, p.open, p.price = "", true, 0
	}
	return p
}

// titleOf makes "Meat-pckgd" of "MEAT-PCKGD".
func titleOf(department string) string {
	return department[:1] + strings.ToLower(department[1:])
}

func sum(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func sumPairs(rows [][2]int64) (n int64) {
	for _, row := range rows {
		n += row[1]
	}
	return n
}
