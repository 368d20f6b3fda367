package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"posd/pos/tradeday"
)

// Children are told to die with the thread that started them (Pdeathsig), so
// they are all started by this one, which lives as long as the process.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(start(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage: posdemo run   -posd BIN -posctl BIN -poshub BIN [flags]
       posdemo front -url URL -token-file FILE -out FILE [flags]

posdemo run -h lists the flags; DATA, DAY, SEED, SALES, TILLS and KEEP in the environment are their defaults.
`

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64
)

// errDiffer: the three sources do not agree; the table says where.
var errDiffer = errors.New("the three sources do not agree")

func start(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return exitUsage
	}
	var err error
	switch args[0] {
	case "run":
		err = runCommand(ctx, args[1:], out, errs)
	case "front":
		err = frontCommand(ctx, args[1:], out, errs)
	default:
		fmt.Fprint(errs, usage)
		return exitUsage
	}
	var bad *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &bad):
		fmt.Fprintf(errs, "posdemo %s: %v\n", args[0], err)
		return exitUsage
	}
	fmt.Fprintf(errs, "posdemo %s: %v\n", args[0], err)
	return exitFailed
}

type usageError struct{ what string }

func (e *usageError) Error() string { return e.what }

// trade is which day is played.
type trade struct {
	data  string // folder of the real data; empty: synthetic
	day   string // YYYY-MM-DD, "all", or empty for the busiest
	seed  uint64
	sales int
	tills int
}

func (t *trade) flags(fs *flag.FlagSet) {
	fs.StringVar(&t.data, "data", os.Getenv("DATA"), "folder with transactions.csv.gz and products.csv.gz; empty: a synthetic day")
	fs.StringVar(&t.day, "day", os.Getenv("DAY"), "with -data: YYYY-MM-DD, or all; empty: the busiest day")
	fs.Uint64Var(&t.seed, "seed", envNumber("SEED", 1), "of the synthetic day")
	fs.IntVar(&t.sales, "sales", int(envNumber("SALES", 3000)), "of the synthetic day")
	fs.IntVar(&t.tills, "tills", int(envNumber("TILLS", 4)), "sales under way at once")
}

// args gives a front end the same day.
func (t *trade) args() []string {
	return []string{"-data", t.data, "-day", t.day, "-seed", strconv.FormatUint(t.seed, 10),
		"-sales", strconv.Itoa(t.sales), "-tills", strconv.Itoa(t.tills)}
}

func (t *trade) check() error {
	if t.sales < 20 || t.sales > 1_000_000 || t.tills < 1 || t.tills > 64 {
		return &usageError{"give -sales from 20 to 1000000 and -tills from 1 to 64"}
	}
	if t.day != "" && t.data == "" {
		return &usageError{"-day needs -data: a synthetic day has no date to choose"}
	}
	return nil
}

// writeCatalogue writes the items that the day sells.
func (t *trade) writeCatalogue(w io.Writer) error {
	if t.data != "" {
		return tradeday.WriteItems(w, t.data)
	}
	return tradeday.WriteSyntheticItems(w)
}

func envNumber(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 63); err == nil {
		return n
	}
	return otherwise
}

// parse reads a command's flags and takes no further arguments.
func parse(fs *flag.FlagSet, args []string, errs io.Writer) error {
	fs.SetOutput(errs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &usageError{err.Error()}
	}
	if fs.NArg() > 0 {
		return &usageError{fmt.Sprintf("what is %q? Flags only", fs.Arg(0))}
	}
	return nil
}
