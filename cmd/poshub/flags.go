package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// flags are those of one command, which answers wrong ones as the others do.
type flags struct {
	*flag.FlagSet
	usage          string // stands before the list of flags
	stdout, stderr io.Writer
}

func newFlags(name, usage string, stdout, stderr io.Writer) *flags {
	f := &flags{flag.NewFlagSet(name, flag.ContinueOnError), usage, stdout, stderr}
	f.SetOutput(io.Discard)
	return f
}

// parse reads args. If ok is false the command ends with code: help was asked for, or
// something is wrong, and it was said.
func (f *flags) parse(args []string) (code int, ok bool) {
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(f.stdout, f.usage)
		f.SetOutput(f.stdout)
		f.PrintDefaults()
		return 0, false
	}
	if err != nil {
		return f.fail(exitUsage, "%v; see poshub %s --help", err, f.Name()), false
	}
	return 0, true
}

// parseWords reads args in which words stand before, between or behind the flags.
func (f *flags) parseWords(args []string) (words []string, code int, ok bool) {
	for {
		if code, ok := f.parse(args); !ok {
			return nil, code, false
		}
		if f.NArg() == 0 {
			return words, 0, true
		}
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
}

// fail says why the command ends with code.
func (f *flags) fail(code int, format string, a ...any) int {
	fmt.Fprintf(f.stderr, "poshub: "+format+"\n", a...)
	return code
}
