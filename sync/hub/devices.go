package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"posd/sync/ledger"
	"posd/sync/trust"
)

// How the NATS server inside tells who connects.
const (
	AuthToken = "token" // one secret for all: for labs and tests
	AuthJWT   = "jwt"   // a key for each device
)

// Kinds of documents: the device of a terminal by name, and its name by its account.
const (
	docDevice  = "device"
	docAccount = "account"
)

// errNoKeys: without the operator's keys no device can be let in.
var errNoKeys = errors.New("this hub has no operator's keys: it runs with a shared token, or with NATS servers of your own")

// device is a terminal that was let in once.
type device struct {
	Store    string               `json:"store"`
	Terminal string               `json:"terminal"`
	Shard    int                  `json:"shard"`
	Keys     map[string]time.Time `json:"keys"`              // user keys that are good, since when
	Revoked  map[string]time.Time `json:"revoked,omitempty"` // and those that are not any more
}

func (d *device) trust() *trust.Device {
	return &trust.Device{Store: d.Store, Terminal: d.Terminal, Shard: d.Shard, Revoked: d.Revoked}
}

func loadDevice(tx ledger.Tx, name string) (d device, ok bool, err error) {
	b, ok, err := tx.Doc(docDevice, name)
	if err == nil && ok {
		if err = json.Unmarshal(b, &d); err != nil {
			err = fmt.Errorf("device %s in the ledger: %w", name, err)
		}
	}
	return d, ok, err
}

// changeDevice changes what is kept of a terminal's device, and has the server inside
// act on it at once.
func (h *Hub) changeDevice(ctx context.Context, store, terminal string, change func(ledger.Tx, *device) error) (d device, err error) {
	if h.keys == nil {
		return d, errNoKeys
	}
	account, err := h.keys.DeviceKey(store, terminal)
	if err != nil {
		return d, err
	}
	name := store + "." + terminal
	err = h.ledger.Update(ctx, func(tx ledger.Tx) (err error) {
		if d, _, err = loadDevice(tx, name); err != nil {
			return err
		}
		d.Store, d.Terminal = store, terminal
		if d.Keys == nil {
			d.Keys = map[string]time.Time{}
		}
		if d.Revoked == nil {
			d.Revoked = map[string]time.Time{}
		}
		if err := change(tx, &d); err != nil {
			return err
		}
		if _, err := h.keys.Device(d.trust()); err != nil {
			return err
		}
		b, err := json.Marshal(&d)
		if err != nil {
			return err
		}
		return errors.Join(tx.PutDoc(docDevice, name, b), tx.PutDoc(docAccount, account, []byte(name)))
	})
	if err != nil {
		return d, err
	}
	return d, h.refreshAccount(ctx, d.trust())
}

// letIn makes a key one of the terminal's.
func (d *device) letIn(nkey string, now time.Time) error {
	if at, ok := d.Revoked[nkey]; ok {
		return fmt.Errorf("key %s of %s was revoked on %s: make a new one", nkey, d.trust().Name(), at.Format(time.RFC3339))
	}
	if err := trust.CheckUserKey(nkey); err != nil {
		return err
	}
	if _, ok := d.Keys[nkey]; !ok {
		d.Keys[nkey] = now
	}
	return nil
}

func (d *device) shutOut(nkey string, now time.Time) {
	delete(d.Keys, nkey)
	d.Revoked[nkey] = now
}

// refreshAccount has the servers take over what an account is now: connections of
// revoked keys end.
func (h *Hub) refreshAccount(ctx context.Context, d *trust.Device) error {
	if h.srv == nil {
		p, err := h.newPusher()
		if err != nil {
			return err
		}
		defer p.close()
		return p.push(ctx, d)
	}
	a, err := h.keys.Device(d)
	if err != nil {
		return err
	}
	known, err := h.srv.LookupAccount(a.Key)
	if err != nil {
		return fmt.Errorf("account of %s: %w", d.Name(), err)
	}
	claims, err := jwt.DecodeAccountClaims(a.JWT)
	if err != nil {
		return fmt.Errorf("account of %s: %w", d.Name(), err)
	}
	h.srv.UpdateAccountClaims(known, claims)
	return nil
}

// LetIn makes a JWT with which the holder of nkey, the public key of a NATS user, is
// the terminal. Calling it again with the same key gives another JWT as good.
func (h *Hub) LetIn(ctx context.Context, store, terminal string, shard int, nkey string) (string, error) {
	d, err := h.changeDevice(ctx, store, terminal, func(_ ledger.Tx, d *device) error {
		d.Shard = shard
		return d.letIn(nkey, h.opt.now().UTC())
	})
	if err != nil {
		return "", err
	}
	return h.keys.DeviceUser(d.trust(), nkey, 0)
}

// ShutOut revokes a key of a terminal, or with "" all: connections end at once.
func (h *Hub) ShutOut(ctx context.Context, store, terminal, nkey string) error {
	_, err := h.changeDevice(ctx, store, terminal, func(_ ledger.Tx, d *device) error {
		if _, ok := d.Keys[nkey]; nkey != "" && !ok {
			if _, ok := d.Revoked[nkey]; ok {
				return nil
			}
			return fmt.Errorf("%s.%s has no key %s", store, terminal, nkey)
		}
		for k := range d.Keys {
			if nkey == "" || k == nkey {
				d.shutOut(k, h.opt.now().UTC())
			}
		}
		return nil
	})
	return err
}

// accounts tells the server inside of accounts as they are asked for: a fleet's would
// not fit into memory.
type accounts struct {
	keys   *trust.Keys
	ledger ledger.Ledger
	fixed  map[string]string
}

func newAccounts(k *trust.Keys, l ledger.Ledger) (*accounts, error) {
	sys, err := k.System()
	if err != nil {
		return nil, err
	}
	hub, err := k.Hub()
	if err != nil {
		return nil, err
	}
	return &accounts{k, l, map[string]string{sys.Key: sys.JWT, hub.Key: hub.JWT}}, nil
}

// Fetch is called for each account that the server does not know, also for those that
// somebody made up.
func (a *accounts) Fetch(key string) (string, error) {
	if s, ok := a.fixed[key]; ok {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d device
	err := a.ledger.View(ctx, func(tx ledger.Tx) error {
		name, ok, err := tx.Doc(docAccount, key)
		if err != nil {
			return err
		}
		if ok {
			d, ok, err = loadDevice(tx, string(name))
		}
		if err == nil && !ok {
			err = server.ErrMissingAccount
		}
		return err
	})
	if err != nil {
		return "", err
	}
	account, err := a.keys.Device(d.trust())
	if err == nil && account.Key != key {
		err = server.ErrMissingAccount
	}
	return account.JWT, err
}

func (*accounts) Store(string, string) error { return errors.New("accounts come from the ledger") }
func (*accounts) IsReadOnly() bool           { return true }
func (*accounts) Start(*server.Server) error { return nil }
func (*accounts) IsTrackingUpdate() bool     { return false }
func (*accounts) Reload() error              { return nil }
func (*accounts) Close()                     {}

// sysConn connects to the system account, where the servers tell of connections and take
// accounts. The caller closes it.
func (h *Hub) sysConn() (*nats.Conn, error) {
	if h.keys == nil {
		return nil, errNoKeys
	}
	creds, err := h.keys.SystemUser()
	if err != nil {
		return nil, err
	}
	url, opts, err := h.way()
	if err != nil {
		return nil, err
	}
	return nats.Connect(url, append(opts, nats.Name("poshub system"), nats.UserCredentialBytes(creds), nats.MaxReconnects(-1))...)
}

// pusher tells NATS servers of your own of accounts: they keep them, in their resolver
// of type full, and tell each other.
type pusher struct {
	h  *Hub
	nc *nats.Conn
}

func (h *Hub) newPusher() (*pusher, error) {
	nc, err := h.sysConn()
	if err != nil {
		return nil, fmt.Errorf("connect to the system account: %w", err)
	}
	return &pusher{h, nc}, nil
}

func (p *pusher) close() { p.nc.Close() }

func (p *pusher) push(ctx context.Context, d *trust.Device) error {
	a, err := p.h.keys.Device(d)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := p.nc.RequestWithContext(ctx, "$SYS.REQ.CLAIMS.UPDATE", []byte(a.JWT))
	if err != nil {
		return fmt.Errorf("account of %s: the NATS servers take none (is their resolver of type full, and their operator this one?): %w", d.Name(), err)
	}
	var said struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &said); err != nil {
		return fmt.Errorf("account of %s: the NATS server's answer: %w", d.Name(), err)
	}
	if said.Error != nil {
		return fmt.Errorf("account of %s: the NATS server refuses it: %s", d.Name(), said.Error.Description)
	}
	return nil
}
