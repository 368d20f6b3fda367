package chain

import (
	"encoding/json"
	"fmt"
)

// Birth is the payload of record 1, as JSON: who the journal belongs to, and
// which journal it continues, if any.
type Birth struct {
	V         int     `json:"v"`
	Journal   string  `json:"journal"`
	Store     string  `json:"store"`
	Terminal  string  `json:"terminal"`
	Machine   string  `json:"machine,omitempty"`
	PublicKey []byte  `json:"public_key,omitempty"` // Ed25519
	Created   string  `json:"created"`              // RFC 3339, as the terminal's clock said
	Parent    *Parent `json:"parent,omitempty"`
}

// Parent names the end of the journal that a new one continues, as far as it
// is known.
type Parent struct {
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
	Head    string `json:"head"`
	Reason  string `json:"reason"` // why there is a new one: "clone", "restore", "salvage"
}

// ParseBirth reads the payload of a record of TypeBirth.
func ParseBirth(payload []byte) (Birth, error) {
	var b Birth
	if err := json.Unmarshal(payload, &b); err != nil {
		return b, fmt.Errorf("birth record: %w", err)
	}
	if b.V != 1 {
		return b, fmt.Errorf("birth record: %w: version %d", ErrNewer, b.V)
	}
	return b, nil
}
