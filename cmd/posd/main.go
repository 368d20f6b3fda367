package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
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

// parse reads the command line by hand: package flag would be 18 kB for four switches.
func parse(args []string, stdout, stderr io.Writer) (f flags, code int, ok bool) {
	f.config = "/etc/posd/posd.toml"
	wrong := ""
	for len(args) > 0 && wrong == "" {
		arg := args[0]
		args = args[1:]
		name, value, given := strings.Cut(strings.TrimPrefix(arg, "-"), "=") // --name as well as -name
		on := map[string]*bool{"-check": &f.check, "-reference": &f.reference, "-version": &f.version, "-no-daemon": new(bool)}
		if name = "-" + strings.TrimPrefix(name, "-"); !strings.HasPrefix(arg, "-") {
			name = arg
		}
		switch {
		case name == "-h" || name == "-help":
			usage(stdout)
			return f, exitOK, false
		case name == "-config" && given:
			f.config = value
		case name == "-config" && len(args) > 0:
			f.config, args = args[0], args[1:]
		case name == "-config":
			wrong = "--config needs a file"
		case on[name] != nil && !given:
			*on[name] = true
		case on[name] != nil:
			wrong = arg + ": this one takes no value"
		default:
			wrong = "unknown argument " + strconv.Quote(arg)
		}
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "posd: %s; posd --help shows what there is\n", wrong)
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
