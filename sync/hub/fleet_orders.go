package hub

import (
	"context"
	"encoding/json"
	"strings"

	"posd/sync/ledger"
)

// names are the known terminals of a store, "" = all, as "<store>.<terminal>".
func (f *fleet) names(store string) (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sort()
	for _, m := range f.order {
		if store == "" || strings.HasPrefix(m.key, store+".") {
			all = append(all, m.key)
		}
	}
	return all
}

// pushed notes what became of a configuration, if none newer is known.
func (f *fleet) pushed(name string, serial uint64, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.member(name); m != nil && serial >= m.order.serial {
		m.order.serial, m.order.state = serial, f.word(state)
	}
}

// config is what became of the configuration pushed last: as the terminal itself says,
// if it speaks of that one.
func (m *member) config() FleetConfig {
	if b := m.beat; b != nil && b.Config.Serial >= m.order.serial {
		return FleetConfig{b.Config.Serial, b.Config.State, b.Config.Reason}
	}
	return FleetConfig{m.order.serial, m.order.state, ""}
}

// loadOrders reads what was pushed, by this hub or another.
func (f *fleet) loadOrders(ctx context.Context) error {
	for after, more := "", true; more; {
		var page []Orders
		err := f.view(ctx, func(tx ledger.Tx) error {
			page, more = page[:0], false
			return tx.Docs(kindOrders, after, func(name string, v []byte) (bool, error) {
				if more = len(page) == maxBatch; more {
					return false, nil
				}
				var o Orders
				if err := json.Unmarshal(v, &o); err != nil {
					f.log.Warn("a terminal's orders cannot be read", "terminal", name, "error", err)
				}
				page, after = append(page, o), name
				return true, nil
			})
		})
		if err != nil {
			return err
		}
		for _, o := range page {
			if o.Config != nil {
				f.pushed(o.Store+"."+o.Terminal, o.Config.Serial, o.Config.State)
			}
		}
	}
	return nil
}
