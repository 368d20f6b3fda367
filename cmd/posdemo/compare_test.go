package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"posd/pos"
)

func someSales(n int) []sold {
	var sales []sold
	for i := range n {
		number := uint64(i + 1)
		sales = append(sales, sold{
			Key: fmt.Sprint("basket-", number), Sale: fmt.Sprint("00112233-", number+2), Receipt: fmt.Sprint("T1-1-", number), Number: number,
			Journal: "0011", Seq: number + 2, Total: 226,
			Taxes: []pos.TaxTotal{{Code: "S", Rate: 190000, Net: 100, Tax: 19, Gross: 119}, {Code: "R", Rate: 70000, Net: 100, Tax: 7, Gross: 107}},
		})
	}
	return sales
}

func clone(sales []sold) []sold {
	c := slices.Clone(sales)
	for i := range c {
		c[i].Taxes = slices.Clone(c[i].Taxes)
	}
	return c
}

// Every fault that is planted, in any of the three sources, must be found.
func TestCompareFindsPlantedFaults(t *testing.T) {
	names := []string{"front end", "journal", "ledger"}
	faults := map[string]struct {
		plant func(sales []sold) []sold
		want  string
	}{
		"a sale is missing":     {func(s []sold) []sold { return slices.Delete(s, 4, 5) }, "lost"},
		"the last is missing":   {func(s []sold) []sold { return s[:len(s)-1] }, "lost"},
		"a sale is there twice": {func(s []sold) []sold { return append(s, s[4]) }, "twice"},
		"a basket sold twice": {func(s []sold) []sold {
			again := s[4]
			again.Sale, again.Receipt, again.Number, again.Seq = "00112233-99", "T1-1-11", 11, 99
			return append(s, again)
		}, "twice"},
		"one receipt, two sales": {func(s []sold) []sold { s[5].Receipt, s[5].Number = s[4].Receipt, s[4].Number; return s }, "twice"},
		"one cent off":           {func(s []sold) []sold { s[4].Total++; s[4].Taxes[0].Gross++; s[4].Taxes[0].Net++; return s }, "total"},
		"a cent between the codes": {func(s []sold) []sold {
			s[4].Taxes[0].Net, s[4].Taxes[0].Gross = s[4].Taxes[0].Net+1, s[4].Taxes[0].Gross+1
			s[4].Taxes[1].Net, s[4].Taxes[1].Gross = s[4].Taxes[1].Net-1, s[4].Taxes[1].Gross-1
			return s
		}, "taxes"},
		"a cent from net to tax":  {func(s []sold) []sold { s[4].Taxes[0].Net--; s[4].Taxes[0].Tax++; return s }, "taxes"},
		"taxes are not the total": {func(s []sold) []sold { s[4].Taxes[0].Gross++; return s }, "not the gross"},
		"cents that even out": {func(s []sold) []sold {
			s[4].Taxes[0].Net, s[4].Taxes[0].Gross, s[4].Total = 101, 120, 227
			s[5].Taxes[0].Net, s[5].Taxes[0].Gross, s[5].Total = 99, 118, 225
			return s
		}, "has 00112233"},
		"another rate": {func(s []sold) []sold { s[4].Taxes[0].Rate = 160000; return s }, "taxes"},
		"a sale that nobody was told of": {func(s []sold) []sold {
			return append(s, sold{Key: "basket-11", Sale: "00112233-13", Receipt: "T1-1-11", Number: 11, Journal: "0011", Seq: 13})
		}, ""},
		"a gap in the receipts":   {func(s []sold) []sold { s[9].Receipt, s[9].Number = "T1-1-11", 11; return s }, "gap"},
		"number is not receipt's": {func(s []sold) []sold { s[9].Number = 7; return s }, "has number 7"},
		"another place":           {func(s []sold) []sold { s[9].Seq++; return s }, "has 00112233"},
	}
	for name, fault := range faults {
		for in := range names {
			var sources []source
			for i, n := range names {
				sales := someSales(10)
				if i == in {
					sales = fault.plant(clone(sales))
				}
				sources = append(sources, source{n, sales})
			}
			v := compare(10, sources)
			if in == 0 && fault.want == "lost" {
				fault.want = "never acknowledged" // seen from the other side
			} else if fault.want == "never acknowledged" {
				fault.want = "lost"
			}
			if v.agrees() || !strings.Contains(strings.Join(v.problems, "\n"), fault.want) {
				t.Errorf("%s, in the %s: %q", name, names[in], v.problems)
			}
		}
	}
}

// What the three have in common can be wrong, too.
func TestCompareFindsCommonFaults(t *testing.T) {
	for name, c := range map[string]struct {
		baskets int
		plant   func([]sold) []sold
	}{
		"a basket was never sold": {11, func(s []sold) []sold { return s }},
		"a gap in the receipts":   {9, func(s []sold) []sold { return slices.Delete(s, 4, 5) }},
		"taxes are not the total": {10, func(s []sold) []sold { s[4].Total++; return s }},
	} {
		sales := c.plant(someSales(10))
		if v := compare(c.baskets, []source{{"front end", sales}, {"journal", sales}, {"ledger", sales}}); v.agrees() {
			t.Errorf("%s was not found", name)
		}
	}
}

func TestCompareAgrees(t *testing.T) {
	shuffled := someSales(10)
	slices.Reverse(shuffled) // the order of acknowledgement is not that of the journal
	v := compare(10, []source{{"front end", shuffled}, {"journal", someSales(10)}, {"ledger", someSales(10)}})
	if !v.agrees() {
		t.Fatal(v.problems)
	}
	var b strings.Builder
	v.write(&b, pos.Currency{Code: "EUR", Exponent: 2})
	for _, want := range []string{"S 19 %, net", "10.00", "22.60", "T1-1-1 … T1-1-10, no gap"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	v := compare(100, []source{{"front end", someSales(100)}, {"journal", nil}})
	var b strings.Builder
	v.write(&b, pos.Currency{Code: "EUR", Exponent: 2})
	if v.agrees() || len(v.problems) != maxProblems || !strings.Contains(b.String(), "and 82 more") {
		t.Errorf("%d problems, %d more:\n%s", len(v.problems), v.more, b.String())
	}
}

func TestCompareHeads(t *testing.T) {
	journal := map[string]string{"j/1": "a", "j/2": "b"}
	for name, c := range map[string]struct {
		ledger map[string]string
		agrees bool
	}{
		"equal":    {map[string]string{"j/1": "a", "j/2": "b"}, true},
		"behind":   {map[string]string{"j/1": "a"}, true},
		"forked":   {map[string]string{"j/1": "a", "j/2": "c"}, false},
		"invented": {map[string]string{"j/3": "a"}, false},
	} {
		v := &verdict{}
		if v.compareHeads(journal, c.ledger); v.agrees() != c.agrees {
			t.Errorf("%s: %q", name, v.problems)
		}
	}
}
