package simulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Entry is a line of the ledger.
type Entry struct {
	What      string `json:"what"` // charge, refund, reverse, forward: money moved; seal: a reference that is never acted upon; begin and forget: a memory
	Reference string `json:"reference,omitempty"`
	Amount    int64  `json:"amount,omitempty"` // charge and refund: above zero; reverse: of what is taken back
	Offline   bool   `json:"offline,omitempty"`
	Absent    bool   `json:"absent,omitempty"` // of seal: nothing was asked for before
	Memory    string `json:"memory,omitempty"` // of begin and forget: the name of the new one
	Reason    string `json:"reason,omitempty"`
	Number    string `json:"number,omitempty"`
}

// What an entry says.
const (
	Charge  = "charge"
	Refund  = "refund"
	Reverse = "reverse"
	Forward = "forward"
	Seal    = "seal"
	Begin   = "begin"
	Forget  = "forget"
)

// ReadLedger reads the ledger of a simulator, also of one that was killed while it wrote.
func ReadLedger(path string) (entries []Entry, err error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var e Entry
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return entries, fmt.Errorf("ledger %s: %w", path, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Balance is what the customers' money did, by reference: above zero was taken, and how
// often it was taken or paid at all.
func Balance(entries []Entry) (sum map[string]int64, times map[string]int) {
	sum, times = map[string]int64{}, map[string]int{}
	refunds := map[string]bool{}
	for _, e := range entries {
		switch e.What {
		case Charge:
			sum[e.Reference] += e.Amount
			times[e.Reference]++
		case Refund:
			sum[e.Reference] -= e.Amount
			times[e.Reference]++
			refunds[e.Reference] = true
		case Reverse:
			if refunds[e.Reference] {
				sum[e.Reference] += e.Amount
			} else {
				sum[e.Reference] -= e.Amount
			}
		}
	}
	return sum, times
}
