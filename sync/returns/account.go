package returns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/event"
	"posd/sync/ledger"
)

// States of a receipt of which something came back.
const (
	Fine    = "fine"    // no more than was sold
	Over    = "over"    // more
	Waiting = "waiting" // the sale is not here, and may still come
	Unknown = "unknown" // it is not here, and not expected any more
)

// Receipt is what came back of one receipt.
type Receipt struct {
	Store    string        `json:"store"`
	Number   string        `json:"receipt"`
	Terminal string        `json:"terminal,omitempty"` // that gives such numbers; "" for a number that none gives
	State    string        `json:"state"`
	Why      string        `json:"why,omitempty"` // for a person
	First    time.Time     `json:"first"`         // when head office had the first return of it
	Last     time.Time     `json:"last"`          // and the last one
	Sales    []ledger.Name `json:"sales,omitempty"`
	Compared []Compared    `json:"compared"` // what is too much comes first; at most 50
	Count    int           `json:"count"`    // sales that gave something of it back
	Returns  []Return      `json:"returns"`  // the last 20 of them
	Settled  *Settled      `json:"settled,omitempty"`
}

// Compared is a line, an item, or, with neither, the whole receipt. Amounts are gross.
type Compared struct {
	Sale        string    `json:"sale,omitempty"` // with Line
	Line        int       `json:"line,omitempty"`
	Item        string    `json:"item,omitempty"`
	Description string    `json:"description,omitempty"`
	Currency    string    `json:"currency"`
	Sold        string    `json:"sold,omitempty"` // quantities
	Back        string    `json:"back,omitempty"`
	Paid        pos.Money `json:"paid"`
	Given       pos.Money `json:"given"`
	Over        bool      `json:"over,omitempty"`
}

// Return is a sale that gave goods back.
type Return struct {
	At           time.Time   `json:"at"` // when head office looked at it
	Event        ledger.Name `json:"event"`
	Store        string      `json:"store"`
	Terminal     string      `json:"terminal"`
	Receipt      string      `json:"receipt"` // its own
	BusinessDate string      `json:"business_date"`
	Operator     string      `json:"operator"`
	Approved     string      `json:"approved,omitempty"`
	Currency     string      `json:"currency"`
	Exponent     int         `json:"exponent"`       // decimals of its amounts
	Lines        []Line      `json:"lines"`          // at most 20
	More         int         `json:"more,omitempty"` // lines that are not shown
}

// Line is goods that came back, as positive figures; the amount as the till counted it.
type Line struct {
	Item        string    `json:"item,omitempty"`
	Description string    `json:"description,omitempty"`
	Quantity    string    `json:"quantity"`
	Amount      pos.Money `json:"amount"`
	Of          int       `json:"of,omitempty"` // line of the receipt
	Reason      string    `json:"reason,omitempty"`
	Approved    string    `json:"approved,omitempty"`
}

// Settled says that somebody has seen to a receipt.
type Settled struct {
	By  string    `json:"by"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

const (
	maxSums     = 1000 // of one receipt; the record of a sale holds no more lines
	maxShown    = 20
	maxCompared = 50
	maxText     = 120 // bytes of a text that a till wrote
	maxSales    = 16  // with one number, that are looked at
)

// account is a receipt with the sums that are compared.
type account struct {
	Receipt
	Sums []sum `json:"sums"`
}

// key says what a sum is of. Net is the rate of tax that stands beside the amount.
type key struct {
	Sale     string   `json:"sale,omitempty"`
	Line     int      `json:"line,omitempty"`
	Item     string   `json:"item,omitempty"`
	Currency string   `json:"currency"`
	Exponent int      `json:"exponent,omitempty"`
	Net      pos.Rate `json:"net,omitempty"`
}

type sum struct {
	key
	Description string    `json:"description,omitempty"`
	Qty         pos.Qty   `json:"quantity"`
	Amount      pos.Money `json:"amount"`
}

func accountKey(store, number string) string { return store + "/" + url.PathEscape(number) }

// terminalOf is the terminal that gives numbers like <terminal>-<branch>-<n>, "" if none does.
func terminalOf(number string) string {
	rest := number
	for range 2 {
		i := strings.LastIndexByte(rest, '-')
		if i < 1 || i == len(rest)-1 || strings.Trim(rest[i+1:], "0123456789") != "" {
			return ""
		}
		rest = rest[:i]
	}
	for i := range len(number) {
		if number[i] <= ' ' || number[i] > '~' {
			return ""
		}
	}
	return rest
}

// short cuts a text that a till wrote.
func short(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// sumOf is what a line counts for, with its signs turned where it came back.
func sumOf(e *event.SaleCompleted, l *pos.Line) sum {
	s := sum{key: key{Item: short(l.Item), Currency: short(e.Currency.Code), Exponent: e.Currency.Exponent},
		Description: short(l.Description), Qty: l.Qty, Amount: l.Amount}
	if e.Prices == pos.Exclusive {
		s.Net = l.Rate
	}
	if r := l.Return; r != nil {
		s.Sale, s.Line = short(r.Sale), r.Line
		s.Qty, s.Amount = -l.Qty, -l.Amount
	}
	return s
}

// back are the lines that give something back of a receipt, "" of none.
func back(e *event.SaleCompleted, number string) (lines []*pos.Line) {
	for i := range e.Lines {
		if r := e.Lines[i].Return; r != nil && short(r.Receipt) == number {
			lines = append(lines, &e.Lines[i])
		}
	}
	return lines
}

// numbers are the receipts of which a sale gives something back, with "" among them for
// goods without one.
func numbers(e *event.SaleCompleted) (all []string) {
	for i := range e.Lines {
		if r := e.Lines[i].Return; r != nil {
			all = append(all, short(r.Receipt))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// newReturn is what is shown of a sale that gave these lines back.
func newReturn(at time.Time, n ledger.Name, store, terminal string, e *event.SaleCompleted, lines []*pos.Line) Return {
	r := Return{At: at, Event: n, Store: store, Terminal: terminal, Receipt: short(e.Receipt), BusinessDate: short(e.BusinessDate),
		Operator: short(e.Operator), Approved: short(e.Approved), Currency: short(e.Currency.Code), Exponent: e.Currency.Exponent, Lines: []Line{}}
	for _, l := range lines {
		if len(r.Lines) == maxShown {
			r.More = len(lines) - maxShown
			break
		}
		r.Lines = append(r.Lines, Line{Item: short(l.Item), Description: short(l.Description), Quantity: (-l.Qty).String(), Amount: -l.Amount,
			Of: l.Return.Line, Reason: short(l.Return.Reason), Approved: short(l.Approved)})
	}
	return r
}

// add counts what a sale gives back. What was settled is open again.
func (a *account) add(r Return, e *event.SaleCompleted, lines []*pos.Line) {
	if a.First.IsZero() {
		a.First = r.At
	}
	a.Last, a.Settled = r.At, nil
	a.Count++
	a.Returns = append(a.Returns, r)
	if n := len(a.Returns) - maxShown; n > 0 {
		a.Returns = slices.Delete(a.Returns, 0, n)
	}
	for _, l := range lines {
		s := sumOf(e, l)
		i := slices.IndexFunc(a.Sums, func(o sum) bool { return o.key == s.key })
		if i < 0 && len(a.Sums) >= maxSums { // no receipt has so many: an item that none sold
			s.key = key{Item: "…", Currency: s.Currency, Exponent: s.Exponent}
			i = slices.IndexFunc(a.Sums, func(o sum) bool { return o.key == s.key })
		}
		if i < 0 {
			a.Sums = append(a.Sums, s)
			continue
		}
		a.Sums[i].Qty, a.Sums[i].Amount = pos.Qty(plus(int64(a.Sums[i].Qty), int64(s.Qty))), pos.Money(plus(int64(a.Sums[i].Amount), int64(s.Amount)))
	}
}

func load(tx ledger.Tx, store, number string) (*account, error) {
	a := &account{Receipt: Receipt{Store: store, Number: number, Terminal: terminalOf(number), Compared: []Compared{}, Returns: []Return{}}}
	v, ok, err := tx.Doc(kindReceipt, accountKey(store, number))
	if ok && err == nil {
		err = json.Unmarshal(v, a)
	}
	if err != nil {
		return nil, fmt.Errorf("what came back of receipt %q of store %s: %w", number, store, err)
	}
	return a, nil
}

// save keeps the account, and its place in the lists that are walked.
func (a *account) save(tx ledger.Tx, was string, now time.Time) error {
	v, err := json.Marshal(a)
	if err != nil {
		return err
	}
	k := accountKey(a.Store, a.Number)
	open := a.Settled == nil && (a.State == Over || a.State == Unknown)
	look := (a.State == Waiting || a.State == Unknown) && now.Sub(a.Last) < keepBlind
	errs := []error{tx.PutDoc(kindReceipt, k, v)}
	if open {
		errs = append(errs, tx.PutDoc(kindOpen, k, []byte(a.State)))
	} else if was != "" {
		errs = append(errs, tx.DeleteDoc(kindOpen, k))
	}
	if look {
		errs = append(errs, tx.PutDoc(kindWait, k, fmt.Appendf(nil, "%d %s", now.Add(a.pause(now)).UnixMilli(), a.State)))
	} else if was != "" {
		errs = append(errs, tx.DeleteDoc(kindWait, k))
	}
	return errors.Join(errs...)
}

// pause is how long the receipt is not looked for again: the longer it is missing the longer.
func (a *account) pause(now time.Time) time.Duration {
	return min(max(now.Sub(a.First)/8, time.Minute), 6*time.Hour)
}
