// Poshub is the cloud side of posd: it takes in what terminals ship and tells
// them what is safe.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"posd/sync/hub"
	"posd/sync/trust"
	"posd/sync/wire"
)

const usage = `poshub takes in what terminals ship and keeps it in a ledger.

Usage:

  poshub serve --data DIR [flags]    run the hub
  poshub stream init|check [flags]   make or check the streams on NATS servers of your own
  poshub fleet --data DIR [flags]    show the terminals, the worst first
  poshub quarantine list|show|accept|reject [flags]
                                     decide about what was set aside
  poshub import DIR --why TEXT       bring in the journal of a till that is no more
  poshub collisions list|settle      receipt numbers that several sales have
  poshub returns list|settle         receipts of which more came back than was sold
  poshub outbox status|replay        the events that are published
  poshub audit --data DIR [flags]    show what people have decided, and why
  poshub enrol STORE TERMINAL        let a terminal in: prints its one-time token
  poshub push FILE STORE [TERMINAL]  push a configuration to terminals; push list shows what became of it
  poshub command STORE TERMINAL status|sync|bundle|log-level|rotate-key
                                     order a terminal to do something
  poshub catalogue publish|list|status|show
                                     items and prices for terminals
  poshub keys show|push              the keys of NATS and of head office
  poshub nats config [flags]         write configuration for NATS servers of your own
  poshub version                     print the release

Run "poshub serve --help" for the flags.
`

const serveUsage = `Usage: poshub serve --data DIR [flags]

Runs the hub in the foreground until SIGTERM or SIGINT. The first start makes
DIR with a ledger, the token of the HTTP interface (DIR/api.token) and the keys with
which it lets terminals in one by one (DIR/keys; poshub enrol), or with --auth token
one secret that all terminals share (DIR/nats.token). Only the owner can read them.

Flags:
`

// Exit codes: 1 the hub failed, 2 it was called wrongly.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "serve":
		return serveCommand(args[1:], stdout, stderr)
	case "stream":
		return streamCommand(args[1:], stdout, stderr)
	case "fleet":
		return fleetCommand(args[1:], stdout, stderr)
	case "quarantine":
		return quarantineCommand(args[1:], stdout, stderr)
	case "import":
		return importCommand(args[1:], stdout, stderr)
	case "collisions":
		return collisionsCommand(args[1:], stdout, stderr)
	case "returns":
		return returnsCommand(args[1:], stdout, stderr)
	case "outbox":
		return outboxCommand(args[1:], stdout, stderr)
	case "audit":
		return auditCommand(args[1:], stdout, stderr)
	case "enrol":
		return enrolCommand(args[1:], stdout, stderr)
	case "push":
		return pushCommand(args[1:], stdout, stderr)
	case "command":
		return commandCommand(args[1:], stdout, stderr)
	case "catalogue":
		return catalogueCommand(args[1:], stdout, stderr)
	case "keys":
		return keysCommand(args[1:], stdout, stderr)
	case "nats":
		return natsCommand(args[1:], stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, "poshub", release())
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "poshub: there is no command %q\n\n%s", args[0], usage)
	return exitUsage
}

func release() string {
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		return i.Main.Version
	}
	return "(devel)"
}

func serveCommand(args []string, stdout, stderr io.Writer) int {
	f := newFlags("serve", serveUsage, stdout, stderr)
	var o hub.Options
	listen := f.String("listen", "127.0.0.1:8090", "`address` of the HTTP interface")
	stores := f.String("stores", "", "accept only these stores, `list` separated by commas; others go to quarantine (default: all)")
	level := f.String("log", "info", "least `level` to log: debug, info, warn or error")
	f.StringVar(&o.Dir, "data", "", "data `folder`, made if missing (required)")
	f.StringVar(&o.NATSListen, "nats", "127.0.0.1:4222", "`address` of the NATS server inside")
	f.StringVar(&o.Auth, "auth", "", "how terminals show who they are, `jwt or token`: each with a key of its own, or all with one shared token, for laboratories (default: as DIR is; jwt for a new one)")
	f.StringVar(&o.NATSURL, "nats-url", "", "use the NATS servers at this `URL` instead of the one inside")
	f.StringVar(&o.NATSCreds, "nats-creds", "", "credentials `file` for --nats-url")
	f.StringVar(&o.NATSCA, "nats-ca", "", "PEM `file` of the authority of their certificates, for --nats-url (default: the system's)")
	f.StringVar(&o.NATSCert, "nats-cert", "", "PEM `file` of the certificate to show there; needs --nats-key")
	f.StringVar(&o.NATSKey, "nats-key", "", "PEM `file` of its key")
	f.StringVar(&o.TLSCert, "tls-cert", "", "PEM `file` of this hub's certificate, for the HTTP interface and the NATS server inside, which then speak TLS 1.3 only; needs --tls-key")
	f.StringVar(&o.TLSKey, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&o.TLSCA, "tls-ca", "", "PEM `file` of an authority: clients of both must show a certificate of it (but for POST /v1/enrol, /livez and /readyz)")
	urls := f.String("terminal-urls", "", "`addresses` of NATS that terminals are told when they enrol, separated by commas (default: where this hub listens, or connects)")
	f.StringVar(&o.TerminalCA, "terminal-ca", "", "PEM `file` of the authority that terminals are told to trust there")
	f.StringVar(&o.LedgerURL, "ledger", "", "keep the ledger in this PostgreSQL database, postgres://user@host/database (default: in the file DIR/ledger.db); the password comes from PGPASSFILE or PGPASSWORD")
	shards := f.String("shards", "0", "`numbers` of the shards to take in, such as 0-15 or 0,3,7")
	f.StringVar(&o.Region, "region", "", "`name` of this region, where several regions with streams of their own feed one ledger")
	f.IntVar(&o.Replicas, "replicas", 1, "copies that a NATS cluster keeps of the stream, `number`")
	f.DurationVar(&o.MaxAge, "max-age", 400*24*time.Hour, "how long the stream keeps parcels; longer than any terminal's time offline and than your backups")
	f.Int64Var(&o.MaxBytes, "max-bytes", 0, "how many `bytes` the stream may take before it refuses more (default: no limit)")
	f.BoolVar(&o.NoEvents, "no-events", false, "publish no events: the hubs of another region on the same ledger do")
	quarantine := f.Int64("quarantine-mib", 1024, "how many `MiB` may wait in the quarantine for a decision; more is left in the stream until there is room")
	if code, ok := f.parse(args); !ok {
		return code
	}
	var l slog.Level
	switch {
	case f.NArg() > 0:
		return f.fail(exitUsage, "unexpected argument %q; see poshub serve --help", f.Arg(0))
	case o.Dir == "":
		return f.fail(exitUsage, "--data is missing: name the folder that keeps the ledger")
	case o.NATSCreds != "" && o.NATSURL == "":
		return f.fail(exitUsage, "--nats-creds is for --nats-url, which is missing")
	case (o.NATSCA != "" || o.NATSCert != "") && o.NATSURL == "":
		return f.fail(exitUsage, "--nats-ca and --nats-cert are for --nats-url, which is missing; the server inside has --tls-cert")
	case (o.NATSCert == "") != (o.NATSKey == "") || (o.TLSCert == "") != (o.TLSKey == ""):
		return f.fail(exitUsage, "a certificate needs its key, and a key its certificate")
	case o.TLSCA != "" && o.TLSCert == "":
		return f.fail(exitUsage, "--tls-ca needs --tls-cert and --tls-key: without TLS nobody shows a certificate")
	case o.Auth != "" && o.Auth != hub.AuthJWT && o.Auth != hub.AuthToken:
		return f.fail(exitUsage, "--auth %q: must be %s or %s", o.Auth, hub.AuthJWT, hub.AuthToken)
	case *quarantine < 64:
		return f.fail(exitUsage, "--quarantine-mib must be at least 64")
	case l.UnmarshalText([]byte(*level)) != nil:
		return f.fail(exitUsage, "--log %q: must be debug, info, warn or error", *level)
	}
	var err error
	if o.Shards, err = parseShards(*shards); err != nil {
		return f.fail(exitUsage, "--shards %q: %v", *shards, err)
	}
	o.Stores, o.TerminalURLs, o.QuarantineBytes = words(*stores), words(*urls), *quarantine<<20
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: l}))
	if o.Auth == "" {
		o.Auth = chooseAuth(o)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, o, *listen, stdout); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

// chooseAuth goes on as the data folder began.
func chooseAuth(o hub.Options) string {
	_, err := os.Stat(filepath.Join(o.Dir, "nats.token"))
	switch {
	case trust.Exist(filepath.Join(o.Dir, "keys")):
		return hub.AuthJWT
	case o.NATSURL != "": // no keys: those servers are somebody else's
		return hub.AuthToken
	case err != nil:
		return hub.AuthJWT
	}
	o.Log.Warn("all terminals share one token, as this folder began: any of them can write as any other. "+
		"To change: a new data folder, and poshub enrol for each terminal; --auth token says that it is meant to be so", "file", filepath.Join(o.Dir, "nats.token"))
	return hub.AuthToken
}

// parseShards reads "0-15" or "0,3,7".
func parseShards(text string) (all []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > wire.MaxShard {
			return nil, fmt.Errorf("give numbers from 0 to %d, such as 0-15 or 0,3,7", wire.MaxShard)
		}
		for n := a; n <= b; n++ {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// serve runs the hub until ctx ends.
func serve(ctx context.Context, o hub.Options, listen string, stdout io.Writer) (err error) {
	h, err := hub.Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("HTTP interface: %w", err)
	}
	srv := &http.Server{
		Handler: h.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	scheme := "http"
	if srv.TLSConfig = h.HTTPTLS(); srv.TLSConfig != nil {
		scheme, l = "https", tls.NewListener(l, srv.TLSConfig)
	}
	go func() { ended <- srv.Serve(l) }()
	go func() { ended <- h.Run(ctx) }()
	fmt.Fprintf(stdout, "HTTP on %s://%s\nNATS on %s\n", scheme, l.Addr(), h.NATSURL())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		o.Log.Warn("systemd was not told that the hub is ready", "error", err)
	}
	var first error
	left := 2
	select {
	case <-ctx.Done():
	case first = <-ended:
		left--
	}
	daemon.SdNotify(false, daemon.SdNotifyStopping) // nothing depends on it
	cancel()
	sctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if srv.Shutdown(sctx) != nil {
		srv.Close() // a reader that does not read must not keep the hub alive
	}
	for range left {
		if e := <-ended; first == nil && !errors.Is(e, http.ErrServerClosed) {
			first = e
		}
	}
	if errors.Is(first, http.ErrServerClosed) {
		first = nil
	}
	return first
}
