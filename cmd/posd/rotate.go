package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"posd/durable"
	"posd/sync/downlink"
	"posd/sync/wire"
)

const tryTime = 10 * time.Second // to connect with a new key

// rotateKey gives the terminal another key for the NATS servers, in two orders. The
// first, without a body, makes it: the public half goes to head office, signed with
// the journal's key. The second brings the JWT for it. It is tried; only then is the
// file of credentials replaced, and the uplink connects anew with it. Until head
// office has heard of that, which is when it revokes the old key, the old one is good:
// whatever fails or is killed in between, the terminal can connect.
func (t *terminal) rotateKey(ctx context.Context, nc *nats.Conn, o *wire.Order) (string, []byte, error) {
	path := t.way.creds
	if path == "" {
		return "", nil, fmt.Errorf("%w: this terminal connects without a key of its own (hub.credentials)", downlink.ErrRefused)
	}
	if len(o.Body) == 0 {
		// What would fail later, for a folder that posd may not write to, fails now.
		f, err := os.CreateTemp(filepath.Dir(path), ".rotate-*")
		if err != nil {
			return "", nil, fmt.Errorf("%w: posd may not replace %s, whoever made it has to: %w", downlink.ErrRefused, path, err)
		}
		f.Close()
		os.Remove(f.Name())
		kp, err := nkeys.CreateUser()
		if err != nil {
			return "", nil, err
		}
		public, err := kp.PublicKey()
		if err != nil {
			return "", nil, err
		}
		data, err := json.Marshal(wire.MakeNewKey(o.Store, o.Terminal, o.Serial, public, t.signingKey()))
		t.newKey = kp
		return "the key " + public + " was made", data, err
	}
	kp := t.newKey
	if kp == nil {
		return "", nil, fmt.Errorf("%w: no key was made since posd has started: begin again", downlink.ErrRefused)
	}
	public, err := kp.PublicKey()
	if err != nil {
		return "", nil, err
	}
	jwt := string(o.Body)
	if err := try(nc, jwt, kp); err != nil {
		return "", nil, fmt.Errorf("the old key stays, the new one was refused: %w", err)
	}
	seed, err := kp.Seed()
	if err == nil {
		err = replaceCreds(path, jwt, seed, durable.Replace)
	}
	if err != nil {
		return "", nil, fmt.Errorf("the old key stays: %w", err)
	}
	t.newKey = nil
	return "the key " + public + " is in use", nil, nil
}

// try connects once more to where nc is connected, as the holder of kp.
func try(nc *nats.Conn, jwt string, kp nkeys.KeyPair) error {
	o := nc.Opts
	o.UserJWT = func() (string, error) { return jwt, nil }
	o.SignatureCB = kp.Sign
	o.Timeout, o.CustomDialer, o.Dialer = tryTime, nil, &net.Dialer{Timeout: tryTime}
	o.ClosedCB, o.DisconnectedErrCB, o.LameDuckModeHandler = nil, nil, nil
	o.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.FlushTimeout(tryTime)
}

// credsFile is the text of a file of credentials.
func credsFile(jwt string, seed []byte) []byte {
	return fmt.Appendf(nil, "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", jwt, seed)
}

// writeCreds replaces a file of credentials at once or not at all.
func writeCreds(path, jwt string, seed []byte) error {
	return durable.Replace(path, credsFile(jwt, seed))
}

// replaceCreds is writeCreds whose error says that the file is the old one. What fails
// behind the rename is none, for the next connection takes the new key: it is made durable
// at the second attempt, or by the kernel.
func replaceCreds(path, jwt string, seed []byte, write func(string, []byte) error) error {
	text := credsFile(jwt, seed)
	replaced := func() bool {
		now, err := os.ReadFile(path)
		return err == nil && bytes.Equal(now, text)
	}
	err := write(path, text)
	if err == nil || !replaced() {
		return err
	}
	if err = write(path, text); replaced() {
		return nil
	}
	return err
}
