package figures

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	v := []float64{9, 1, 3}
	if m := Median(v); m != 3 || v[0] != 9 {
		t.Error(m, v)
	}
	if m := Median([]float64{4, 1, 3, 9}); m != 3.5 {
		t.Error(m)
	}
	if m := Median(nil); !math.IsNaN(m) {
		t.Error(m)
	}
}

func TestTable(t *testing.T) {
	table := Table{[]string{"store", "a second"}, [][]string{{"posd", "10"}, {"other", "2"}}}
	var b strings.Builder
	table.Print(&b)
	if want := "  store  a second\n   posd        10\n  other         2\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	if got, want := table.Markdown(), "| store | a second |\n|---|---:|\n| posd | 10 |\n| other | 2 |\n"; got != want {
		t.Errorf("%q", got)
	}
}

// TestDocument: the folder is made, and a template that asks for what is not there is an error.
func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docs", "bench.md")
	figures := struct{ Rate int }{7}
	if err := Document(path, "{{.Rate}} a second\n", figures); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "7 a second\n" {
		t.Errorf("%q, %v", b, err)
	}
	for _, wrong := range []string{"{{.Rate", "{{.Other}}"} {
		if err := Document(path, wrong, figures); err == nil {
			t.Errorf("%s: written", wrong)
		}
	}
}
