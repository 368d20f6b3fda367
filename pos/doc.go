// Package pos is the domain of the till: money, quantities, tax and the
// arithmetic of one sale. It is pure: no I/O, no clock, no randomness, so that
// the terminal, the hub and a test compute the same cents from the same input.
//
// Money is an integer number of minor units of the sale's currency, quantities
// are integer thousandths, tax rates integer parts per million. Floating point
// touches none of them; products are taken in 128 bits and rounded once, half
// away from zero. Every operation that could overflow reports it.
//
// Compute guarantees, for every list of lines that it accepts:
//
//	gross = net + tax             of each tax code
//	Σ net + Σ tax = total         of the sale
//	Σ amount = Σ gross            with inclusive prices
//	Σ amount = Σ net              with exclusive prices
//
// whatever discounts there are: those of a line and its shares of the sale's make
//
//	amount = quantity × price − Σ discounts     of each line
//	Σ shares = the discount                     of each discount of the sale
//
// CheckTenders guarantees Σ tenders − change = total + rounding, with change from
// cash only and rounding only of what is paid in cash.
//
// Goods that come back are lines with a quantity and an amount below zero. A sale
// whose total is below zero is paid out. All rounding is symmetric: what is sold
// and taken back at once is nothing.
package pos
