package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"posd/sync/trust"
)

const keysUsage = `Usage: poshub keys show --data DIR
       poshub keys push [flags]

show prints the public halves of the keys in DIR/keys: the operator of the NATS servers,
and the key with which head office signs its orders (hub.office_key of a terminal).
push tells NATS servers of your own of the account of every terminal that was let in, as
after they were set up anew. The hub that runs does it.

Exit codes: 0, 1 it could not be done, 2 called wrongly.

Flags:
`

func keysCommand(args []string, stdout, stderr io.Writer) int {
	var c client
	f := newFlags("keys", keysUsage, stdout, stderr)
	c.addTo(f)
	said, code, ok := f.parseWords(args)
	switch {
	case !ok:
		return code
	case strings.Join(said, " ") == "show" && c.data != "":
		return showKeys(f, c.data)
	case strings.Join(said, " ") == "show":
		return f.fail(exitUsage, "--data is missing: name the folder of the hub")
	case strings.Join(said, " ") != "push":
		return f.fail(exitUsage, "say poshub keys show or poshub keys push")
	case c.wrong() != "":
		return f.fail(exitUsage, "%s", c.wrong())
	}
	var done struct {
		Accounts int `json:"accounts"`
	}
	if err := c.post(context.Background(), "/v1/keys/push", nil, &done); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	fmt.Fprintf(stdout, "%d accounts told\n", done.Accounts)
	return 0
}

// showKeys reads the folder of the keys and makes nothing.
func showKeys(f *flags, data string) int {
	dir := filepath.Join(data, "keys")
	if trust.Exist(dir) {
		k, err := trust.Open(dir)
		if err != nil {
			return f.fail(exitFailed, "%v", err)
		}
		fmt.Fprintf(f.stdout, "operator    %s\n", k.OperatorKey())
	}
	office, err := trust.OpenOffice(dir, false)
	switch {
	case err == nil:
		fmt.Fprintf(f.stdout, "office_key  %x\n", office.Public().(ed25519.PublicKey))
	case !errors.Is(err, fs.ErrNotExist):
		return f.fail(exitFailed, "%v", err)
	case !trust.Exist(dir):
		return f.fail(exitFailed, "there are no keys in %s: poshub serve makes them", dir)
	default:
		fmt.Fprintln(f.stdout, "office_key  none yet: the first enrolment or order makes it")
	}
	return 0
}
