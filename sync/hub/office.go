package hub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"posd/sync/ledger"
	"posd/sync/trust"
)

// The public half of the office key stands in the ledger: terminals have been told of
// it, so another one would be of no use, on whichever hub.
const docOffice = "office"

// office is the key with which this hub signs what it tells terminals. It is made when
// it is first needed, once for a ledger.
func (h *Hub) office(ctx context.Context) (ed25519.PrivateKey, error) {
	h.officeMu.Lock()
	defer h.officeMu.Unlock()
	if h.officeKey != nil {
		return h.officeKey, nil
	}
	dir := filepath.Join(h.opt.Dir, "keys")
	key, err := trust.OpenOffice(dir, false)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	err = h.ledger.Update(ctx, func(tx ledger.Tx) error {
		known, ok, err := tx.Doc(docOffice, "key")
		switch {
		case err != nil:
			return err
		case ok && missing:
			return fmt.Errorf("the office key is not in %s, and terminals know it: copy the folder from the first hub, or from its backup", dir)
		case missing && key == nil:
			if key, err = trust.OpenOffice(dir, true); err != nil {
				return err
			}
		}
		public := key.Public().(ed25519.PublicKey)
		if ok && !bytes.Equal(known, public) {
			return fmt.Errorf("the office key in %s is not the one that terminals know: copy the folder from the first hub, or from its backup", dir)
		}
		return tx.PutDoc(docOffice, "key", public)
	})
	if err != nil {
		return nil, err
	}
	h.officeKey = key
	return key, nil
}
