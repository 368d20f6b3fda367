// Posctl is the operator's tool on the terminal: it sets a terminal up, makes
// tokens for front ends, imports the catalogue, and looks at the journal,
// whether posd runs or not. It never changes a journal that exists: what can be
// proved of a damaged one becomes a new journal. Only a factory reset removes one,
// and only when head office has all that was sold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"posd/journal"
	"posd/pos/config"
)

// release is set by the build.
var release = "unreleased"

const usage = `usage: posctl COMMAND [flags] [arguments]

  init                     set this terminal up: its journal, key and own token
  status [-json] [-watch]  what runs, how far sales have got
  doctor                   look at everything that a till needs, and say what to do
  bundle [FILE]            write what support asks for into one file, without sales or secrets
  tail [-n N] [-f]         the newest events, one JSON line each
  dump [-from N]           every record of the journal, one JSON line each
  verify [-key KEY]        prove numbering, checksums, hash chain and signatures
  salvage SRC DST          copy what can be proved of a damaged journal into a new one
  token add NAME           make a token for a front end and print it, once
  token list | revoke NAME
  operator add NAME ROLE   an operator who signs in with a PIN, which is read from standard input
  operator pin NAME | role NAME ROLE | remove NAME | list | unlock NAME
  catalogue import FILE    replace the catalogue by a CSV file; -delta: change it by one
  catalogue look CODE      what a till makes of a scanned or typed code
  unsettled                what has been sold here that head office lacks
  reset -yes               make this terminal empty again, if head office has all sales
  slice apply              make posd.slice and its limits, where there is no systemd
  slice exec -- PROGRAM    the same, then become PROGRAM within them
  slice show               the limits in force on the whole way up, and what they did
  config [-in-force]       print the reference of all configuration keys, or what holds
                           here and which keys head office has decided
  version

Every command takes -config FILE (default /etc/posd/posd.toml); verify, dump and
tail take -journal DIR instead, for a copy. posctl COMMAND -h shows its flags.

exit codes: 0 done, 1 failed, 64 wrong usage, 66 no journal here,
            76 the journal is damaged, 77 not permitted, 78 wrong configuration,
            79 the journal is whole but not what the key signed,
            80 salvaged, but not everything could be proved,
            81 there are sales that head office lacks,
            82 doctor: something needs attention, 83 doctor: something is broken
`

// Exit codes, shared with posd where they mean the same.
const (
	exitFailed    = 1
	exitUsage     = 64
	exitNoJournal = 66
	exitCorrupt   = 76
	exitPermitted = 77
	exitConfig    = 78
	exitKey       = 79 // not in sysexits.h, like the next
	exitLoss      = 80
	exitUnsettled = 81
	exitAttention = 82
	exitBroken    = 83
)

// errUsage is a wrong command line; its message says what is right.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// tool is one run of posctl.
type tool struct {
	ctx      context.Context
	out, err io.Writer
	config   string
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	t := &tool{ctx: ctx, out: out, err: errs}
	err := t.dispatch(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errs, "posctl:", err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var corrupt *journal.CorruptError
	var bad *config.Error
	var unsigned *keyError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &unsigned):
		return exitKey
	case errors.Is(err, errLoss):
		return exitLoss
	case errors.Is(err, errUnsettled):
		return exitUnsettled
	case errors.Is(err, errAttention):
		return exitAttention
	case errors.Is(err, errBroken):
		return exitBroken
	case errors.As(err, &corrupt):
		return exitCorrupt
	case errors.Is(err, journal.ErrNoJournal):
		return exitNoJournal
	case errors.Is(err, os.ErrPermission):
		return exitPermitted
	case errors.As(err, &bad):
		return exitConfig
	case errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailed
}

func (t *tool) dispatch(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(t.err, usage)
		return fmt.Errorf("%w: name a command", errUsage)
	}
	name, args := args[0], args[1:]
	switch name {
	case "init":
		return t.initTerminal(args)
	case "status":
		return t.status(args)
	case "tail":
		return t.tail(args)
	case "dump":
		return t.dump(args)
	case "verify":
		return t.verify(args)
	case "salvage":
		return t.salvage(args)
	case "token":
		return t.token(args)
	case "operator":
		return t.operator(args)
	case "catalogue":
		return t.catalogue(args)
	case "doctor":
		return t.doctor(args)
	case "bundle":
		return t.bundle(args)
	case "unsettled":
		return t.unsettled(args)
	case "reset":
		return t.reset(args)
	case "slice":
		return t.slice(args)
	case "config":
		return t.showConfig(args)
	case "version", "-version", "--version":
		fmt.Fprintln(t.out, "posctl", release)
		return nil
	case "help", "-h", "-help", "--help":
		fmt.Fprint(t.out, usage)
		return nil
	}
	fmt.Fprint(t.err, usage)
	return fmt.Errorf("%w: there is no command %q", errUsage, name)
}

// flags makes a command's flag set with -config in it. Flags may stand before
// or after the arguments.
func (t *tool) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet("posctl "+name, flag.ContinueOnError)
	fs.SetOutput(t.err)
	fs.StringVar(&t.config, "config", "/etc/posd/posd.toml", "configuration `file`")
	return fs
}

// parse reads flags and exactly want arguments.
func (t *tool) parse(fs *flag.FlagSet, args []string, want ...string) ([]string, error) {
	rest, err := t.parseRest(fs, args)
	if err == nil && len(rest) != len(want) {
		err = fmt.Errorf("%w: %s takes %d argument(s) %v, got %q", errUsage, fs.Name(), len(want), want, rest)
	}
	return rest, err
}

// parseRest reads flags and any number of arguments.
func (t *tool) parseRest(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

// load reads the configuration and prints its warnings.
func (t *tool) load() (*config.Config, error) {
	c, warnings, err := config.Load(t.config, false)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		fmt.Fprintln(t.err, "posctl: warning:", w)
	}
	return c, nil
}
