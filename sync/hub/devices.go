package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
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

// Kinds of documents: the device of a terminal by name, its name by its account, and
// which devices' accounts the servers of a region have not taken over yet.
const (
	docDevice   = "device"
	docAccount  = "account"
	docUntaught = "untaught"
)

const (
	accountTime     = 30 * time.Second // for the servers to take over an account
	accountAgain    = 10 * time.Second // between attempts with those they have not
	maxTaughtErrors = 4                // then the servers are given a rest
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

// changeDevice changes what is kept of a terminal's device, and has the servers act on
// it at once. That they have to is committed with the change: keepAccounts repeats what
// failed here. The device returned is as it was when the servers took it over; another
// call may have shut a key out again.
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
		return errors.Join(tx.PutDoc(docDevice, name, b), tx.PutDoc(docAccount, account, []byte(name)), tx.PutDoc(docUntaught, h.untaught(name), []byte("{}")))
	})
	if err != nil {
		return d, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), accountTime) // it is committed: whoever asked may go
	defer cancel()
	if d, err = h.refreshAccount(ctx, name, nil); err != nil {
		err = fmt.Errorf("the change is kept, and tried again until the servers know of it: %w", err)
	}
	return d, err
}

// untaught is the key of a device that the servers of this hub's region have to be told of.
func (h *Hub) untaught(name string) string { return h.opt.Region + "/" + name }

// accountLocks keep the calls of this process that concern one terminal apart.
type accountLocks [64]sync.Mutex

func (l *accountLocks) of(name string) *sync.Mutex {
	f := fnv.New32a()
	io.WriteString(f, name)
	return &l[f.Sum32()%uint32(len(l))]
}

// refreshAccount has the servers take over what the account of a terminal is now:
// connections of revoked keys end. It tells them what the ledger holds, and again if that
// has changed meanwhile: so whoever tells them last, of all hubs, tells them the present.
// p may be nil.
func (h *Hub) refreshAccount(ctx context.Context, name string, p *pusher) (d device, err error) {
	mu := h.accountLocks.of(name)
	mu.Lock()
	defer mu.Unlock()
	if h.srv == nil && p == nil {
		if p, err = h.newPusher(); err != nil {
			return d, err
		}
		defer p.close()
	}
	for told := []byte(nil); ; {
		var now []byte
		var waits bool
		err := h.ledger.View(ctx, func(tx ledger.Tx) (err error) {
			if now, waits, err = h.deviceNow(tx, name); err == nil {
				d, _, err = loadDevice(tx, name)
			}
			return err
		})
		switch {
		case err != nil:
			return d, err
		case now == nil:
			return d, nil
		case !bytes.Equal(now, told):
			if err := h.teach(ctx, d.trust(), p); err != nil {
				return d, err
			}
			told = now
			continue
		case !waits:
			return d, nil
		}
		err = h.ledger.Update(ctx, func(tx ledger.Tx) error {
			now, waits, err := h.deviceNow(tx, name)
			if err != nil || !waits || !bytes.Equal(now, told) {
				return err
			}
			return tx.DeleteDoc(docUntaught, h.untaught(name))
		})
		if err != nil {
			return d, err
		}
	}
}

// deviceNow is what is kept of a device, nil if nothing is, and whether its account waits
// to be taken over.
func (h *Hub) deviceNow(tx ledger.Tx, name string) (b []byte, waits bool, err error) {
	b, ok, err := tx.Doc(docDevice, name)
	if err != nil || !ok {
		return nil, false, err
	}
	_, waits, err = tx.Doc(docUntaught, h.untaught(name))
	return bytes.Clone(b), waits, err
}

// keepAccounts tells the servers again, until ctx ends, of the accounts that they did not
// take when those changed.
func (h *Hub) keepAccounts(ctx context.Context) error {
	for h.keys != nil {
		if err := h.teachWaiting(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("the NATS servers do not know of every key that was let in or shut out; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(accountAgain):
		}
	}
	<-ctx.Done()
	return nil
}

func (h *Hub) teachWaiting(ctx context.Context) error {
	var names []string
	prefix := h.untaught("")
	err := h.ledger.View(ctx, func(tx ledger.Tx) error {
		names = names[:0]
		return tx.Docs(docUntaught, prefix, func(key string, _ []byte) (bool, error) {
			name, ours := strings.CutPrefix(key, prefix)
			if ours {
				names = append(names, name)
			}
			return ours && len(names) < pageEvents, nil
		})
	})
	if err != nil || len(names) == 0 {
		return err
	}
	return h.teachAll(ctx, names)
}

// teachAll has the servers take over the accounts of some terminals. One that cannot be
// told does not keep the others from it.
func (h *Hub) teachAll(ctx context.Context, names []string) (err error) {
	var p *pusher
	if h.srv == nil {
		if p, err = h.newPusher(); err != nil {
			return err
		}
		defer p.close()
	}
	var errs []error
	for _, name := range names {
		if _, err := h.refreshAccount(ctx, name, p); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || len(errs) == maxTaughtErrors {
			break
		}
	}
	return errors.Join(errs...)
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

// teach tells the server inside, or with p those of your own, of an account.
func (h *Hub) teach(ctx context.Context, d *trust.Device, p *pusher) error {
	if h.srv == nil {
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
	return nats.Connect(url, append(opts, nats.Name("poshub system"), nats.UserCredentialBytes(creds),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())...) // servers that are set up anew refuse it for a while
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
