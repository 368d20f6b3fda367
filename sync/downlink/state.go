package downlink

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"posd/durable"
)

// The state file: the SHA-256 of all behind the first line, one line of JSON, and the
// order in force as head office signed it.
//
//	<64 hexadecimal digits>\n
//	{"v":1,"serial":…,"digest":"…","state":"applied","told":true,"tries":0}\n
//	<order, or nothing>
type state struct {
	V        int    `json:"v"`
	Serial   uint64 `json:"serial"` // of the newest order that was decided upon
	Digest   string `json:"digest"` // SHA-256 of its bytes
	State    string `json:"state"`  // wire.StateApplied or StateRefused
	Reason   string `json:"reason,omitempty"`
	Told     bool   `json:"told"`               // the event stands in the journal
	Tries    int    `json:"tries"`              // starts with the order in force that did not last yet
	Stranger string `json:"stranger,omitempty"` // SHA-256 of what was last refused as not head office's, or old

	Command   *commandState   `json:"command,omitempty"`
	Catalogue *catalogueState `json:"catalogue,omitempty"`

	order []byte // in force; may be older than Serial, or nil
}

// maxState bounds the file, in bytes.
const maxState = 64 << 10

// errDamaged is the error of a state file that is not what was written.
var errDamaged = errors.New("the file is damaged")

func (s *state) append() ([]byte, error) {
	s.V = 1
	head, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	rest := append(append(head, '\n'), s.order...)
	sum := sha256.Sum256(rest)
	return append(append(hex.AppendEncode(nil, sum[:]), '\n'), rest...), nil
}

func parseState(b []byte) (s state, err error) {
	sum, rest, ok := bytes.Cut(b, []byte{'\n'})
	if want := sha256.Sum256(rest); !ok || len(b) > maxState || string(sum) != hex.EncodeToString(want[:]) {
		return state{}, errDamaged
	}
	head, order, ok := bytes.Cut(rest, []byte{'\n'})
	if !ok {
		return state{}, errDamaged
	}
	if err := json.Unmarshal(head, &s); err != nil {
		return state{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if s.V != 1 {
		return state{}, fmt.Errorf("version %d, this release reads 1", s.V)
	}
	if len(order) > 0 {
		s.order = order
	}
	return s, nil
}

func readState(path string) (state, error) {
	f, err := os.Open(path)
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return state{}, err
	}
	return parseState(b)
}

// writeState replaces the file at once or not at all, whenever the power goes.
func writeState(path string, s *state) error {
	b, err := s.append()
	if err != nil {
		return err
	}
	return durable.Replace(path, b)
}
