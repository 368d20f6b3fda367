package load

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Compare holds what the front end was told against the records of a source: each
// acknowledged sale is there once, as it was acknowledged, and no key is there twice.
func Compare(acks []Ack, records []byte, source string) (errs []error) {
	type sale struct {
		seq     uint64
		receipt string
		times   int
	}
	found := map[string]*sale{}
	for line := range strings.Lines(string(records)) {
		var r struct {
			Seq   uint64
			Event struct {
				Type, Key string
				Data      struct{ Receipt string }
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return append(errs, fmt.Errorf("%s: %w: %.200s", source, err, line))
		}
		if r.Event.Type != "sale.completed" {
			continue
		}
		s := found[r.Event.Key]
		if s == nil {
			s = &sale{seq: r.Seq, receipt: r.Event.Data.Receipt}
			found[r.Event.Key] = s
		}
		if s.times++; s.times > 1 {
			errs = append(errs, fmt.Errorf("%s has sale %s twice", source, r.Event.Key))
		}
	}
	for _, a := range acks {
		switch s := found[a.Key]; {
		case s == nil:
			errs = append(errs, fmt.Errorf("LOST: %s does not have sale %s, receipt %s, record %d, which was acknowledged", source, a.Key, a.Receipt, a.Seq))
		case s.seq != a.Seq || s.receipt != a.Receipt:
			errs = append(errs, fmt.Errorf("%s has sale %s as receipt %s, record %d; acknowledged were %s and %d", source, a.Key, s.receipt, s.seq, a.Receipt, a.Seq))
		}
	}
	return errs
}
