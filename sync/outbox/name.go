package outbox

import (
	"fmt"
	"strconv"
	"strings"

	"posd/journal/chain"
	"posd/sync/ledger"
)

// parseName is the inverse of Name.
func parseName(s string) (n ledger.Name, err error) {
	parts := strings.Split(s, ":")
	if len(s) > 128 || len(parts) != 3 {
		return n, fmt.Errorf("%.128q is not <journal>:<seq>:<head>", s)
	}
	if n.Journal, err = chain.ParseID(parts[0]); err != nil {
		return n, err
	}
	if n.Seq, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return n, err
	}
	if n.Head, err = chain.ParseHead(parts[2]); err != nil {
		return n, err
	}
	if Name(n) != s {
		return n, fmt.Errorf("%q is not written as the hub writes it", s)
	}
	return n, nil
}
