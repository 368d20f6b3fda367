package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"posd/durable"
	"posd/journal"
	"posd/pos/config"
	"posd/pos/register"
	"posd/pos/support"
)

// Files of the data folder that posctl makes.
const (
	tokenFile = support.TokenFile
	ownToken  = support.OwnToken // posctl's own, for status
)

// initTerminal makes the journal with its birth record, the signing key whose
// public half that record names, and posctl's own token.
func (t *tool) initTerminal(args []string) error {
	if _, err := t.parse(t.flags("init"), args); err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	// A folder made here would lie on the root file system of a board whose data partition is
	// not mounted: a second terminal of the same name.
	if _, err := os.Stat(c.Data.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no folder %s: mount the data partition, or make the folder for a new terminal (its owner is who posd runs as); nothing was made", journal.ErrNoJournal, c.Data.Dir)
	}
	if _, err := t.finishReset(c.Data.Dir); err != nil {
		return fmt.Errorf("a reset was interrupted and cannot be finished: %w", err)
	}
	dir := filepath.Join(c.Data.Dir, "journal")
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%w in %s: this terminal is set up already; nothing was changed", journal.ErrExists, dir)
	}
	keyFile := filepath.Join(c.Data.Dir, config.KeyFile)
	public, err := signingKey(keyFile)
	if err != nil {
		return err
	}
	machine := journal.Machine()
	id, err := journal.Create(dir, journal.CreateOptions{
		Identity:  journal.Identity{Store: c.Terminal.Store, Terminal: c.Terminal.ID},
		MachineID: machine, PublicKey: public, SegmentSize: c.Data.Segment,
		Opening: register.Opening(register.Start{Branch: 1, Currency: c.Terminal.Currency}),
	})
	if err != nil {
		return err
	}
	if _, err := t.ownToken(c); err != nil {
		return err
	}
	if err := handOver(c.Data.Dir, c.Data.Dir); err != nil {
		return fmt.Errorf("give the files to the owner of the data folder: %w", err)
	}
	fmt.Fprintf(t.out, "terminal %s of store %s is set up\njournal  %s in %s\nkey      %s (back it up off this board)\n",
		c.Terminal.ID, c.Terminal.Store, id, dir, keyFile)
	fmt.Fprintf(t.out, "public   %x\n         note it off this terminal: posctl verify -key proves with it that this terminal wrote the journal\n", public)
	t.sayMachine(machine)
	fmt.Fprintln(t.out, "next     posctl token add NAME, posctl catalogue import FILE, then start posd")
	return nil
}

// sayMachine tells by what a disk that was copied to another board is noticed.
func (t *tool) sayMachine(machine string) {
	if machine == "" {
		fmt.Fprintln(t.err, "posctl: warning: nothing names this board for certain, so a disk that is copied to another one cannot be noticed at its start; head office notices it later")
		return
	}
	fmt.Fprintf(t.out, "machine  %s, noted so that a copied disk is noticed at its start\n", machine)
}

// signingKey returns the public half of the key in path, made if absent.
func signingKey(path string) (ed25519.PublicKey, error) {
	key, err := config.LoadKey(path)
	if err == nil {
		return key.Public().(ed25519.PublicKey), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; put the right file there, or move this one away to have a new key made", err)
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return public, replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// replaceFile writes path with mode 0600 so that a cut leaves the old or the
// new content. The owner stays that of the folder, so that posd can read it.
func replaceFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if st, err := os.Stat(filepath.Dir(path)); err == nil {
		chownLike(tmp, st)
	}
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)

func (t *tool) token(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: token add NAME, token list or token revoke NAME", errUsage)
	}
	verb, args := args[0], args[1:]
	var want []string
	if verb != "list" {
		want = []string{"NAME"}
	}
	names, err := t.parse(t.flags("token "+verb), args, want...)
	if err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	path := filepath.Join(c.Data.Dir, tokenFile)
	switch verb {
	case "add":
		token, err := addToken(path, names[0])
		if err == nil {
			fmt.Fprintln(t.out, token)
		}
		return err
	case "revoke":
		return revokeToken(path, names[0])
	case "list":
		lines, err := readTokens(path)
		for _, l := range lines {
			if f := strings.Fields(l); len(f) >= 3 {
				fmt.Fprintf(t.out, "%-32s  made %s\n", f[0], f[2])
			}
		}
		return err
	}
	return fmt.Errorf("%w: token has no verb %q", errUsage, verb)
}

// addToken appends a line `name sha256 time`; the token itself is not kept.
func addToken(path, name string) (string, error) {
	if !tokenName.MatchString(name) {
		return "", fmt.Errorf("token name %q: use 1 to 32 letters, digits, dots, dashes or underscores", name)
	}
	lines, err := readTokens(path)
	if err != nil {
		return "", err
	}
	for _, l := range lines {
		if strings.HasPrefix(l, name+" ") {
			return "", fmt.Errorf("a token named %q exists; revoke it first, or choose another name", name)
		}
	}
	raw := make([]byte, 32)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(token))
	lines = append(lines, fmt.Sprintf("%s %s %s", name, hex.EncodeToString(sum[:]), time.Now().UTC().Format(time.RFC3339)))
	return token, replaceFile(path, []byte(strings.Join(lines, "\n")+"\n"))
}

func revokeToken(path, name string) error {
	lines, err := readTokens(path)
	if err != nil {
		return err
	}
	var keep []string
	for _, l := range lines {
		if !strings.HasPrefix(l, name+" ") {
			keep = append(keep, l)
		}
	}
	if len(keep) == len(lines) {
		return fmt.Errorf("no token is named %q; see posctl token list", name)
	}
	return replaceFile(path, []byte(strings.Join(append(keep, ""), "\n")))
}

func readTokens(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var lines []string
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return lines, err
}

// ownToken returns posctl's own token, made at its first use.
func (t *tool) ownToken(c *config.Config) (string, error) {
	path := filepath.Join(c.Data.Dir, ownToken)
	b, err := os.ReadFile(path)
	if err == nil {
		return string(bytes.TrimSpace(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := revokeToken(filepath.Join(c.Data.Dir, tokenFile), "posctl"); errors.Is(err, fs.ErrPermission) {
		return "", err
	}
	token, err := addToken(filepath.Join(c.Data.Dir, tokenFile), "posctl")
	if err != nil {
		return "", err
	}
	return token, replaceFile(path, []byte(token+"\n"))
}
