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

// Tax is one tax code of the terminal's table, for example {"A", 190000, nil}.
type Tax struct {
	Code  string
	Rate  Rate
	Later []LaterRate // in the order of their dates
}

// LaterRate is the rate of a code from a business date on.
type LaterRate struct {
	From string // YYYY-MM-DD
	Rate Rate
}

// On is the rate on a business date, YYYY-MM-DD.
func (t *Tax) On(date string) Rate {
	rate := t.Rate
	for i := range t.Later {
		if t.Later[i].From <= date {
			rate = t.Later[i].Rate
		}
	}
	return rate
}

// Line is one position of a sale. Price and tax rate are the values in force
// when the item was scanned; later changes of the catalogue do not touch them.
//
//	Amount = Qty × Price (Price itself where Fixed) − Σ Discounts
type Line struct {
	Item        string // catalogue code; empty for an open-price line
	Code        string // what was scanned or keyed, where that was not Item
	Description string
	Department  string
	Unit        string // "pc", "kg", "l", "m"; free text of at most 8 bytes
	Tax         string // tax code
	Rate        Rate   // the rate of that code at the time of sale
	Qty         Qty    // below zero for goods that come back
	Price       Money  // per one unit; of the whole line where Fixed
	Fixed       bool
	List        Money // the price before somebody changed it; with Changed
	Changed     bool  // Price was set by hand in the place of List
	Discounts   []Discount
	Amount      Money   // of the line, in the sale's price mode
	Return      *Return // goods that come back; nil: goods that are sold
	Note        string
	Approved    string // the second operator who allowed it, if one had to
}

// Discount is taken off a line, or off a whole sale.
type Discount struct {
	Percent Rate  // of what was left before it; 0: an amount was given
	Amount  Money // what it took off, zero or more
	Reason  string
	Of      int // in a line: its share of the sale's discount of that number, from 1; 0: its own
}

// Return says where goods that come back were sold.
type Return struct {
	Sale    string // id of that sale; empty: it is not known
	Receipt string // as printed, where the sale is another terminal's or not known
	Line    int    // its number there, from 1; 0 with an unknown sale
	Reason  string
	Tax     Money // with Taxed: of the line's amount, beside it
	Taxed   bool  // with exclusive prices: Tax is its part of what that sale took, and not computed
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
	Cash    TenderKind = "cash"
	Card    TenderKind = "card"    // Reference names the slip, or the payment terminal's own number
	Voucher TenderKind = "voucher" // Reference is its number
	Account TenderKind = "account" // Reference is the customer's
)

// TenderKinds are all of them.
var TenderKinds = [...]TenderKind{Cash, Card, Voucher, Account}

// Tender is one approved payment. An amount below zero is paid out.
type Tender struct {
	ID        string // of a payment that was made step by step, unique in its sale
	Kind      TenderKind
	Amount    Money
	Reference string // required but for cash; never a card number
	Card      *CardData
}

// CardData is what a payment terminal said.
type CardData struct {
	Brand   string // "visa"; free text of at most 32 bytes
	Last4   string // the number's last four digits, or empty
	Auth    string // authorisation code
	Offline bool   // approved without the acquirer, at the shop's own risk
}
