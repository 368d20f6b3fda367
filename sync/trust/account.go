package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"posd/sync/wire"
)

var (
	// ErrDevice: credentials were asked for what cannot be a device.
	ErrDevice = errors.New("not a device's")
	// ErrRevoked: and for a key that was shut out.
	ErrRevoked = errors.New("a key that was revoked")
)

const (
	// A link that drops every few seconds leaves connections that the server takes for
	// alive until its pings fail; a terminal must not lock itself out.
	maxConnections = 256
	maxSubs        = 256
	keyLength      = 56 // of a public key as text
	// MaxPayload is what one message may hold: a parcel of wire.MaxRaw that would not
	// compress, and its headers.
	MaxPayload = wire.MaxRaw + 1<<16
)

// forEver is when revocations are for. The servers compare with the time at which a JWT
// was made, and would take one that a slow call makes after its key was revoked. Such a
// key never comes back, so no time has to be told.
var forEver = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Device is a terminal as the servers should know it.
type Device struct {
	Store, Terminal string
	Shard           int
	Revoked         map[string]time.Time // user keys that were shut out then, for good
}

// Name is what the device's user and account are called.
func (d *Device) Name() string { return d.Store + "." + d.Terminal }

// Exports are the subjects of the hub's account that terminals take part in.
type Exports struct{ Services, Streams []string }

// hubExports cover all that any terminal imports.
func hubExports() Exports {
	return Exports{
		Services: []string{"pos.up.>", "pos.hb.>", "pos.ans.>", "$JS.API.DIRECT.GET.>"},
		Streams:  []string{wire.LivePrefix + ">", "pos.cmd.>"},
	}
}

// imports are what a terminal's account takes from the hub's: what its user may
// publish, as services, and what it may subscribe to but for its inbox, as streams.
func imports(p wire.Permissions) (services, streams []string) {
	streams = slices.DeleteFunc(slices.Clone(p.Subscribe), func(s string) bool { return strings.HasPrefix(s, "_INBOX") })
	return p.Publish, streams
}

// System is the account of the servers' own events.
func (k *Keys) System() (Account, error) {
	c := jwt.NewAccountClaims(public(k.system))
	c.Name = "SYS"
	return k.sign(c)
}

// Hub is the account that holds the streams.
func (k *Keys) Hub() (Account, error) {
	c := jwt.NewAccountClaims(public(k.hub))
	c.Name = "HUB"
	c.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
	}
	e := hubExports()
	for _, s := range e.Services {
		c.Exports.Add(&jwt.Export{Name: s, Subject: jwt.Subject(s), Type: jwt.Service, ResponseType: jwt.ResponseTypeSingleton})
	}
	for _, s := range e.Streams {
		c.Exports.Add(&jwt.Export{Name: s, Subject: jwt.Subject(s), Type: jwt.Stream})
	}
	return k.sign(c)
}

// DeviceKey is the public key of a terminal's account.
func (k *Keys) DeviceKey(store, terminal string) (string, error) {
	kp, err := k.deviceAccount(store, terminal)
	if err != nil {
		return "", err
	}
	return public(kp), nil
}

// Device is a terminal's account. The error is ErrDevice if its name or shard is none.
func (k *Keys) Device(d *Device) (Account, error) {
	p, err := wire.DevicePermissions(d.Shard, d.Store, d.Terminal)
	if err != nil {
		return Account{}, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	key, err := k.DeviceKey(d.Store, d.Terminal)
	if err != nil {
		return Account{}, err
	}
	c := jwt.NewAccountClaims(key)
	c.Name = d.Name()
	c.Limits.LeafNodeConn, c.Limits.Exports, c.Limits.WildcardExports = 0, 0, false
	c.Limits.Conn, c.Limits.Subs, c.Limits.Payload = maxConnections, maxSubs, MaxPayload
	c.Limits.DisallowBearer = true
	c.SigningKeys.Add(public(k.devices))
	services, streams := imports(p)
	for _, s := range services {
		c.Imports.Add(&jwt.Import{Name: s, Subject: jwt.Subject(s), Account: public(k.hub), Type: jwt.Service})
	}
	for _, s := range streams {
		c.Imports.Add(&jwt.Import{Name: s, Subject: jwt.Subject(s), Account: public(k.hub), Type: jwt.Stream})
	}
	for key := range d.Revoked {
		c.RevokeAt(key, forEver)
	}
	return k.sign(c)
}

func (k *Keys) sign(c *jwt.AccountClaims) (Account, error) {
	var v jwt.ValidationResults
	c.Validate(&v)
	if errs := v.Errors(); len(errs) > 0 {
		return Account{}, fmt.Errorf("account %s: %w", c.Name, errors.Join(errs...))
	}
	s, err := c.Encode(k.operator)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", c.Name, err)
	}
	return Account{Key: c.Subject, JWT: s}, nil
}

// DeviceUser is the JWT with which the holder of nkey, a user's public key, is the
// terminal: valid for a time from now, or, with 0, until revoked. The error is ErrRevoked
// if it was.
func (k *Keys) DeviceUser(d *Device, nkey string, valid time.Duration) (string, error) {
	if err := CheckUserKey(nkey); err != nil {
		return "", err
	}
	if at, ok := d.Revoked[nkey]; ok {
		return "", fmt.Errorf("%w: %s of %s, on %s: make a new one", ErrRevoked, nkey, d.Name(), at.Format(time.RFC3339))
	}
	p, err := wire.DevicePermissions(d.Shard, d.Store, d.Terminal)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDevice, err)
	}
	account, err := k.DeviceKey(d.Store, d.Terminal)
	if err != nil {
		return "", err
	}
	c := userClaims(nkey, d.Name(), p)
	c.IssuerAccount = account
	c.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket)
	c.Limits.Subs, c.Limits.Payload = maxSubs, MaxPayload
	if valid > 0 {
		c.Expires = time.Now().Add(valid).Unix()
	}
	return c.Encode(k.devices)
}

// CheckUserKey refuses, as ErrDevice, what is no public key of a user.
func CheckUserKey(nkey string) error {
	if len(nkey) != keyLength || !nkeys.IsValidPublicUserKey(nkey) { // base32 with a tail would do for the latter
		return fmt.Errorf("%w: %.60q is no public user key", ErrDevice, nkey)
	}
	return nil
}

func userClaims(nkey, name string, p wire.Permissions) *jwt.UserClaims {
	c := jwt.NewUserClaims(nkey)
	c.Name = name
	c.Pub.Allow.Add(p.Publish...)
	c.Sub.Allow.Add(p.Subscribe...)
	return c
}

// HubUser makes credentials for a hub, in the format of a credentials file: JWT and
// seed. They last until the hub's account gets another seed.
func (k *Keys) HubUser() ([]byte, error) { return k.user(k.hub, "poshub", wire.HubPermissions()) }

// SystemUser makes credentials with which a hub hears of connections, and tells the
// servers of accounts.
func (k *Keys) SystemUser() ([]byte, error) {
	return k.user(k.system, "poshub", wire.Permissions{
		Publish: []string{
			"$SYS.REQ.SERVER.PING.>", "$SYS.REQ.SERVER.*.VARZ", "$SYS.REQ.SERVER.*.JSZ", "$SYS.REQ.SERVER.*.CONNZ",
			"$SYS.REQ.ACCOUNT.>", "$SYS.REQ.CLAIMS.>",
		},
		Subscribe: []string{"_INBOX.>", "$SYS.ACCOUNT.>", "$SYS.SERVER.>"},
	})
}

func (k *Keys) user(account nkeys.KeyPair, name string, p wire.Permissions) ([]byte, error) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	token, err := userClaims(public(kp), name, p).Encode(account)
	if err != nil {
		return nil, err
	}
	seed, err := kp.Seed()
	if err != nil {
		return nil, err
	}
	return jwt.FormatUserConfig(token, seed)
}
