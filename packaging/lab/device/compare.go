package main

import (
	"errors"
	"fmt"
	"strings"
)

// compare holds what head office has against what was acknowledged.
func compare(acked, ledger []sold) error {
	var problems []error
	problem := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	want := map[string]sold{}
	for _, s := range acked {
		want[s.Key] = s
	}
	keys, receipts := map[string]bool{}, map[string]bool{}
	for _, s := range ledger {
		if keys[s.Key] || receipts[s.Receipt] {
			problem("twice: %+v", s)
		}
		keys[s.Key], receipts[s.Receipt] = true, true
		if w, ok := want[s.Key]; !ok {
			problem("never acknowledged: %+v", s)
		} else if w != s {
			problem("acknowledged as %+v, head office has %+v", w, s)
		}
	}
	next := map[string]uint64{} // by branch, in the order of the ledger
	for _, s := range acked {
		if !keys[s.Key] {
			problem("lost: %+v", s)
		}
		branch := s.Receipt[:strings.LastIndexByte(s.Receipt, '-')+1]
		if next[branch]++; s.Number != next[branch] {
			problem("receipt %s has number %d, expected %d", s.Receipt, s.Number, next[branch])
		}
	}
	return errors.Join(problems...)
}

// control removes one sale from what is expected and demands that this is noticed.
func control(acked, ledger []sold) error {
	if len(acked) == 0 {
		return errors.New("the comparison has nothing to compare")
	}
	n := len(acked) / 2
	without := append(append([]sold{}, acked[:n]...), acked[n+1:]...)
	if compare(without, ledger) == nil {
		return fmt.Errorf("the comparison did not notice that sale %s was taken out", acked[n].Key)
	}
	return nil
}
