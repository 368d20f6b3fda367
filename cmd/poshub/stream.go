package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/hub"
)

const streamUsage = `Usage: poshub stream init|check --nats-url URL [flags]

init makes the streams and the bucket that poshub needs on NATS servers of your own, or
brings them up to what they should be, and then checks. check only looks. Both say what is
unsafe, and why.

Exit codes: 0 nothing unsafe, 1 could not be done, 2 called wrongly, 3 something is unsafe,
4 something that matters could not be found out.

Flags:
`

// Exit codes of poshub stream.
const (
	exitUnsafe  = 3
	exitUnknown = 4
)

func streamCommand(args []string, stdout, stderr io.Writer) int {
	f := newFlags("stream", streamUsage, stdout, stderr)
	var o hub.StreamSet
	url := f.String("nats-url", "", "`URL` of the NATS servers, several separated by commas (required)")
	creds := f.String("nats-creds", "", "credentials `file`")
	token := f.String("nats-token", "", "`token` of the servers")
	shards := f.String("shards", "0", "`numbers` of the shards: 0-15, or 0,3,7")
	monitor := f.String("monitor", "", "monitoring `addresses` of all servers, separated by commas: http://host:8222; they tell sync_interval")
	tags := f.String("tags", "", "place the streams on servers with these `tags`, separated by commas")
	f.IntVar(&o.Replicas, "replicas", 1, "copies that a cluster keeps, `number`")
	f.DurationVar(&o.MaxAge, "max-age", 400*24*time.Hour, "how long messages are kept")
	f.Int64Var(&o.MaxBytes, "max-bytes", -1, "how many `bytes` each stream may take before it refuses more (-1: no limit)")
	what := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		what, args = args[0], args[1:]
	}
	if code, ok := f.parse(args); !ok {
		return code
	}
	var err error
	switch {
	case what != "init" && what != "check":
		return f.fail(exitUsage, "say poshub stream init or poshub stream check")
	case f.NArg() > 0:
		return f.fail(exitUsage, "unexpected argument %q; see poshub stream --help", f.Arg(0))
	case *url == "":
		return f.fail(exitUsage, "--nats-url is missing: the server inside poshub needs no init")
	}
	if o.Shards, err = parseShards(*shards); err != nil {
		return f.fail(exitUsage, "--shards: %v", err)
	}
	o.Tags = words(*tags)
	opts := []nats.Option{nats.Name("poshub stream")}
	if *creds != "" {
		opts = append(opts, nats.UserCredentials(*creds))
	}
	if *token != "" {
		opts = append(opts, nats.Token(*token))
	}
	nc, err := nats.Connect(*url, opts...)
	if err != nil {
		return f.fail(exitFailed, "connect to NATS at %s: %v", *url, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if what == "init" {
		if err := o.Init(ctx, js); err != nil {
			return f.fail(exitFailed, "%v", err)
		}
	}
	found, err := o.Check(ctx, nc, js, words(*monitor))
	code := 0
	for _, x := range found {
		fmt.Fprintf(stdout, "%-8s %-14s %s\n", x.Grade, x.Of, x.What)
		switch {
		case x.Grade == hub.Unsafe:
			code = exitUnsafe
		case x.Grade == hub.Unknown && code == 0:
			code = exitUnknown
		}
	}
	if err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return code
}

// words takes a list apart at its commas.
func words(s string) (out []string) {
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}
