// Fit counts the distributions that package tradeday draws synthetic days from.
//
//	go run ./pos/tradeday/fit DIR
//
// reads the data set in DIR and writes pos/tradeday/distributions.json.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"posd/pos/tradeday"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./pos/tradeday/fit DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1], "pos/tradeday/distributions.json"); err != nil {
		fmt.Fprintln(os.Stderr, "fit:", err)
		os.Exit(1)
	}
}

func write(dir, path string) error {
	d, err := fit(tradeday.Real(dir))
	if err != nil {
		return err
	}
	b, err := encode(d)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// most is how many prices and quantities a department keeps.
const most = 40

// counts of one department, before they are thinned out.
type counts struct {
	lines, free        int64
	prices, quantities map[int64]int64
}

func fit(baskets iter.Seq2[tradeday.Basket, error]) (tradeday.Distributions, error) {
	d := tradeday.Distributions{Hours: make([]int64, 24)}
	departments := map[string]*counts{}
	for b, err := range baskets {
		if err != nil {
			return d, err
		}
		d.Baskets++
		d.Lines += int64(len(b.Lines))
		d.Hours[b.Time.Hour()]++
		for len(d.PerBasket) <= len(b.Lines) {
			d.PerBasket = append(d.PerBasket, 0)
		}
		d.PerBasket[len(b.Lines)]++
		for _, l := range b.Lines {
			c := departments[l.Department]
			if c == nil {
				c = &counts{prices: map[int64]int64{}, quantities: map[int64]int64{}}
				departments[l.Department] = c
			}
			c.add(int64(l.Qty), int64(l.Amount), l.Unit)
		}
	}
	for name, c := range departments {
		if len(c.prices) > 0 { // else nothing of it was ever paid for
			d.Departments = append(d.Departments, tradeday.DepartmentDist{
				Name: name, Lines: c.lines, Free: c.free, Prices: thin(c.prices), Quantities: thin(c.quantities),
			})
		}
	}
	slices.SortFunc(d.Departments, func(a, b tradeday.DepartmentDist) int { return strings.Compare(a.Name, b.Name) })
	return d, nil
}

// add counts a line; quantity is in thousandths, amount in cents.
func (c *counts) add(quantity, amount int64, unit string) {
	c.lines++
	if amount == 0 {
		c.free++
		return
	}
	if unit == "ml" {
		quantity /= 1000 // thousandths of a millilitre to thousandths of a litre
		if quantity < 100 {
			return // a tankful recorded as 1: it has no price per litre
		}
	}
	c.quantities[quantity]++
	if quantity > 0 {
		if price := (amount*1000 + quantity/2) / quantity; price > 0 {
			c.prices[price]++
		}
	}
}

// thin keeps at most `most` values: it cuts the sorted values into stretches of
// about equal count and keeps the most frequent value of each.
func thin(values map[int64]int64) [][2]int64 {
	rows := make([][2]int64, 0, len(values))
	total := int64(0)
	for v, n := range values {
		rows = append(rows, [2]int64{v, n})
		total += n
	}
	slices.SortFunc(rows, func(a, b [2]int64) int { return int(a[0] - b[0]) })
	if len(rows) <= most {
		return rows
	}
	var kept [][2]int64
	var in, best, passed int64
	var value int64
	for i, row := range rows {
		if row[1] > best {
			best, value = row[1], row[0]
		}
		in += row[1]
		passed += row[1]
		if passed*most >= total*int64(len(kept)+1) || i == len(rows)-1 {
			kept = append(kept, [2]int64{value, in})
			in, best = 0, 0
		}
	}
	return kept
}

// encode writes a department a line, so that a change shows in a diff.
func encode(d tradeday.Distributions) ([]byte, error) {
	var b bytes.Buffer
	field := func(name string, v any, end string) error {
		text, err := json.Marshal(v)
		fmt.Fprintf(&b, "%q: %s%s\n", name, text, end)
		return err
	}
	b.WriteString("{\n")
	for _, f := range []struct {
		name string
		v    any
	}{{"baskets", d.Baskets}, {"lines", d.Lines}, {"hours", d.Hours}, {"lines_per_basket", d.PerBasket}} {
		if err := field(f.name, f.v, ","); err != nil {
			return nil, err
		}
	}
	b.WriteString("\"departments\": [\n")
	for i, dep := range d.Departments {
		text, err := json.Marshal(dep)
		if err != nil {
			return nil, err
		}
		b.Write(text)
		if i < len(d.Departments)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n}\n")
	return b.Bytes(), nil
}
