package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"posd/pos/tradeday"
)

// The committed distributions are what the data gives.
func TestCommittedOutput(t *testing.T) {
	dir := os.Getenv("POSD_DATA")
	if dir == "" {
		dir = "../../../../shared/data/groceries"
	}
	if _, err := os.Stat(filepath.Join(dir, "transactions.csv.gz")); err != nil {
		t.Skipf("the real data is not here (set POSD_DATA to its folder): %v", err)
	}
	d, err := fit(tradeday.Real(dir))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encode(d)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../distributions.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("distributions.json is out of date: run go run ./pos/tradeday/fit DIR")
	}
}

// Fit over a synthetic day comes out like the distributions that made it.
func TestFitOfSynthetic(t *testing.T) {
	d, err := fit(tradeday.Synthetic(1, 20000))
	if err != nil {
		t.Fatal(err)
	}
	if d.Baskets != 20000 || len(d.PerBasket) < 8 || d.PerBasket[0] != 0 {
		t.Errorf("%d baskets, lines per basket %v", d.Baskets, d.PerBasket)
	}
	// 65 % of the real baskets have one line; 20,000 draws are within 2 %.
	if share := d.PerBasket[1] * 100 / d.Baskets; share < 63 || share > 67 {
		t.Errorf("%d %% of the baskets have one line", share)
	}
	for _, dep := range d.Departments {
		if dep.Name == "GROCERY" && (dep.Lines*100/d.Lines < 61 || dep.Lines*100/d.Lines > 65) {
			t.Errorf("%d of %d lines are groceries", dep.Lines, d.Lines)
		}
	}
}

func TestThin(t *testing.T) {
	values := map[int64]int64{}
	for v := int64(1); v <= 1000; v++ {
		values[v] = v % 7
	}
	total, kept := int64(0), int64(0)
	for _, n := range values {
		total += n
	}
	rows := thin(values)
	for i, row := range rows {
		kept += row[1]
		if i > 0 && row[0] <= rows[i-1][0] {
			t.Errorf("row %d: %v after %v", i, row, rows[i-1])
		}
	}
	if len(rows) > most || len(rows) < most-2 || kept != total {
		t.Errorf("%d rows hold %d of %d", len(rows), kept, total)
	}
}
