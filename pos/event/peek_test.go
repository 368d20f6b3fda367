package event

import (
	"bytes"
	"testing"
	"time"

	"posd/pos"
)

// FuzzPeek: whatever peek finds in an event, Parse finds too.
func FuzzPeek(f *testing.F) {
	e := SaleCompleted{Sale: "3f9a0c1e-7", Receipt: "t1-1-7", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Lines: []pos.Line{{Description: `","data":{`, Unit: "pc"}}}
	for _, h := range []Header{
		{}, {Key: "k", Hash: "00ff", Front: "till", Trace: "t", Clock: ClockSynced, Time: time.UnixMilli(1)}, {Key: `a"b`}, {Key: `,"data":{`}, {Front: `\`},
	} {
		b, err := e.AppendEvent(nil, h)
		if err != nil {
			f.Fatal(err)
		}
		p, ok := peek(b)
		if quoted := h.Key == `a"b` || h.Front != "" && h.Key == "" || h.Key == `,"data":{`; ok == quoted {
			f.Errorf("%s: %v", b, ok)
		}
		if ok {
			if sale, receipt, ok := PeekSale(p.Data); !ok || string(sale) != e.Sale || string(receipt) != e.Receipt {
				f.Errorf("%s: %s %s %v", b, sale, receipt, ok)
			}
		}
		f.Add(b)
	}
	step := Basket{Type: TypeBasketParked, Basket: "3f9a0c1e-7", Version: "1-8", State: "parked", Operator: "7"}
	b, err := step.AppendEvent(nil, Header{})
	if err != nil {
		f.Fatal(err)
	}
	p, ok := peek(b)
	if basket, version, two := PeekBasket(p.Data); !ok || !two || string(basket) != step.Basket || string(version) != step.Version {
		f.Errorf("%s: %q %s %s", b, p, basket, version)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1,"type":"x","time":"2026-11-21T00:00:00Z","data":{}}`))
	f.Add([]byte(`{"v":1,"type":"x","type":"y","time":"2026-11-21T00:00:00Z","data":{}}`))
	f.Add([]byte(`{"v":1,"type":"x","time":"2026-11-21T00:00:00Z","data":{},"key":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := peek(b)
		h, data, err := Parse(b)
		if !ok || err != nil {
			return
		}
		if string(p.Type) != h.Type || string(p.Key) != h.Key || string(p.Hash) != h.Hash || !bytes.Equal(p.Data, data) {
			t.Fatalf("%s: %q, parsed %+v %s", b, p, h, data)
		}
		if basket, version, ok := PeekBasket(p.Data); ok {
			if e, err := ParseBasket(h.Type, data); err == nil && (e.Basket != string(basket) || e.Version != string(version)) {
				t.Fatalf("%s: basket %s, version %s", b, basket, version)
			}
		}
		if sale, receipt, ok := PeekSale(p.Data); ok {
			if e, err := ParseSale(data); err == nil && (e.Sale != string(sale) || e.Receipt != string(receipt)) {
				t.Fatalf("%s: sale %s, receipt %s", b, sale, receipt)
			}
		}
	})
}
