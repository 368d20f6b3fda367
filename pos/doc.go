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
// CheckTenders guarantees Σ tenders − change = total, with change from cash only.
//
// The package does not know discounts, returns or cash rounding: an amount, a
// price or a quantity below zero is refused with ErrNegative.
package pos
