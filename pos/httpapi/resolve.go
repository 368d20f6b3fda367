package httpapi

import (
	"strconv"

	"posd/pos"
	"posd/pos/register"
	"posd/pos/till"
)

// terms are what lines are priced with.
type terms struct {
	*register.Settings
	date string // business date, whose prices and rates hold
}

func (s *Server) terms() terms { return terms{s.o.Register.Settings(), s.o.Register.BusinessDate()} }

// hold says whether the terms are those of a turn of the loop.
func (c *terms) hold(t *register.Turn) bool { return t.Settings == c.Settings && t.Day() == c.date }

// resolve turns the request's lines into the sale's, with the price, the texts
// and the tax rate of set. Lines are appended to dst.
func (s *Server) resolve(dst []pos.Line, req *request, set *terms) ([]pos.Line, pos.PriceMode, *problem) {
	prices := set.Prices
	if req.prices != "" {
		var err error
		if prices, err = pos.ParsePriceMode(req.prices); err != nil {
			return dst, 0, refuse("value-invalid", err.Error()).at("/prices")
		}
	}
	if c := s.o.Terminal.Currency.Code; req.currency != "" && req.currency != c {
		return dst, 0, refuse("currency-mismatch", "this terminal sells in "+c+"; leave currency out or send that").at("/currency")
	}
	if len(req.lines) == 0 {
		return dst, 0, refuse("no-lines", "a sale has at least one line").at("/lines")
	}
	for i := range req.lines {
		dst = append(dst, pos.Line{})
		if bad := s.line(&dst[len(dst)-1], &req.lines[i], i, set); bad != nil {
			return dst, 0, bad
		}
		if years := req.lines[i].minAge; years > req.age {
			return dst, 0, refuse(till.CodeAge, "line "+strconv.Itoa(i+1)+" may be sold to buyers of "+strconv.Itoa(years)+" years or more only; make sure and send age").at("/age")
		}
	}
	return dst, prices, nil
}

func (s *Server) line(l *pos.Line, r *requestLine, i int, set *terms) *problem {
	*l = pos.Line{
		Item: r.item, Description: r.description, Department: r.department, Unit: r.unit,
		Tax: r.tax, Qty: r.qty, Price: r.price, Fixed: r.fixed, Note: r.note, Discounts: r.discounts,
	}
	if r.fixed {
		l.Price = r.amount
	}
	if r.priced && r.fixed {
		return refuse("price-and-amount", "line "+strconv.Itoa(i+1)+" has a price and an amount; send one of them").at(linePointer(i, "amount"))
	}
	switch {
	case !r.counted:
		l.Qty = 1000
	case l.Qty == 0 && !r.fixed: // a deposit or a coupon may have an amount and no quantity
		return refuse("quantity-invalid", "line "+strconv.Itoa(i+1)+" has quantity 0; leave the line out, or send its amount").at(linePointer(i, "quantity"))
	}
	if r.item != "" {
		if bad := s.fromCatalogue(l, r, i, set); bad != nil {
			return bad
		}
	} else if bad := openLine(r, i); bad != nil {
		return bad
	}
	r.unknown = r.item == ""
	if l.Unit == "" {
		l.Unit = "pc"
	}
	rate, ok := set.Rate(l.Tax, set.date)
	if !ok {
		return refuse("unknown-tax", "line "+strconv.Itoa(i+1)+": tax code "+strconv.Quote(l.Tax)+
			" is not in the tax table of the terminal's configuration").at(linePointer(i, "tax"))
	}
	l.Rate = rate
	return nil
}

func openLine(r *requestLine, i int) *problem {
	n := "line " + strconv.Itoa(i+1) + " has no item; "
	switch {
	case r.description == "":
		return refuse("description-required", n+"send its description").at(linePointer(i, "description"))
	case r.tax == "":
		return refuse("tax-required", n+"send its tax code").at(linePointer(i, "tax"))
	case !r.priced && !r.fixed:
		return refuse("price-required", n+"send its price or amount").at(linePointer(i, "price"))
	}
	return nil
}

func setDefault(s *string, to string) {
	if *s == "" {
		*s = to
	}
}
