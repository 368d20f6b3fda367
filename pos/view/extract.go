package view

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"posd/journal/chain"
	"posd/pos/event"
)

// extract reads what the index needs from a record. ok is false for a record
// that adds nothing to it.
func extract(r chain.Record) (e entry, ok bool, err error) {
	if r.Type != event.RecordType && r.Type != chain.TypeCopy {
		return e, false, nil
	}
	named, err := chain.Named(chain.ID{}, r)
	if err != nil {
		return e, false, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	if named.Record.Type != event.RecordType {
		return e, false, nil
	}
	h, data, err := event.Parse(named.Record.Payload)
	if err != nil {
		return e, false, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	e.seq = r.Seq
	switch h.Type {
	case event.TypeSaleCompleted:
		if e.sale, e.receipt, err = saleNames(data); err == nil {
			e.back, err = backOf(r.Seq, data)
		}
	case event.TypeTraining:
		e.sale, e.receipt, err = saleNames(data)
	case event.TypeShiftClosed:
		e.receipt, err = reportName(data)
	default:
		// A basket keeps its keys itself, as long as it is open, and in its own journal.
		if step := slices.Contains(event.BasketTypes[:], h.Type); h.Key == "" ||
			step && r.Type != chain.TypeCopy && h.Type != event.TypeBasketVoided {
			return e, false, nil
		}
	}
	if err != nil {
		return e, false, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	if h.Key != "" {
		if e.hash, ok = parseHash(h.Hash); !ok {
			return e, false, fmt.Errorf("record %d: the hash of its call is not a SHA-256", r.Seq)
		}
		e.keyed, e.key = true, idOf(h.Key)
	}
	return e, e.keyed || e.receipt != "", nil
}

// ReportName is under what ByReceipt finds a Z report. No receipt has a slash.
func ReportName(z uint64) string { return "Z/" + strconv.FormatUint(z, 10) }

func reportName(data []byte) (string, error) {
	e, err := event.ParseShiftClosed(data)
	if err != nil || e.Z == 0 {
		return "", err
	}
	return ReportName(e.Z), nil
}

// saleNames returns the sale id and the receipt of a sale's data. They are its
// first members, so that the lines are not even looked at.
func saleNames(data []byte) (sale, receipt string, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return "", "", fmt.Errorf("sale data is not an object: %w", err)
	}
	for (sale == "" || receipt == "") && d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return "", "", err
		}
		var to *string
		switch t.String() {
		case "sale":
			to = &sale
		case "receipt":
			to = &receipt
		default:
			if err := d.SkipValue(); err != nil {
				return "", "", err
			}
			continue
		}
		if t, err = d.ReadToken(); err != nil {
			return "", "", err
		}
		*to = t.String()
	}
	if sale == "" || receipt == "" || len(sale) > maxName || len(receipt) > maxName {
		return "", "", fmt.Errorf("sale data has no sale id and receipt of at most %d bytes", maxName)
	}
	return sale, receipt, nil
}
