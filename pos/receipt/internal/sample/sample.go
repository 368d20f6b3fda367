// Package sample holds the sales that the tests of pos/receipt print, here and in
// the comparison with others. A till would complete them just so: the figures are
// computed by pos.
package sample

import (
	"fmt"

	"posd/pos"
	"posd/pos/event"
)

func qty(s string) pos.Qty {
	q, err := pos.ParseQty(s)
	if err != nil {
		panic(err)
	}
	return q
}

// complete fills in what the till computes.
func complete(e event.SaleCompleted, coin pos.Money) *event.SaleCompleted {
	totals, err := pos.Compute(e.Lines, pos.ComputeOptions{Prices: e.Prices, Rounding: e.Rounding, Discounts: e.Discounts})
	if err != nil {
		panic(fmt.Sprintf("sample: %v", err))
	}
	e.Taxes, e.Total = totals.Taxes, totals.Total
	s, err := pos.CheckTenders(e.Total, e.Tenders, coin)
	if err != nil {
		panic(fmt.Sprintf("sample: %v", err))
	}
	e.Change, e.CashRounding = s.Change, s.Rounding
	return &e
}

// Base is a sale of lines, not paid.
func Base(lines ...pos.Line) event.SaleCompleted {
	return event.SaleCompleted{
		Sale: "3f9a0c1e-1042", Receipt: "T7-1-311", Number: 311, Store: "S042", Terminal: "T7", Shift: 42,
		BusinessDate: "2026-11-21", Operator: "7", Currency: pos.Currency{Code: "EUR", Exponent: 2}, Lines: lines,
	}
}

// All is a sale with everything that a sale can have.
func All() *event.SaleCompleted {
	e := Base(
		pos.Line{Item: "4011", Description: "Bananas", Unit: "kg", Tax: "R", Rate: 70000, Qty: qty("1.25"), Price: 299},
		pos.Line{Item: "2000", Description: "Crème brûlée \"Nº 1\"", Unit: "pc", Tax: "R", Rate: 70000, Qty: qty("3"), Price: 189,
			Discounts: []pos.Discount{{Percent: 100000, Reason: "best before"}}},
		pos.Line{Description: "A long description of something that has to be wrapped over several lines", Unit: "pc", Tax: "S", Rate: 190000,
			Qty: qty("1"), Price: 4999, List: 5999, Changed: true, Note: "last piece, box opened"},
		pos.Line{Department: "FUEL", Unit: "l", Tax: "S", Rate: 190000, Qty: qty("7.127"), Price: 1126, Fixed: true},
		pos.Line{Item: "77", Description: "Umbrella", Unit: "pc", Tax: "S", Rate: 190000, Qty: qty("-1"), Price: 1500,
			Return: &pos.Return{Sale: "3f9a0c1e-977", Receipt: "T7-1-290", Line: 2, Reason: "broken"}},
	)
	e.Discounts = []pos.Discount{{Percent: 50000, Reason: "staff"}, {Amount: 100}}
	e.Customer, e.Note, e.Age = "C-4711", "Leave at the counter", 18
	e.Tenders = []pos.Tender{
		{Kind: pos.Card, Amount: 2000, Reference: "A1", Card: &pos.CardData{Brand: "visa", Last4: "1234", Auth: "554433", Offline: true}},
		{Kind: pos.Voucher, Amount: 500, Reference: "V-99"},
		{Kind: pos.Account, Amount: 500, Reference: "C-4711"},
		{Kind: pos.Cash, Amount: 5000},
	}
	return complete(e, 5)
}

func bread() pos.Line {
	return pos.Line{Description: "Rye bread", Unit: "pc", Tax: "B", Rate: 70000, Qty: qty("2"), Price: 349}
}

// Simple is one line, paid in cash.
func Simple() *event.SaleCompleted {
	e := Base(bread())
	e.Tenders = []pos.Tender{{Kind: pos.Cash, Amount: 1000}}
	return complete(e, 0)
}

// Void takes a sale back.
func Void() *event.SaleCompleted {
	line := bread()
	line.Qty, line.Return = -line.Qty, &pos.Return{Sale: "3f9a0c1e-1041", Line: 1}
	e := Base(line)
	e.VoidOf, e.VoidReceipt = "3f9a0c1e-1041", "T7-1-310"
	e.Tenders = []pos.Tender{{Kind: pos.Card, Amount: -698, Reference: "A1"}}
	return complete(e, 0)
}

// Exclusive has prices without tax.
func Exclusive() *event.SaleCompleted {
	line := bread()
	line.Discounts = []pos.Discount{{Amount: 50}}
	e := Base(line, pos.Line{Description: "Batteries", Unit: "pc", Tax: "NY", Rate: 88750, Qty: qty("1"), Price: 1010})
	e.Prices, e.Currency = pos.Exclusive, pos.Currency{Code: "USD", Exponent: 2}
	e.Tenders = []pos.Tender{{Kind: pos.Card, Amount: 1793, Reference: "0042"}}
	return complete(e, 0)
}

// Wide has characters that take two columns, or none.
func Wide() *event.SaleCompleted {
	e := Base(pos.Line{Description: "緑茶 (500ml) とても長い名前の商品なので折り返します", Unit: "pc", Tax: "A", Rate: 80000, Qty: qty("2"), Price: 150},
		pos.Line{Description: "Cafe\u0301 glacé", Unit: "pc", Tax: "B", Rate: 100000, Qty: qty("1"), Price: 98000})
	e.Currency = pos.Currency{Code: "JPY"}
	e.Tenders = []pos.Tender{{Kind: pos.Cash, Amount: 100000}}
	return complete(e, 0)
}

// Largest has the largest amount that there is.
func Largest() *event.SaleCompleted {
	e := Base(pos.Line{Description: "Land", Unit: "pc", Tax: "LONGCODE", Rate: 190000, Qty: qty("1"), Price: pos.MaxAmount})
	e.Currency = pos.Currency{Code: "KWD", Exponent: 3}
	e.Tenders = []pos.Tender{{Kind: pos.Card, Amount: pos.MaxAmount, Reference: "1"}}
	return complete(e, 0)
}
