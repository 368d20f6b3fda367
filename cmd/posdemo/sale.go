package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"posd/pos"
	"posd/pos/event"
)

// sold is one sale as a source tells it.
type sold struct {
	Key     string         `json:"key"` // Idempotency-Key: one basket of the front end
	Sale    string         `json:"sale"`
	Receipt string         `json:"receipt"`
	Number  uint64         `json:"number"`
	Journal string         `json:"journal"`
	Seq     uint64         `json:"seq"`
	Total   pos.Money      `json:"total"`
	Taxes   []pos.TaxTotal `json:"taxes"`
}

func soldOf(key, journal string, seq uint64, e *event.SaleCompleted) sold {
	return sold{Key: key, Sale: e.Sale, Receipt: e.Receipt, Number: e.Number, Journal: journal, Seq: seq, Total: e.Total, Taxes: e.Taxes}
}

// same says whether two sources tell the same of a sale.
func (s *sold) same(o *sold) bool {
	return s.Key == o.Key && s.Sale == o.Sale && s.Receipt == o.Receipt && s.Number == o.Number &&
		s.Journal == o.Journal && s.Seq == o.Seq && s.Total == o.Total && slices.Equal(s.Taxes, o.Taxes)
}

func (s *sold) String() string {
	return fmt.Sprintf("%s (receipt %s, seq %d, total %d, taxes %v)", s.Sale, s.Receipt, s.Seq, s.Total, s.Taxes)
}

// record is one line of posctl dump and of poshub's /v1/events.
type record struct {
	Journal string          `json:"journal"`
	Seq     uint64          `json:"seq"`
	Head    string          `json:"head"`
	Type    string          `json:"type"` // posctl dump only: "event" for events
	Event   json.RawMessage `json:"event"`
}

// maxRecordLine is more than a record of 128 KiB takes as JSON.
const maxRecordLine = 1 << 20

// readRecords reads JSON lines of records. It returns the sales, and the head of
// every event by its name.
func readRecords(r io.Reader) (sales []sold, heads map[string]string, err error) {
	heads = map[string]string{}
	err = eachLine(r, func(line []byte) error {
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return err
		}
		if len(rec.Event) == 0 || rec.Type != "" && rec.Type != "event" {
			return nil // a birth, an opening state, …
		}
		name := fmt.Sprintf("%s/%d", rec.Journal, rec.Seq)
		if old, twice := heads[name]; twice && old != rec.Head {
			return fmt.Errorf("record %s is there twice with different heads", name)
		}
		heads[name] = rec.Head
		h, data, err := event.Parse(rec.Event)
		if err != nil || h.Type != event.TypeSaleCompleted {
			return err
		}
		e, err := event.ParseSale(data)
		if err != nil {
			return err
		}
		sales = append(sales, soldOf(h.Key, rec.Journal, rec.Seq, &e))
		return nil
	})
	return sales, heads, err
}

// readFront reads the front end's file.
func readFront(r io.Reader) (sales []sold, err error) {
	err = eachLine(r, func(line []byte) error {
		var s sold
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		sales = append(sales, s)
		return nil
	})
	return sales, err
}

func eachLine(r io.Reader, each func(line []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxRecordLine)
	for n := 1; s.Scan(); n++ {
		if err := each(s.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// branchOf is a receipt without its number: receipts are gapless within it.
func branchOf(receipt string) string {
	if i := strings.LastIndexByte(receipt, '-'); i >= 0 {
		return receipt[:i]
	}
	return receipt
}
