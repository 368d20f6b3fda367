package main

import (
	"context"
	"errors"
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

// streamQuestion is what "poshub stream" was asked.
type streamQuestion struct {
	hub.StreamSet
	what              string // init or check
	url, creds, token string
	monitor           []string
}

func streamCommand(args []string, stdout, stderr io.Writer) int {
	f := newFlags("stream", streamUsage, stdout, stderr)
	var q streamQuestion
	f.StringVar(&q.url, "nats-url", "", "`URL` of the NATS servers, several separated by commas (required)")
	f.StringVar(&q.creds, "nats-creds", "", "credentials `file`")
	f.StringVar(&q.token, "nats-token", "", "`token` of the servers")
	shards := f.String("shards", "0", "`numbers` of the shards: 0-15, or 0,3,7")
	monitor := f.String("monitor", "", "monitoring `addresses` of all servers, separated by commas: http://host:8222; they tell sync_interval")
	tags := f.String("tags", "", "place the streams on servers with these `tags`, separated by commas")
	f.IntVar(&q.Replicas, "replicas", 1, "copies that a cluster keeps, `number`")
	f.DurationVar(&q.MaxAge, "max-age", 400*24*time.Hour, "how long messages are kept")
	f.Int64Var(&q.MaxBytes, "max-bytes", -1, "how many `bytes` each stream may take before it refuses more (-1: no limit)")
	said, code, ok := f.parseWords(args)
	if !ok {
		return code
	}
	if len(said) > 0 {
		q.what = said[0]
	}
	var err error
	switch {
	case q.what != "init" && q.what != "check":
		return f.fail(exitUsage, "say poshub stream init or poshub stream check")
	case len(said) > 1:
		return f.fail(exitUsage, "unexpected argument %q; see poshub stream --help", said[1])
	case q.url == "":
		return f.fail(exitUsage, "--nats-url is missing: the server inside poshub needs no init")
	}
	if q.Shards, err = parseShards(*shards); err != nil {
		return f.fail(exitUsage, "--shards: %v", err)
	}
	q.Tags, q.monitor = words(*tags), words(*monitor)
	if code, err = q.answer(stdout); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return code
}

// answer does what was asked, and prints what is found.
func (q *streamQuestion) answer(stdout io.Writer) (code int, err error) {
	opts := []nats.Option{nats.Name("poshub stream")}
	if q.creds != "" {
		opts = append(opts, nats.UserCredentials(q.creds))
	}
	if q.token != "" {
		opts = append(opts, nats.Token(q.token))
	}
	nc, err := nats.Connect(q.url, opts...)
	if err != nil { // its text may name the URL too
		return exitFailed, errors.New(hub.Redact(fmt.Sprintf("connect to NATS at %s: %v", q.url, err)))
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return exitFailed, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if q.what == "init" {
		if err := q.Init(ctx, js); err != nil {
			return exitFailed, err
		}
	}
	found, err := q.Check(ctx, nc, js, q.monitor)
	for _, x := range found {
		fmt.Fprintf(stdout, "%-8s %-14s %s\n", x.Grade, x.Of, x.What)
		switch {
		case x.Grade == hub.Unsafe:
			code = exitUnsafe
		case x.Grade == hub.Unknown && code == 0:
			code = exitUnknown
		}
	}
	return code, err
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
