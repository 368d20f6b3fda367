// Package tradeday gives days of trade to put through a till: real baskets from
// "The Complete Journey" (84.51°/dunnhumby, CC0), and synthetic ones drawn from
// distributions that were counted in them. It is for demonstrations, tests and
// load; posd does not import it.
//
// Real and Synthetic guarantee baskets in order of time, each with an id of its
// own, with lines that pos.Compute accepts and tenders that pos.CheckTenders
// accepts. The same seed gives the same synthetic day on every machine.
//
// The data has neither tax nor tenders. These are the rules that add them:
//
//   - Prices contain the tax, in a currency of two decimals.
//   - Tax by department: food is R (7 %), coupons, tickets, stamps and donations
//     are E (0 %), all else is S (19 %). Department says which. Petrol is in
//     department FUEL, under whatever department the product list has it.
//   - Tenders by the last digit of the basket's id: 0 to 5 pay by card, exactly,
//     with the reference "slip <id>"; 6 to 9 pay cash, rounded up to the next
//     note (5, 10, 20, 50, 100, 200, then multiples of 200). A basket that costs
//     nothing has no tender.
//   - Operator: the digit before the last, plus 1.
//
// Real lines carry what the shopper paid (sales_value) as the fixed amount of the
// line, with the recorded quantity: tens of thousands for petrol by the millilitre,
// and sometimes 0. An amount such as 4.440892e-16 is read exactly and rounded to
// the cent, half away from zero. A product that is in no list is sold without an
// item code, with a description.
//
// Synthetic lines carry an item of the synthetic catalogue with quantity × price;
// petrol is sold by the litre with three decimals. Lines that were free, and lines
// of no listed product, have a fixed amount.
//
// The data is a sample of lines, so its baskets are smaller than real ones.
package tradeday
