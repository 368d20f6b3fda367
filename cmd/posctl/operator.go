package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"posd/durable"
	"posd/pos/config"
	"posd/pos/event"
	"posd/pos/operator"
)

// operator changes the operators file, which a running posd reads again within a second.
func (t *tool) operator(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: operator add NAME ROLE, pin NAME, role NAME ROLE, remove NAME, list, or unlock NAME", errUsage)
	}
	verb, args := args[0], args[1:]
	want, known := map[string][]string{
		"add": {"NAME", "ROLE"}, "pin": {"NAME"}, "role": {"NAME", "ROLE"}, "remove": {"NAME"}, "list": nil, "unlock": {"NAME"},
	}[verb]
	if !known {
		return fmt.Errorf("%w: operator has no verb %q", errUsage, verb)
	}
	flags := t.flags("operator " + verb)
	reason := ""
	if verb == "unlock" {
		flags.StringVar(&reason, "reason", "", "`text` for the journal: why")
	}
	names, err := t.parse(flags, args, want...)
	if err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	if verb == "unlock" {
		return t.unlock(c, names[0], reason)
	}
	b := &staff{t: t, c: c, path: filepath.Join(c.Data.Dir, operator.File)}
	if err := b.read(); err != nil {
		return err
	}
	switch verb {
	case "add":
		return b.add(names[0], names[1])
	case "pin":
		return b.pin(names[0])
	case "role":
		return b.role(names[0], names[1])
	case "remove":
		return b.remove(names[0])
	}
	for i := range b.list {
		fmt.Fprintf(t.out, "%-32s  %-12s  changed %s\n", b.list[i].Name, b.list[i].Role, b.list[i].Changed)
	}
	return nil
}

// staff is the operators file.
type staff struct {
	t    *tool
	c    *config.Config
	path string
	list []operator.Entry
	none bool // there is no file
}

// read refuses a file with lines that cannot be read: writing would lose them.
func (b *staff) read() error {
	f, err := os.Open(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		b.none = true
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if b.list, err = operator.Parse(f); err != nil {
		return fmt.Errorf("%s: %w; correct the file, or remove these lines; nothing was changed", b.path, err)
	}
	return nil
}

func (b *staff) write() error { return replaceFile(b.path, operator.Format(b.list)) }

func (b *staff) find(name string) (*operator.Entry, error) {
	i := slices.IndexFunc(b.list, func(e operator.Entry) bool { return e.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no operator is named %q; see posctl operator list", name)
	}
	return &b.list[i], nil
}

func (b *staff) knowsRole(role string) error {
	roles := slices.Sorted(maps.Keys(b.c.Operators.Roles))
	if !slices.Contains(roles, role) {
		return fmt.Errorf("there is no role %q; there are %s", role, strings.Join(roles, ", "))
	}
	return nil
}

func (b *staff) add(name, role string) error {
	if _, err := b.find(name); err == nil {
		return fmt.Errorf("an operator named %q exists; posctl operator pin and operator role change one", name)
	}
	if !operator.ValidName(name) || name == "posctl" { // which the journal names for unlock
		return fmt.Errorf("%q is no operator's name: use 1 to 32 letters, digits, dashes or underscores", name)
	}
	if err := b.knowsRole(role); err != nil {
		return err
	}
	if err := b.set(operator.Entry{Name: name, Role: role}); err != nil {
		return err
	}
	if b.none {
		fmt.Fprintln(b.t.out, "from now on nothing is done at this terminal without signing in: front ends have to send sessions (docs/integrate.md)")
	}
	if !slices.ContainsFunc(b.list, func(e operator.Entry) bool {
		return b.c.Operators.Roles[e.Role].Allow(operator.OperatorUnlock, 0)
	}) {
		fmt.Fprintln(b.t.err, "posctl: warning: nobody here can approve what cashiers may not do, nor end a lock: add a supervisor or a manager")
	}
	return nil
}

func (b *staff) pin(name string) error {
	e, err := b.find(name)
	if err != nil {
		return err
	}
	return b.set(*e)
}

// set asks for a PIN and writes the operator.
func (b *staff) set(e operator.Entry) error {
	pin, err := b.t.askPIN(e.Name)
	if err != nil {
		return err
	}
	key, err := b.key() // not before: a key without operators looks as if they were lost
	if err != nil {
		return err
	}
	e.Check = key.Check(e.Name, pin)
	b.list = operator.Set(b.list, e, time.Now())
	return b.write()
}

// key makes the terminal's key for PINs where there is none.
func (b *staff) key() (operator.Key, error) {
	path := filepath.Join(b.c.Data.Dir, operator.KeyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		key, err := operator.ParseKey(text)
		if err != nil {
			err = fmt.Errorf("%s: %w; put the right file there, or move this one away: then each operator needs a new PIN", path, err)
		}
		return key, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return operator.Key{}, err
	}
	if len(b.list) > 0 {
		fmt.Fprintln(b.t.err, "posctl: warning: the key of the PINs was gone, a new one is made: each operator needs a new PIN")
	}
	key := operator.NewKey()
	return key, replaceFile(path, key.Append(nil))
}

func (b *staff) role(name, role string) error {
	e, err := b.find(name)
	if err != nil {
		return err
	}
	if err := b.knowsRole(role); err != nil {
		return err
	}
	e.Role = role
	b.list = operator.Set(b.list, *e, time.Now())
	return b.write()
}

func (b *staff) remove(name string) error {
	if _, err := b.find(name); err != nil {
		return err
	}
	b.list = slices.DeleteFunc(b.list, func(e operator.Entry) bool { return e.Name == name })
	if len(b.list) > 0 {
		return b.write()
	}
	if err := os.Remove(b.path); err != nil {
		return err
	}
	fmt.Fprintln(b.t.out, "that was the last one: from now on whoever has a front end's token may do everything")
	return durable.SyncDir(filepath.Dir(b.path))
}

// askPIN reads a PIN from standard input: twice and without showing it at a terminal,
// else the first line. It is no argument, for every user may list those.
func (t *tool) askPIN(name string) ([]byte, error) {
	in := bufio.NewReaderSize(os.Stdin, 256)
	fd := int(os.Stdin.Fd())
	shown, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil { // a pipe or a file
		pin, err := t.readPIN(in)
		if err != nil {
			return nil, err
		}
		return pin, operator.CheckPIN(pin)
	}
	hidden := *shown
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETS, shown)
	var pins [2][]byte
	for i, say := range []string{"PIN for " + name + ": ", "once more: "} {
		fmt.Fprint(t.err, say)
		if pins[i], err = t.readPIN(in); err != nil {
			return nil, err
		}
		fmt.Fprintln(t.err)
		if err := operator.CheckPIN(pins[i]); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(pins[0], pins[1]) {
		return nil, errors.New("the two are not the same; nothing was changed")
	}
	return pins[0], nil
}

// readPIN reads one line, unless it is told to end meanwhile.
func (t *tool) readPIN(in *bufio.Reader) ([]byte, error) {
	type read struct {
		line []byte
		err  error
	}
	done := make(chan read, 1)
	go func() { // ends with the input, or with the program
		line, err := in.ReadBytes('\n')
		done <- read{bytes.TrimRight(line, "\r\n"), err}
	}()
	select {
	case r := <-done:
		if r.err != nil && (!errors.Is(r.err, io.EOF) || len(r.line) == 0) {
			return nil, fmt.Errorf("no PIN was given on standard input: %w", r.err)
		}
		return r.line, nil
	case <-t.ctx.Done():
		return nil, context.Cause(t.ctx)
	}
}

// unlock asks the running posd, whose journal tells of it.
func (t *tool) unlock(c *config.Config, name, reason string) error {
	a, err := t.caller(c)
	if err != nil {
		return err
	}
	if !operator.ValidName(name) {
		return fmt.Errorf("no operator is named %q", name)
	}
	body := []byte("{}")
	if reason != "" {
		body = append(event.AppendString([]byte(`{"reason":`), reason), '}')
	}
	var key [16]byte
	rand.Read(key[:])
	if _, err := a.post(t.ctx, "/v1/operators/"+name+"/unlock", "posctl "+hex.EncodeToString(key[:]), body); err != nil {
		return fmt.Errorf("ask posd: %w", err)
	}
	fmt.Fprintf(t.out, "%s can sign in again\n", name)
	return nil
}
