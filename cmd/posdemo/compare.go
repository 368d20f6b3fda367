package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"posd/pos"
)

// source is one independent account of what was sold.
type source struct {
	name  string
	sales []sold
}

// column is what was found in one source.
type column struct {
	name                    string
	sales                   int // different ones
	missing, twice, unknown int // against the first source
	differ                  int
	taxes                   []pos.TaxTotal // by code and rate
	total                   pos.Money
}

// verdict is the comparison of all sources with the first, the front end's.
type verdict struct {
	columns  []column
	receipts string   // "T1-1-1 … T1-1-3000"
	problems []string // empty: all agree; at most maxProblems are kept
	more     int      // problems beyond
}

const maxProblems = 20

func (v *verdict) agrees() bool { return len(v.problems) == 0 }

func (v *verdict) problem(format string, args ...any) {
	if len(v.problems) == maxProblems {
		v.more++
		return
	}
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

// compare holds the sources against the first, and that against the number of
// baskets that there were to sell.
func compare(baskets int, sources []source) *verdict {
	v := &verdict{}
	first := index(sources[0].sales)
	if len(first) != baskets {
		v.problem("%d baskets were to be sold, %s has %d", baskets, sources[0].name, len(first))
	}
	for i := range sources {
		v.columns = append(v.columns, v.look(&sources[i], sources[0].name, first))
	}
	for i := range v.columns {
		a, b := &v.columns[0], &v.columns[i]
		if a.total != b.total {
			v.problem("%s has a total of %d, %s of %d", a.name, a.total, b.name, b.total)
		}
		if !slices.Equal(a.taxes, b.taxes) {
			v.problem("%s has taxes %v, %s %v", a.name, a.taxes, b.name, b.taxes)
		}
		v.checkReceipts(sources[i])
	}
	return v
}

// index has the sales by key; of a key that is there twice it has the first.
func index(sales []sold) map[string]*sold {
	m := make(map[string]*sold, len(sales))
	for i := range sales {
		if _, twice := m[sales[i].Key]; !twice {
			m[sales[i].Key] = &sales[i]
		}
	}
	return m
}

// look adds up one source, each line of it, and compares it with the first.
func (v *verdict) look(s *source, firstName string, first map[string]*sold) column {
	c := column{name: s.name}
	keys, ids, receipts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range s.sales {
		sale := &s.sales[i]
		if keys[sale.Key] || ids[sale.Sale] || receipts[sale.Receipt] {
			c.twice++
			v.problem("%s has twice (by key, id or receipt): %s", s.name, sale)
		}
		keys[sale.Key], ids[sale.Sale], receipts[sale.Receipt] = true, true, true
		switch want := first[sale.Key]; {
		case want == nil:
			c.unknown++
			v.problem("%s has a sale that was never acknowledged: %s", s.name, sale)
		case !want.same(sale):
			c.differ++
			v.problem("%s has %s, %s has %s", firstName, want, s.name, sale)
		}
		c.total += sale.Total
		c.taxes = addTaxes(c.taxes, sale.Taxes)
		v.checkSum(s.name, sale)
	}
	c.sales = len(keys)
	for key, sale := range first {
		if !keys[key] {
			c.missing++
			v.problem("%s has lost %s", s.name, sale)
		}
	}
	slices.SortFunc(c.taxes, func(a, b pos.TaxTotal) int {
		return cmp.Or(strings.Compare(a.Code, b.Code), cmp.Compare(a.Rate, b.Rate))
	})
	return c
}

func addTaxes(sums, taxes []pos.TaxTotal) []pos.TaxTotal {
	for _, t := range taxes {
		at := slices.IndexFunc(sums, func(s pos.TaxTotal) bool { return s.Code == t.Code && s.Rate == t.Rate })
		if at < 0 {
			sums = append(sums, t)
			continue
		}
		s := &sums[at]
		s.Net, s.Tax, s.Gross = s.Net+t.Net, s.Tax+t.Tax, s.Gross+t.Gross
	}
	return sums
}

// checkSum: the taxes of a sale make its total.
func (v *verdict) checkSum(name string, s *sold) {
	var gross pos.Money
	for _, t := range s.Taxes {
		if t.Net+t.Tax != t.Gross {
			v.problem("%s: net and tax of code %s are not the gross: %s", name, t.Code, s)
		}
		gross += t.Gross
	}
	if gross != s.Total {
		v.problem("%s: the taxes are not the total: %s", name, s)
	}
}

// checkReceipts: per branch, the numbers are 1, 2, 3, … without a gap.
func (v *verdict) checkReceipts(s source) {
	numbers := map[string][]uint64{}
	for i := range s.sales {
		sale := &s.sales[i]
		if want := fmt.Sprintf("%s-%d", branchOf(sale.Receipt), sale.Number); sale.Receipt != want {
			v.problem("%s: receipt %s has number %d", s.name, sale.Receipt, sale.Number)
		}
		numbers[branchOf(sale.Receipt)] = append(numbers[branchOf(sale.Receipt)], sale.Number)
	}
	var texts []string
	for branch, n := range numbers {
		slices.Sort(n)
		for i, number := range n {
			if number != uint64(i+1) {
				v.problem("%s: the receipts of %s have a gap or a double at %d", s.name, branch, i+1)
				break
			}
		}
		texts = append(texts, fmt.Sprintf("%s-1 … %s-%d", branch, branch, n[len(n)-1]))
	}
	slices.Sort(texts)
	v.receipts = strings.Join(texts, ", ")
}

// write prints the table.
func (v *verdict) write(w io.Writer, c pos.Currency) {
	row := func(label string, cell func(*column) string) {
		fmt.Fprintf(w, "  %-22s", label)
		for i := range v.columns {
			fmt.Fprintf(w, "%16s", cell(&v.columns[i]))
		}
		fmt.Fprintln(w)
	}
	number := func(n func(*column) int) func(*column) string {
		return func(c *column) string { return fmt.Sprint(n(c)) }
	}
	row("", func(c *column) string { return c.name })
	row("sales", number(func(c *column) int { return c.sales }))
	row("missing", number(func(c *column) int { return c.missing }))
	row("twice", number(func(c *column) int { return c.twice }))
	row("never acknowledged", number(func(c *column) int { return c.unknown }))
	row("told differently", number(func(c *column) int { return c.differ }))
	for i, t := range v.columns[0].taxes {
		cell := func(money func(pos.TaxTotal) pos.Money) func(*column) string {
			return func(col *column) string {
				if i >= len(col.taxes) {
					return "none"
				}
				return money(col.taxes[i]).Format(c)
			}
		}
		row(fmt.Sprintf("%s %s %%, net", t.Code, t.Rate), cell(func(t pos.TaxTotal) pos.Money { return t.Net }))
		row("      tax", cell(func(t pos.TaxTotal) pos.Money { return t.Tax }))
	}
	row("total "+c.Code, func(col *column) string { return col.total.Format(c) })
	gaps := "no gap"
	if !v.agrees() {
		gaps = "see below"
	}
	fmt.Fprintf(w, "  %-22s  %s, %s\n", "receipts", v.receipts, gaps)
	for _, p := range v.problems {
		fmt.Fprintln(w, "  WRONG:", p)
	}
	if v.more > 0 {
		fmt.Fprintf(w, "  … and %d more\n", v.more)
	}
}

// compareHeads: every event of the journal stands in the ledger under the same
// name and head. The ledger may be behind by events that are not sales.
func (v *verdict) compareHeads(journal, ledger map[string]string) {
	for name, head := range ledger {
		if other, ok := journal[name]; !ok || other != head {
			v.problem("event %s of the ledger has head %s, in the journal it is %q", name, head, other)
		}
	}
}
