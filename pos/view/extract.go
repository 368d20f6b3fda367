package view

import (
	"fmt"
	"slices"
	"strconv"

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
	h, err := event.Peek(named.Record.Payload)
	if err != nil {
		return e, false, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	e.seq = r.Seq
	switch string(h.Type) {
	case event.TypeSaleCompleted:
		if e.sale, e.receipt, err = saleNames(h.Data); err == nil {
			e.back, err = backOf(r.Seq, h.Data)
		}
	case event.TypeTraining:
		e.sale, e.receipt, err = saleNames(h.Data)
	case event.TypeShiftClosed:
		e.receipt, err = reportName(h.Data)
	case event.TypeReceiptPrinted, event.TypeReceiptCopied:
		e.back, err = givenOut(r.Seq, string(h.Type), h.Data)
	default:
		// A basket keeps its keys itself, as long as it is open, and in its own journal.
		if step := slices.Contains(event.BasketTypes[:], string(h.Type)); len(h.Key) == 0 ||
			step && r.Type != chain.TypeCopy && string(h.Type) != event.TypeBasketVoided {
			return e, false, nil
		}
	}
	if err != nil {
		return e, false, fmt.Errorf("record %d: %w", r.Seq, err)
	}
	if len(h.Key) > 0 {
		if e.hash, ok = parseHash(h.Hash); !ok {
			return e, false, fmt.Errorf("record %d: the hash of its call is not a SHA-256", r.Seq)
		}
		e.keyed, e.key = true, idOf(h.Key)
	}
	return e, e.keyed || e.receipt != "" || len(e.back) > 0, nil
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
// first members, so that the lines are not even looked at, unless a name has escapes.
func saleNames(data []byte) (sale, receipt string, err error) {
	if s, r, ok := event.PeekSale(data); ok {
		sale, receipt = string(s), string(r)
	} else {
		e, err := event.ParseSale(data)
		if err != nil {
			return "", "", err
		}
		sale, receipt = e.Sale, e.Receipt
	}
	if sale == "" || receipt == "" || len(sale) > maxName || len(receipt) > maxName {
		return "", "", fmt.Errorf("sale data has no sale id and receipt of at most %d bytes", maxName)
	}
	return sale, receipt, nil
}
