package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/config"
	"posd/pos/register"
	"posd/pos/view"
)

// sell is posd for a script: it signs with the terminal's key and stops in order.
// sell DATA N. With -cut its end is not signed, as after a power cut.
func sell(ts *testscript.TestScript, _ bool, args []string) {
	cut := args[0] == "-cut"
	if cut {
		args = args[1:]
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := ts.MkAbs(args[0])
	key, err := config.LoadKey(filepath.Join(data, config.KeyFile))
	ts.Check(err)
	if cut {
		key = nil
	}
	ts.Check(sellSome(data, key, n))
}

func sellSome(data string, key ed25519.PrivateKey, n int) (err error) {
	var opener register.Opener
	j, err := journal.Open(filepath.Join(data, "journal"), journal.Options{SegmentSize: 64 << 10, Opening: opener.Opening, Key: key})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	v, err := view.Open(filepath.Join(data, "view.db"), j, view.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	r, err := register.Open(j, v, register.Options{Store: "s1", Terminal: "t1", Operator: "7",
		Currency: pos.Currency{Code: "EUR", Exponent: 2}, Opener: &opener})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- v.Run(ctx) }()
	go func() { ended <- r.Run(ctx) }()
	for i := range n {
		if err == nil {
			_, err = r.Checkout(ctx, sale(fmt.Sprint(j.Incarnation(), i)))
		}
	}
	cancel()
	return errors.Join(err, <-ended, <-ended)
}

func sale(key string) register.Checkout {
	return register.Checkout{Key: key, Hash: sha256.Sum256([]byte(key)), Operator: "7", Prices: pos.Inclusive,
		Lines:   []pos.Line{{Description: "Bread", Qty: 1000, Price: 299, Tax: "A", Rate: 190000, Unit: "pc"}},
		Tenders: []pos.Tender{{Kind: pos.Cash, Amount: 300}}}
}

// forge ends the journal with a checkpoint whose signature somebody made up who
// has no key: forge DATA.
func forge(ts *testscript.TestScript, _ bool, args []string) {
	dir := filepath.Join(ts.MkAbs(args[0]), "journal")
	b, err := journal.ReadBirth(dir)
	ts.Check(err)
	j, err := journal.Open(dir, journal.Options{SegmentSize: 64 << 10})
	ts.Check(err)
	seq, head := j.Floor()
	_, key, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	p := chain.AppendCheckpoint(nil, j.ID(), chain.Checkpoint{Seq: seq, Head: head}, key)
	sum := sha256.Sum256(b.PublicKey)
	copy(p[4:8], sum[:]) // it claims to be of the right key
	_, err = j.Append(chain.TypeCheckpoint, journal.Durable, len(p), made(p))
	ts.Check(err)
	ts.Check(j.Close())
}

type made []byte

func (m made) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, m...), nil }
