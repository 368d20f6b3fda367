package pos

// Money is an amount in minor units (cents for EUR, yen for JPY) of the one
// currency that the surrounding sale or shift names.
type Money int64

// Qty is a quantity in thousandths of the line's unit: 1500 is 1.5 kg or 1.5 pieces.
type Qty int64

// Rate is a tax rate in parts per million: 190000 is 19 %.
type Rate int64

// Currency is an ISO 4217 alphabetic code with its number of decimals.
type Currency struct {
	Code     string
	Exponent int
}

// PriceMode says whether the prices of a sale contain the tax.
type PriceMode uint8

const (
	Inclusive PriceMode = iota
	Exclusive
)

// Rounding says where tax is rounded: once per tax code over the document, or
// on every line (then summed).
type Rounding uint8

const (
	PerDocument Rounding = iota
	PerLine
)

// Tax is one tax code of the terminal's table, for example {"A", 190000}.
type Tax struct {
	Code string
	Rate Rate
}

// Line is one position of a sale. Price and tax rate are the values in force
// when the item was scanned; later changes of the catalogue do not touch them.
type Line struct {
	Item        string // catalogue code; empty for an open-price line
	Description string
	Department  string
	Unit        string // "pc", "kg", "l", "m"; free text of at most 8 bytes
	Tax         string // tax code
	Rate        Rate   // the rate of that code at the time of sale
	Qty         Qty
	Price       Money // per one unit; meaningless when Fixed
	Fixed       bool  // Amount was given for the whole line, Price was not
	Amount      Money // of the line, in the sale's price mode
}

// TaxTotal is the sum over all lines of one tax code.
type TaxTotal struct {
	Code  string
	Rate  Rate
	Net   Money
	Tax   Money
	Gross Money // Net + Tax
}

// TenderKind is how a sale was paid.
type TenderKind string

const (
	Cash TenderKind = "cash"
	Card TenderKind = "card" // settled on a standalone terminal; Reference names its slip
)

// Tender is one approved payment.
type Tender struct {
	Kind      TenderKind
	Amount    Money
	Reference string // required for card; never a card number
}
