package lab

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Events as docs/events.md describes them, read by nothing of posd's.

// made is an event that a call has made, from an answer or from the journal.
type made struct {
	seq  uint64
	kind string
	key  string
	raw  []byte // its data

	basket basketData
	sale   saleData
	shift  shiftData
	cash   cashData
}

type basketData struct {
	Basket, Version, State, Operator string
	Lines                            int
	Total, Due                       int64
	Line                             lineData
	Tender                           tenderData
	Training                         bool
}

type lineData struct {
	N           int
	Quantity    milli
	Price       int64
	Fixed       bool
	List        *int64
	Amount      int64
	Tax, Rate   string
	Note        string
	Description string
	Discounts   []offData
	Return      *struct {
		Sale, Receipt string
		Line          int
		Tax           int64
	}
}

type offData struct {
	Amount  int64
	Percent string
	Of      int
}

type tenderData struct {
	ID, Kind, Reference string
	Amount              int64
}

type saleData struct {
	Sale, Receipt, Operator, Prices string
	Number, Shift                   uint64
	Date                            string `json:"business_date"`
	Lines                           []lineData
	Discounts                       []offData
	Taxes                           []taxRow
	Total, Change                   int64
	Rounding                        int64 `json:"cash_rounding"`
	Tenders                         []tenderData
	Perpetual, Refunds              int64
	Basket, Customer, Note          string
	Age                             int
	VoidOf                          string `json:"void_of"`
	VoidReceipt                     string `json:"void_receipt"`
}

type shiftData struct {
	Shift, Z uint64
	Date     string `json:"business_date"`
	Operator string
	Implicit bool
	Float    int64
	Expected int64
	Declared *int64 // nil: nobody counted
	From, To string
	Totals   totals
}

type cashData struct {
	Shift    uint64
	Operator string
	Amount   int64
}

// totals are the figures of a report by their names.
type totals struct {
	figures map[string]int64
	taxes   []taxRow
}

func (t *totals) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	t.figures = map[string]int64{}
	for name, v := range all {
		if name == "taxes" {
			if err := json.Unmarshal(v, &t.taxes); err != nil {
				return err
			}
			continue
		}
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			return fmt.Errorf("figure %s: %w", name, err)
		}
		t.figures[name] = n
	}
	return nil
}

// milli is a quantity, a decimal string, in thousandths.
type milli int64

func (m *milli) UnmarshalJSON(b []byte) error {
	whole, fraction, _ := strings.Cut(strings.Trim(string(b), `"`), ".")
	n, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	*m = milli(n)
	return err
}

// quantity writes thousandths as a request has them.
func quantity(n int64) string { return fmt.Sprintf(`"%d.%03d"`, n/1000, n%1000) }

// parse fills in what the kind of event has.
func (e *made) parse() error {
	var err error
	switch {
	case e.kind == "sale.completed", e.kind == "training.completed":
		err = json.Unmarshal(e.raw, &e.sale)
	case strings.HasPrefix(e.kind, "shift."):
		err = json.Unmarshal(e.raw, &e.shift)
	case strings.HasPrefix(e.kind, "cash."), e.kind == "drawer.opened":
		err = json.Unmarshal(e.raw, &e.cash)
	case strings.HasPrefix(e.kind, "basket."), strings.HasPrefix(e.kind, "line."), strings.HasPrefix(e.kind, "tender."):
		err = json.Unmarshal(e.raw, &e.basket)
	}
	if err != nil {
		return fmt.Errorf("%s of record %d: %w: %s", e.kind, e.seq, err, e.raw)
	}
	return nil
}

// recorded reads an event as the journal has it.
func recorded(seq uint64, payload []byte) (*made, error) {
	var r struct {
		Type, Key string
		Data      json.RawMessage
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, fmt.Errorf("record %d: %w", seq, err)
	}
	e := &made{seq: seq, kind: r.Type, key: r.Key, raw: r.Data}
	return e, e.parse()
}

// answered reads the event of an answer. Of a sale the type is not told.
func answered(body []byte) (*made, error) {
	var r struct {
		Event struct {
			Seq  uint64
			Type string
		}
		Data, Sale json.RawMessage
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("answer %s: %w", body, err)
	}
	e := &made{seq: r.Event.Seq, kind: r.Event.Type, raw: r.Data}
	if r.Sale != nil {
		e.kind, e.raw = "sale.completed", r.Sale
	}
	err := e.parse()
	if strings.Contains(e.sale.Receipt, "-training-") {
		e.kind = "training.completed"
	}
	return e, err
}
