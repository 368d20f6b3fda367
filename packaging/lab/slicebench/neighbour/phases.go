package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

// phases plays a script: what the host would do if its time were the guest's.
func phases(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s load.Script
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	p := &player{Script: s, c: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	if s.Streams {
		if err := p.streams(); err != nil {
			return err
		}
	}
	for _, phase := range s.Phases {
		r, err := p.play(phase)
		if err != nil {
			return fmt.Errorf("%s: %w", phase.Name, err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
		if r.Delta("memory.events oom_kill") > 0 {
			return fmt.Errorf("%s: killed for want of memory", phase.Name)
		}
		if r.Failed > 0 && s.Publish != "" {
			return fmt.Errorf("%s: %d of %d publishes failed: %s", phase.Name, r.Failed, r.Failed+len(r.All), r.First)
		}
	}
	return nil
}

type player struct {
	load.Script
	c    *http.Client
	nats *publisher
}

func (p *player) play(ph load.Phase) (r load.Result, err error) {
	if ph.Wait != "" {
		if err := p.await(ph.Wait); err != nil {
			return r, err
		}
	}
	one, err := p.caller(ph)
	if err != nil {
		return r, err
	}
	r.Name, r.Rate = ph.Name, ph.Rate
	if r.Before, err = load.Count(p.Slice); err != nil {
		return r, err
	}
	if r.From, err = p.position(); err != nil {
		return r, err
	}
	begun := time.Now()
	ctx, stop := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- r.Watch(ctx, p.Slice) }()
	profiled := make(chan error, 1)
	go func() { profiled <- p.profile(ph.Profile) }()
	long := time.Duration(ph.Seconds * float64(time.Second))
	switch {
	case ph.Rate > 0:
		r.Times = load.Play(ctx, ph.Rate, long, uint64(ph.Rate), one)
	case ph.Until > 0:
		err = p.drained(ph.Until, long)
	default:
		time.Sleep(long)
	}
	r.Took = time.Since(begun).Seconds()
	stop()
	var err1, err2 error
	r.To, err1 = p.position()
	r.After, err2 = load.Count(p.Slice)
	return r, errors.Join(err, err1, err2, <-watched, <-profiled)
}

// profile fetches a page over posd's unix socket.
func (p *player) profile(page string) error {
	if page == "" {
		return nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.Socket)
	}
	c := &http.Client{Transport: &http.Transport{DialContext: dial}}
	b, err := rig.Get(context.Background(), c, "http://localhost"+page, p.PosctlToken)
	if err != nil {
		return err
	}
	return os.WriteFile(p.ProfileFile, b, 0o600)
}

func (p *player) caller(ph load.Phase) (func(context.Context, int) error, error) {
	if ph.Rate == 0 {
		return nil, nil
	}
	key := func(n int) string { return fmt.Sprint(ph.Name, "-", n) }
	if p.Publish != "" {
		if p.nats == nil {
			var err error
			if p.nats, err = dial(p.Publish, p.Message); err != nil {
				return nil, err
			}
		}
		return func(_ context.Context, n int) error { return p.nats.publish(key(n)) }, nil
	}
	f := front{c: p.c, url: p.URL}
	if err := f.connect(8); err != nil {
		return nil, err
	}
	return func(ctx context.Context, n int) error {
		_, err := load.Checkout(ctx, p.c, p.URL, p.Token, key(n))
		return err
	}, nil
}

// await waits until a page answers 200, or "tcp:ADDRESS" takes connections.
func (p *player) await(url string) error {
	var err error
	for range 1200 {
		var res *http.Response
		if res, err = p.c.Get(url); err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err == nil && res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.Join(err, errors.New(res.Status))
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("not ready after two minutes: %w", err)
}

// position is how many events head office has.
func (p *player) position() (uint64, error) {
	switch {
	case p.Publish != "":
		return p.sourced()
	case p.Hub == "":
		return 0, nil
	}
	req, err := http.NewRequest(http.MethodGet, p.Hub+"/v1/terminals", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+p.HubToken)
	res, err := p.c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var all []struct {
		Terminal string
		Last     uint64
	}
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		return 0, err
	}
	for _, t := range all {
		if t.Terminal == p.Terminal {
			return t.Last, nil
		}
	}
	return 0, nil
}

// drained waits until head office has so many events, or for so long.
func (p *player) drained(until uint64, most time.Duration) error {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(time.Second) {
		n, err := p.position()
		if err != nil || n >= until {
			return err
		}
	}
	return nil
}

// ramdisk loads the module brd and fills its disk from another, zeros left out.
func ramdisk(module, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := loadModule(module, fmt.Sprintf("rd_nr=1 rd_size=%d", size>>10)); err != nil {
		return err
	}
	out, err := os.OpenFile("/dev/ram0", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	r, zero := bufio.NewReaderSize(in, 1<<20), make([]byte, 1<<16)
	block := make([]byte, len(zero))
	for at := int64(0); at < size; at += int64(len(block)) {
		n, err := io.ReadFull(r, block)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if string(block[:n]) == string(zero[:n]) {
			continue
		}
		if _, err := out.WriteAt(block[:n], at); err != nil {
			return err
		}
	}
	return out.Sync()
}

// hubToken waits for the files that poshub makes at its first start.
func hubTokens(dir string) error {
	for range 600 {
		api, err1 := os.ReadFile(filepath.Join(dir, "api.token"))
		nats, err2 := os.ReadFile(filepath.Join(dir, "nats.token"))
		if errors.Join(err1, err2) == nil && len(api) > 0 && len(nats) > 0 {
			fmt.Println(strings.TrimSpace(string(api)))
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the hub does not make its tokens")
}
