// Package itemcode reads what a scanner sends or a cashier types and says which
// item is meant and what else the code carries: quantity, price, batch, dates,
// serial number.
//
// It knows GTIN-8, -12, -13 and -14 in all their spellings, UPC-E, GS1 element
// strings (GS1-128, DataBar, DataMatrix, QR; also as they are printed, with
// brackets) and GS1 Digital Link, the variable-measure codes that scales print, by
// the patterns of the shop's country, and takes everything else for an internal code.
// Lengths, characters and check digits are those of the GS1 General Specifications,
// release 24 (sections 3 and 7.8 to 7.12), and of GS1's Barcode Syntax Dictionary.
//
// It guarantees to the till that a code which carries a quantity or a price gives
// that one or an error, never another: check digits, price verifier digits, dates and
// decimals are checked, and what cannot be counted in thousandths of a unit, or not
// in the till's currency, is refused and not rounded. An error names the place in the
// code and says what to do (see Error).
//
// What it does not do: it knows no items. Whether a code is in the catalogue, may be
// sold, or has expired is for others to say. Where a code can be read in more than one
// way (eight digits may be GTIN-8 or UPC-E, thirteen digits with a wrong check digit
// may be a number of the shop's own) Code.Items holds the readings in the order in
// which to try them. A pattern that is too wide would take an ordinary GTIN for a label:
// Code.Whole comes before them, and what the catalogue has by it is no label (see Plain).
//
// It is pure, keeps nothing, bounds its input, and allocates only for a price or
// weight label (once) and for a Digital Link with escapes.
package itemcode
