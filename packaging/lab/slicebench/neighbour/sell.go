package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"posd/packaging/lab/slicebench/load"
)

type loadFlags struct {
	rate, connections int
	long              time.Duration
	seed              uint64
	prefix            string
}

func (l *loadFlags) add(fs *flag.FlagSet) {
	fs.IntVar(&l.rate, "rate", 1, "calls a second")
	fs.DurationVar(&l.long, "long", 10*time.Second, "for so long")
	fs.Uint64Var(&l.seed, "seed", 1, "of the moments")
	fs.StringVar(&l.prefix, "prefix", "n", "of the keys")
	fs.IntVar(&l.connections, "connections", 8, "opened beforehand: a new one costs a slow machine much")
}

// sell is a front end. With -patience it behaves like one that must not lose a sale:
// it sends the same bytes with the same key until it is answered.
func sell(args []string) error {
	fs := flag.NewFlagSet("sell", flag.ContinueOnError)
	var l loadFlags
	l.add(fs)
	url := fs.String("url", "http://127.0.0.1:8080", "of posd")
	token := fs.String("token", "", "of the front end")
	patience := fs.Duration("patience", 0, "repeat a sale that is not answered, or refused for now, for so long")
	started := fs.String("started", "", "make this `file` when it begins, remove it at the end")
	acks := fs.Bool("acks", false, "print each acknowledgement")
	if err := fs.Parse(args); err != nil {
		return err
	}
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	f := front{c: c, url: *url, token: *token, patience: *patience, out: load.Sold{Refused: map[string]int{}}}
	if err := f.connect(l.connections); err != nil && *patience == 0 {
		return err
	}
	f.last = time.Now()
	if *started != "" {
		if err := os.WriteFile(*started, nil, 0o600); err != nil {
			return err
		}
		defer os.Remove(*started)
	}
	f.out.Times = load.Play(context.Background(), l.rate, l.long, l.seed, func(ctx context.Context, n int) error {
		return f.one(ctx, l.prefix+"-"+strconv.Itoa(n))
	})
	f.out.LongestS = max(f.out.LongestS, time.Since(f.last).Seconds())
	if !*acks {
		f.out.Acks = nil
	}
	return json.NewEncoder(os.Stdout).Encode(f.out)
}

type front struct {
	c          *http.Client
	url, token string
	patience   time.Duration

	mu   sync.Mutex
	out  load.Sold
	last time.Time
}

func (f *front) connect(n int) error {
	errs := make([]error, n)
	var g sync.WaitGroup
	for i := range n {
		g.Go(func() {
			res, err := f.c.Get(f.url + "/livez")
			if errs[i] = err; err == nil {
				_, errs[i] = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	g.Wait()
	return errors.Join(errs...)
}

func (f *front) one(ctx context.Context, key string) error {
	begun := time.Now()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		a, err := load.Checkout(ctx, f.c, f.url, f.token, key)
		f.note(a, err)
		if err == nil {
			return nil
		}
		if time.Since(begun) > f.patience {
			if f.patience > 0 {
				f.mu.Lock()
				f.out.GivenUp = append(f.out.GivenUp, key)
				f.mu.Unlock()
			}
			return err
		}
		time.Sleep(pause)
	}
}

func (f *front) note(a load.Ack, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var r *load.Refusal
	switch {
	case err == nil:
		f.out.LongestS = max(f.out.LongestS, time.Since(f.last).Seconds())
		f.last = time.Now()
		f.out.Acks = append(f.out.Acks, a)
	case !errors.As(err, &r):
		f.out.Broken++
	case r.Problem == "" || r.Text == "":
		f.out.Unclear = append(f.out.Unclear, r.Error())
	default:
		f.out.Refused[r.Problem]++
	}
}
