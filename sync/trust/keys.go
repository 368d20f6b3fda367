package trust

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"posd/durable"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// ErrKeys: the folder of keys cannot be used as it is.
var ErrKeys = errors.New("keys of the NATS operator")

// Keys are the seeds of head office's NATS operator.
type Keys struct {
	operator, system, hub, devices nkeys.KeyPair
	accounts                       []byte // secret from which the terminals' account identities follow
}

// Account is an account as the servers know it.
type Account struct {
	Key string // public
	JWT string // signed by the operator
}

// files lists the seeds in the order in which they are made: the operator last, so
// that with it all are there.
func (k *Keys) files() []struct {
	name string
	kind nkeys.PrefixByte
	to   *nkeys.KeyPair
} {
	return []struct {
		name string
		kind nkeys.PrefixByte
		to   *nkeys.KeyPair
	}{
		{"system.nk", nkeys.PrefixByteAccount, &k.system},
		{"hub.nk", nkeys.PrefixByteAccount, &k.hub},
		{"devices.nk", nkeys.PrefixByteAccount, &k.devices},
		{operatorFile, nkeys.PrefixByteOperator, &k.operator},
	}
}

const operatorFile = "operator.nk"

// Exist tells whether the folder holds an operator.
func Exist(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, operatorFile))
	return err == nil
}

// Open reads the seeds in the folder, and makes folder and seeds if there is no operator
// yet. The error is ErrKeys if one of them is lost: then a backup is needed, since no
// credentials made before would be worth anything beside a new seed.
func Open(dir string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	k, may := new(Keys), !Exist(dir)
	for _, f := range k.files() {
		path := filepath.Join(dir, f.name)
		kp, err := readSeed(path, f.kind)
		if errors.Is(err, fs.ErrNotExist) && may {
			kp, err = makeSeed(path, f.kind)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w: restore the folder from its backup", ErrKeys, err)
		}
		*f.to = kp
	}
	seed, err := k.devices.Seed()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	k.accounts = seed
	return k, nil
}

const maxSeedFile = 4 << 10

func readSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxSeedFile {
		return nil, fmt.Errorf("%s holds no seed", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSpace(b)
	if got, _, err := nkeys.DecodeSeed(b); err != nil || got != kind {
		return nil, fmt.Errorf("%s holds no seed of the right kind", path)
	}
	return nkeys.FromSeed(b)
}

func makeSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	kp, err := nkeys.CreatePair(kind)
	if err != nil {
		return nil, err
	}
	seed, err := kp.Seed()
	if err != nil {
		return nil, err
	}
	return kp, WriteSecret(path, append(seed, '\n'))
}

// WriteSecret writes a file that only its owner may read, durably and by rename: a cut
// leaves the old content, or the new.
func WriteSecret(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// deviceAccount is the identity of a terminal's account: always the same.
func (k *Keys) deviceAccount(store, terminal string) (nkeys.KeyPair, error) {
	m := hmac.New(sha256.New, k.accounts)
	m.Write([]byte("posd terminal account\x00" + store + "\x00" + terminal))
	return nkeys.FromRawSeed(nkeys.PrefixByteAccount, m.Sum(nil))
}

func public(kp nkeys.KeyPair) string {
	s, err := kp.PublicKey()
	if err != nil {
		return "" // of a pair made from a seed: cannot be
	}
	return s
}

// Operator is the operator's JWT, for the servers' configuration.
func (k *Keys) Operator() (string, error) {
	c := jwt.NewOperatorClaims(public(k.operator))
	c.Name, c.SystemAccount = "posd", public(k.system)
	return c.Encode(k.operator)
}

// OperatorKey is the operator's public key: what a server has to trust.
func (k *Keys) OperatorKey() string { return public(k.operator) }
