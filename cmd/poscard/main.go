// Command poscard simulates a payment terminal and its acquirer, so that a till can be
// tried, and shown to break down in order, without either: see docs/payment.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"posd/pos/card/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "poscard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("poscard", flag.ContinueOnError)
	fs.Usage = func() { usage(fs) }
	listen := fs.String("listen", "127.0.0.1:7788", "where posd connects: its card.address")
	control := fs.String("control", "127.0.0.1:7789", "where the simulator is told what to do")
	mode := fs.String("mode", "approve", "what it does with requests")
	o := simulator.Options{}
	fs.StringVar(&o.Terminal, "terminal", "SIM-1", "its name")
	fs.StringVar(&o.Ledger, "ledger", "poscard.ledger", "file of what the acquirer did")
	fs.DurationVar(&o.Late, "late", 0, "how late mode late answers")
	var t [3]string
	fs.StringVar(&t[0], "tls-cert", "", "PEM file of its certificate: speak TLS")
	fs.StringVar(&t[1], "tls-key", "", "PEM file of that certificate's key")
	fs.StringVar(&t[2], "tls-ca", "", "PEM file of the authority of tills' certificates: take no others")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s, err := simulator.New(o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetMode(*mode, -1); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if t[0] != "" {
		if ln, err = simulator.TLS(ln, t[0], t[1], t[2]); err != nil {
			return err
		}
	}
	told, err := net.Listen("tcp", *control)
	if err != nil {
		ln.Close()
		return err
	}
	fmt.Printf("poscard: payment terminal %s at %s, told what to do at http://%s, ledger %s\n", o.Terminal, ln.Addr(), told.Addr(), o.Ledger)
	server := &http.Server{Handler: handler(s, o.Ledger)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(told) }()
	err = s.Serve(ctx, ln)
	server.Close()
	if e := <-done; err == nil && !errors.Is(e, http.ErrServerClosed) {
		err = e
	}
	return err
}

// handler tells the simulator what to do: POST /mode/NAME?times=N, /forward and /forget;
// GET /ledger and /seen.
func handler(s *simulator.Simulator, ledger string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mode/{mode}", func(w http.ResponseWriter, r *http.Request) {
		times, err := strconv.Atoi(r.FormValue("times"))
		if r.FormValue("times") == "" {
			times, err = -1, nil
		}
		if err == nil {
			err = s.SetMode(r.PathValue("mode"), times)
		}
		answer(w, err)
	})
	mux.HandleFunc("POST /forward", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Forward()) })
	mux.HandleFunc("POST /forget", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Forget()) })
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, ledger) })
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, s.Seen()) })
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, "ok")
}

func usage(fs *flag.FlagSet) {
	out := fs.Output()
	fmt.Fprint(out, "poscard simulates a payment terminal and its acquirer (docs/payment.md).\n\n")
	fs.PrintDefaults()
	fmt.Fprint(out, "\nModes, here or by curl -X POST http://127.0.0.1:7789/mode/NAME?times=N:\n")
	var lines []string
	for name, what := range simulator.Modes {
		lines = append(lines, fmt.Sprintf("  %-13s %s\n", name, what))
	}
	slices.Sort(lines)
	fmt.Fprint(out, strings.Join(lines, ""))
}
