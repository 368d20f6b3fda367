package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos/config"
)

func (t *tool) verify(args []string) error {
	fs, where := t.journalFlags("verify")
	given := fs.String("key", "", "the terminal's public `key`, as it was noted elsewhere: "+keyForms)
	if _, err := t.parse(fs, args); err != nil {
		return err
	}
	key, err := publicKey(*given)
	if err != nil {
		return err
	}
	dir, err := where()
	if err != nil {
		return err
	}
	bar := newBar(t.err, "verify")
	rep, err := journal.Verify(t.ctx, dir, journal.VerifyOptions{Key: key, Progress: bar.set})
	bar.done()
	if err != nil {
		return ofKey(err)
	}
	if key != nil && rep.Checkpoints == 0 {
		return &keyError{errors.New("nothing in it is signed: anybody could have written it")}
	}
	t.printReport(rep)
	t.printKey(rep, key != nil)
	t.printProof(rep, key != nil)
	return nil
}

func (t *tool) printReport(rep journal.Report) {
	fmt.Fprintf(t.out, "journal      %s\nterminal     %s of store %s\nsegments     %d\nrecords      %d to %d, without a gap\nincarnation  %d\nhead         %s\n",
		rep.Journal, rep.Identity.Terminal, rep.Identity.Store, rep.Segments, rep.First, rep.Last, rep.Incarnation, rep.Head)
	if rep.Live {
		fmt.Fprintln(t.out, "owner        posd is running; the records were read beside it")
	}
	if rep.Tail != "" {
		fmt.Fprintln(t.out, "tail        ", rep.Tail)
	}
}

func (t *tool) printKey(rep journal.Report, given bool) {
	if rep.Key == nil {
		fmt.Fprintln(t.out, "key          none: the journal was made without one, nothing in it is signed")
		return
	}
	origin := "by the journal's own word"
	if given {
		origin = "as given"
	}
	fmt.Fprintf(t.out, "key          %x, %s\n", rep.Key, origin)
	if rep.Checkpoints == 0 {
		fmt.Fprintln(t.out, "checkpoints  none yet, no record is signed")
		return
	}
	fmt.Fprintf(t.out, "checkpoints  %d with a right signature, up to record %d\n", rep.Checkpoints, rep.Signed)
}

// unsigned counts the records after the last checkpoint, which signs itself.
func unsigned(rep journal.Report) uint64 { return rep.Last - min(rep.Last, rep.Signed+1) }

// printProof says in words what was proved, and what was not.
func (t *tool) printProof(rep journal.Report, given bool) {
	fmt.Fprintln(t.out, "checksums, numbering and hash chain are whole")
	proved, not := "the journal agrees with itself, signatures included", "who wrote it; give -key with the public key that was noted elsewhere"
	switch {
	case given:
		proved = fmt.Sprintf("the holder of the key signed records %d to %d, and none was changed, removed or put in since", rep.First, rep.Signed)
		not = "that no later records were cut off; anything against somebody who has root and the key"
	case rep.Checkpoints == 0:
		proved, not = "the journal agrees with itself", "who wrote it; nothing is signed"
	}
	fmt.Fprintln(t.out, "proved:", proved)
	if n := unsigned(rep); n > 0 && rep.Checkpoints > 0 {
		fmt.Fprintf(t.out, "unsigned: the last %d records; they continue the chain, the next checkpoint signs them\n", n)
	}
	fmt.Fprintln(t.out, "not proved:", not)
}

// keyError is a journal whose bytes are whole, and which is not what a key signed.
type keyError struct{ err error }

func (e *keyError) Error() string {
	return "the journal is not what the key signed: " + e.err.Error() +
		"; the key may be another terminal's, or somebody has rewritten the journal: keep the folder as it is and compare it with head office's copy"
}

func (e *keyError) Unwrap() error { return e.err }

// ofKey tells a wrong signature from damage, which has other remedies.
func ofKey(err error) error {
	var c *journal.CorruptError
	if errors.As(err, &c) && (errors.Is(err, chain.ErrKey) || errors.Is(err, chain.ErrSignature)) {
		return &keyError{fmt.Errorf("%s: %w", c.File, c.Err)}
	}
	return err
}

const keyForms = "64 hexadecimal digits, or a file that holds them, a public key in PEM, or terminal.key itself"

// publicKey reads one of the forms of a key; nil for "".
func publicKey(s string) (ed25519.PublicKey, error) {
	if s == "" {
		return nil, nil
	}
	if key := hexKey(s); key != nil {
		return key, nil
	}
	b, err := os.ReadFile(s)
	if err != nil {
		return nil, fmt.Errorf("%w: the key %q is no %d hexadecimal digits, and no file: %w", errUsage, s, 2*ed25519.PublicKeySize, err)
	}
	if key := hexKey(string(b)); key != nil {
		return key, nil
	}
	key, err := pemKey(b)
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w; give %s", s, err, keyForms)
	}
	return key, nil
}

func hexKey(s string) ed25519.PublicKey {
	if b, err := hex.DecodeString(strings.TrimSpace(s)); err == nil && len(b) == ed25519.PublicKeySize {
		return b
	}
	return nil
}

// pemKey reads a public key (PKIX), or the public half of a private one.
func pemKey(b []byte) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode(b); block != nil && block.Type == "PUBLIC KEY" {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if ed, ok := key.(ed25519.PublicKey); ok {
			return ed, nil
		}
		return nil, fmt.Errorf("it holds a %T, an Ed25519 key is needed", key)
	}
	key, err := config.ParseKey(b)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}
