package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"posd/pos/config"
)

// release is set by the linker: -X main.release=1.4.0.
var release = ""

// errConfig marks a configuration that could not be read at all.
var errConfig = errors.New("configuration cannot be used")

func main() { os.Exit(start(os.Args[1:], os.Stdout, os.Stderr)) }

type flags struct {
	config    string
	check     bool
	reference bool
	version   bool
}

// start reads the command line and the configuration and runs the daemon.
func start(args []string, stdout, stderr io.Writer) int {
	f, code, ok := parse(args, stdout, stderr)
	if !ok {
		return code
	}
	switch {
	case f.version:
		fmt.Fprintln(stdout, "posd", releaseName())
		return exitOK
	case f.reference:
		config.WriteReference(stdout)
		return exitOK
	}
	c, warnings, err := config.Load(f.config, f.check)
	if err != nil {
		var listed *config.Error
		if !errors.As(err, &listed) {
			err = fmt.Errorf("%w: %w", errConfig, err)
		}
		return fail(stderr, err)
	}
	log := newLogger(stderr, c.Log)
	for _, w := range warnings {
		log.Warn(w.String())
	}
	if f.check {
		fmt.Fprintln(stdout, f.config+": ok")
		return exitOK
	}
	if err := run(c, log); err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

// fail prints why posd ends, a line for each problem, and returns the exit code.
func fail(stderr io.Writer, err error) int {
	for line := range strings.Lines(err.Error() + remedy(err)) {
		fmt.Fprintln(stderr, "posd:", strings.TrimRight(line, "\n"))
	}
	return exitCode(err)
}

func parse(args []string, stdout, stderr io.Writer) (f flags, code int, ok bool) {
	fs := flag.NewFlagSet("posd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&f.config, "config", "/etc/posd/posd.toml", "")
	fs.BoolVar(&f.check, "check", false, "")
	fs.BoolVar(&f.reference, "reference", false, "")
	fs.BoolVar(&f.version, "version", false, "")
	fs.Bool("no-daemon", true, "")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return f, exitOK, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "posd: %v; posd --help shows what there is\n", err)
		return f, exitUsage, false
	}
	return f, exitOK, true
}

func usage(w io.Writer) {
	fmt.Fprint(w, `posd takes the sales of a retail terminal and cannot lose one.

  posd [--config FILE]     run in the foreground (default /etc/posd/posd.toml)
  posd --check             check the configuration strictly and end
  posd --reference         print a configuration with every key and its meaning
  posd --version           print the release
  --no-daemon              accepted; posd never leaves the foreground

SIGTERM and SIGINT stop it in order. SIGHUP reads tokens and catalogue again.

Exit codes:
`)
	writeExitCodes(w)
}

func releaseName() string {
	if release != "" {
		return release
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "unknown"
}
