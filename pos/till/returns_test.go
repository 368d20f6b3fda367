package till

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"posd/pos"
	"posd/pos/event"
)

// In however many parts and baskets the goods of a sale come back, whatever is voided
// meanwhile: what is given back for them, tax included, is never more than was paid, and
// all of it where nothing was voided.
func TestPartsAreNeverMoreThanWasPaid(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFold(t)
		sale := drawSold(rt)
		must := func(e *event.Basket, err error) *event.Basket {
			if err != nil {
				rt.Fatal(err)
			}
			f.take(e, "")
			return e
		}
		open := func() Step {
			return Step{Basket: must(f.Open(Step{Operator: "7"}, f.rules, "", sale.Prices, false, time.UnixMilli(1))).Basket, Operator: "7"}
		}
		back, given, voided := map[int]Back{}, pos.Money(0), false
		complete := func(o Step) {
			sums, err := f.Find(o.Basket).Sums(f.rules)
			if err != nil {
				rt.Fatal(err)
			}
			given -= sums.Total
			for n, x := range f.Find(o.Basket).Returning(sale.Sale) {
				back[n] = back[n].Plus(x)
			}
			must(f.Void(o, f.rules)) // the goods are in back from here on
		}
		baskets := []Step{open(), open()}
		for range rapid.IntRange(0, 30).Draw(rt, "steps") {
			f.rules.Rounding = pos.Rounding(rapid.IntRange(0, 1).Draw(rt, "rounding of the basket"))
			i := rapid.IntRange(0, 1).Draw(rt, "basket")
			o := baskets[i]
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				if lines := f.Find(o.Basket).Lines; len(lines) > 0 {
					must(f.VoidLine(o, f.rules, lines[rapid.IntRange(0, len(lines)-1).Draw(rt, "void")].N))
					voided = true
				}
			case 1:
				complete(o)
				baskets[i] = open()
			case 2: // a restart
				s, err := ParseState(f.Append(nil))
				if err != nil {
					rt.Fatal(err)
				}
				f.State = s
			default:
				n := rapid.IntRange(1, len(sale.Lines)).Draw(rt, "line")
				left := sale.Lines[n-1].Qty - back[n].Qty - f.returning(f.Find(o.Basket), sale.Sale)[n].Qty
				if left > 0 {
					qty := rapid.Int64Range(1, int64(min(left, rapid.SampledFrom([]pos.Qty{1, 1000, left}).Draw(rt, "most")))).Draw(rt, "qty")
					must(f.AddReturn(o, f.rules, sale, n, pos.Qty(qty), back[n]))
				}
			}
		}
		complete(baskets[0])
		complete(baskets[1])
		o := open()
		for n := range sale.Lines {
			if left := sale.Lines[n].Qty - back[n+1].Qty; left > 0 {
				must(f.AddReturn(o, f.rules, sale, n+1, left, back[n+1]))
			}
		}
		complete(o)
		if given > sale.Total || !voided && given < sale.Total {
			rt.Fatalf("paid %d, given back %d; sold %+v", sale.Total, given, sale.Lines)
		}
	})
}

// drawSold is a sale of anything, by any rules.
func drawSold(rt *rapid.T) *event.SaleCompleted {
	sale := &event.SaleCompleted{
		Sale: "x-1", Receipt: "t1-1-1",
		Prices:   pos.PriceMode(rapid.IntRange(0, 1).Draw(rt, "prices")),
		Rounding: pos.Rounding(rapid.IntRange(0, 1).Draw(rt, "rounding")),
	}
	for range rapid.IntRange(1, 4).Draw(rt, "lines") {
		l := pos.Line{Description: "article", Unit: "kg", Tax: "A",
			Rate:  rapid.SampledFrom([]pos.Rate{0, 70000, 190000, 88750, pos.MaxRate}).Draw(rt, "rate"),
			Qty:   pos.Qty(rapid.Int64Range(1, 9).Draw(rt, "pieces") * rapid.SampledFrom([]int64{1, 1000}).Draw(rt, "of")),
			Price: pos.Money(rapid.Int64Range(0, 400).Draw(rt, "price"))}
		if rapid.IntRange(0, 3).Draw(rt, "off") == 0 {
			l.Discounts = []pos.Discount{{Percent: 333333}}
		}
		sale.Lines = append(sale.Lines, l)
	}
	t, err := pos.Compute(sale.Lines, pos.ComputeOptions{Prices: sale.Prices, Rounding: sale.Rounding})
	if err != nil {
		rt.Fatal(err)
	}
	sale.Taxes, sale.Total = t.Taxes, t.Total
	return sale
}

// The parts of what a former release has given some of back, without keeping its tax: what
// is left is no more than the rest.
func TestPartsBehindAFormerRelease(t *testing.T) {
	sale := &event.SaleCompleted{Sale: "x-1", Prices: pos.Exclusive, Rounding: pos.PerLine, Lines: []pos.Line{{Description: "screw", Unit: "kg", Tax: "A", Rate: 190000, Qty: 400_000, Price: 3}}}
	if _, err := pos.Compute(sale.Lines, pos.ComputeOptions{Prices: sale.Prices, Rounding: sale.Rounding}); err != nil {
		t.Fatal(err)
	}
	l, err := ReturnLine(sale, 1, 200_000, Back{Qty: 200_000, Amount: 600}, "rust")
	if err != nil || l.Amount != -600 || l.Return.Tax != -115 { // half of 2.28, and the cent that it may be rounded by
		t.Errorf("%+v %+v, %v", l, l.Return, err)
	}
}
