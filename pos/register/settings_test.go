package register

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
)

func set(rate pos.Rate, rounding pos.Rounding, config string) *Settings {
	return &Settings{Rounding: rounding, Taxes: []pos.Tax{{Code: "A", Rate: rate}}, Config: config}
}

// priced is what a front end does: it prices with a set, and begins anew when that is
// not in force any more.
func priced(m *rig) error {
	for {
		s := m.r.Settings()
		rate, _ := s.Rate("A", "")
		c := Checkout{Settings: s, Lines: []pos.Line{{Description: "x", Unit: "pc", Tax: "A", Rate: rate, Qty: 1000, Price: 100}},
			Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 1000}}}
		if _, err := m.r.Checkout(context.Background(), c); !errors.Is(err, ErrSettings) {
			return err
		}
	}
}

// Sales go on while the settings change: the journal shows that each was made of one
// set, and that each set begins with its event.
func TestSettingsChangeBetweenSales(t *testing.T) {
	m := newTill(t)
	m.opt.Settings = *set(190000, pos.PerDocument, "c0")
	m.start()
	var sellers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		sellers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := priced(m); err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 40 {
		s := set(190000, pos.PerDocument, "c0")
		if i%2 == 0 {
			s = set(70000, pos.PerLine, "c1")
		}
		if err := m.r.Note(context.Background(), &event.ConfigApplied{Serial: uint64(i + 1), Config: s.Config}, s); err != nil {
			t.Fatal(err)
		}
		if err := priced(m); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	sellers.Wait()
	if err := madeOfOneSet(m); err != nil {
		t.Error(err)
	}
	// The control: a sale that is made with a set of before is seen.
	old := m.r.Settings()
	if err := m.r.Note(context.Background(), &event.ConfigApplied{Serial: 41, Config: "c1"}, set(70000, pos.PerLine, "c1")); err != nil {
		t.Fatal(err)
	}
	stale := Checkout{Settings: old, Lines: []pos.Line{{Description: "x", Unit: "pc", Tax: "A", Rate: 190000, Qty: 1000, Price: 100}},
		Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 1000}}}
	if _, err := m.r.Checkout(context.Background(), stale); !errors.Is(err, ErrSettings) {
		t.Errorf("a sale of the former settings: %v", err)
	}
	stale.Settings = nil
	if _, err := m.r.Checkout(context.Background(), stale); err != nil {
		t.Fatal(err)
	}
	if madeOfOneSet(m) == nil {
		t.Error("a rate of the former settings is not seen in the journal")
	}
}

func madeOfOneSet(m *rig) error {
	rd, err := m.j.Reader(1)
	if err != nil {
		return err
	}
	defer rd.Close()
	now := m.opt.Settings
	for {
		rec, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Type != event.RecordType {
			continue
		}
		h, data, err := event.Parse(rec.Payload)
		if err != nil {
			return err
		}
		switch h.Type {
		case event.TypeConfigApplied:
			e, err := event.ParseConfigApplied(data)
			if err != nil {
				return err
			}
			now = *set(190000, pos.PerDocument, e.Config)
			if e.Config == "c1" {
				now = *set(70000, pos.PerLine, e.Config)
			}
		case event.TypeSaleCompleted:
			e, err := event.ParseSale(data)
			if err != nil {
				return err
			}
			if rate, _ := now.Rate("A", ""); e.Lines[0].Rate != rate || e.Rounding != now.Rounding {
				return errors.New("sale " + e.Receipt + " was made of other settings than " + now.Config)
			}
		}
	}
}

// An event that finds no form keeps nothing from coming into force.
func TestNoteThatCannotBeWritten(t *testing.T) {
	m := newTill(t)
	m.start()
	s := set(70000, pos.PerLine, "c1")
	err := m.r.Note(context.Background(), &event.ConfigRefused{Reason: strings.Repeat("x", chain.MaxRecord)}, s)
	if err == nil || m.r.Settings() != s {
		t.Errorf("%v, %+v", err, m.r.Settings())
	}
	if err := m.r.Note(context.Background(), &event.CommandRefused{Reason: "x"}, nil); err != nil || m.r.Settings() != s {
		t.Errorf("%v, %+v", err, m.r.Settings())
	}
}

// What was priced for one day is not sold on the next: its rates and prices may be others.
func TestDayEndsWhileASaleIsPriced(t *testing.T) {
	m := newTill(t)
	m.sync = true
	m.start()
	c := sale("k", 100)
	c.Settings, c.Date = m.r.Settings(), m.r.BusinessDate()
	m.pass(24 * time.Hour)
	if _, err := m.r.Checkout(context.Background(), c); !errors.Is(err, ErrSettings) {
		t.Errorf("priced for %s: %v", c.Date, err)
	}
	if c.Date = m.r.BusinessDate(); c.Date != "2026-11-22" {
		t.Error(c.Date)
	}
	if _, err := m.r.Checkout(context.Background(), c); err != nil {
		t.Error(err)
	}
	m.sync = false
	m.pass(-48 * time.Hour) // what nobody disciplines does not take the date back
	if d := m.r.BusinessDate(); d != "2026-11-22" {
		t.Error(d)
	}
}
