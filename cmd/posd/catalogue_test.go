package main

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/catalogue"
)

// Prices of another currency are no prices: after a new journal in another one the old
// catalogue sells nothing, and says why.
func TestCatalogueInAnotherCurrency(t *testing.T) {
	s := newSite(t)
	put := func(c pos.Currency) {
		o := catalogue.ImportOptions{Taxes: map[string]bool{"A": true}, Currency: c}
		items := strings.NewReader("code,description,department,unit,price,tax\n4006381333931,Pen,Paper,pc,129,A\n")
		if _, err := catalogue.Import(context.Background(), items, filepath.Join(s.dir, "catalogue.db"), o); err != nil {
			t.Fatal(err)
		}
	}
	put(pos.Currency{Code: "JPY"})
	r := s.start()
	defer r.stop(syscall.SIGTERM)
	pen := `{"lines":[{"item":"4006381333931"}],"tenders":[{"kind":"cash","amount":100000}]}`
	const why = "another currency: JPY, the terminal sells in EUR"
	if code, b := r.ask("/v1/checkout", pen, "one"); code != 422 || !strings.Contains(b, "unknown-item") || !strings.Contains(b, why) {
		t.Errorf("%d %s", code, b)
	}
	if _, b := r.get("/v1/status"); !strings.Contains(b, `"degraded","reasons":["no item codes`) || !strings.Contains(b, why) {
		t.Errorf("%s", b)
	}
	put(pos.Currency{Code: "EUR", Exponent: 2})
	for code, b := 0, ""; code != 201; time.Sleep(50 * time.Millisecond) {
		if code, b = r.ask("/v1/checkout", pen, "two"); code != 201 && code != 422 {
			t.Fatalf("%d %s", code, b)
		}
	}
	if _, b := r.get("/v1/status"); strings.Contains(b, why) {
		t.Errorf("%s", b)
	}
}
