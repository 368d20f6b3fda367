package main

import (
	"fmt"
	"testing"
)

func sales(n int) (all []sold) {
	for i := range n {
		all = append(all, sold{fmt.Sprint("k", i), fmt.Sprint("s", i), fmt.Sprint("t1-1-", i+1), uint64(i + 1), int64(i)})
	}
	return all
}

func TestCompare(t *testing.T) {
	if err := compare(sales(5), sales(5)); err != nil {
		t.Fatal(err)
	}
	if err := control(sales(5), sales(5)); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func([]sold) []sold{
		"lost":           func(s []sold) []sold { return append(s[:2], s[3:]...) },
		"twice":          func(s []sold) []sold { return append(s, s[1]) },
		"another amount": func(s []sold) []sold { s[1].Total++; return s },
		"another key":    func(s []sold) []sold { s[1].Key = "x"; return s },
		"same receipt":   func(s []sold) []sold { s[1].Receipt = s[2].Receipt; return s },
	} {
		if compare(sales(5), spoil(sales(5))) == nil {
			t.Error(name, "was not noticed")
		}
	}
	gap := sales(5)
	gap[4].Number, gap[4].Receipt = 6, "t1-1-6"
	if compare(gap, gap) == nil {
		t.Error("a gap in the receipts was not noticed")
	}
}
