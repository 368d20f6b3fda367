package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/rig"
)

// quietNative is the processor time that posd uses on this machine with a link and
// without a sale, in percent of a core.
func (b *bench) quietNative(ctx context.Context, long time.Duration) (percent float64, err error) {
	dir := filepath.Join(b.work, "native")
	if err := stage(dir, map[string]string{"data": b.fresh.Dir}); err != nil {
		return 0, err
	}
	h, err := rig.StartHub(ctx, b.bin.Poshub, filepath.Join(dir, "hub"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Stop()) }()
	port, err := freeport.Number()
	if err != nil {
		return 0, err
	}
	conf := filepath.Join(dir, "posd.toml")
	p := rig.Place{Data: filepath.Join(dir, "data"), Listen: fmt.Sprint("127.0.0.1:", port), Hub: fmt.Sprint("127.0.0.1:", h.NATS),
		HubToken: filepath.Join(h.Dir, "data", "nats.token"), Extra: rig.NoLimits}
	if err := os.WriteFile(conf, []byte(p.Config(b.fresh.ID)), 0o600); err != nil {
		return 0, err
	}
	posd, err := rig.Begin("posd", filepath.Join(dir, "posd.log"), nil, b.bin.Posd, "--config", conf)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, posd.Stop()) }()
	url := fmt.Sprint("http://127.0.0.1:", port)
	if err := posd.Wait(ctx, "readiness", func() error { _, err := rig.Get(ctx, http.DefaultClient, url+"/readyz", ""); return err }); err != nil {
		return 0, err
	}
	for n := range 20 { // it has lived before it rests
		if _, err := load.Checkout(ctx, http.DefaultClient, url, b.fresh.Token, fmt.Sprint("native-", n)); err != nil {
			return 0, err
		}
	}
	http.DefaultClient.CloseIdleConnections()
	load.SleepUntil(ctx, time.Now().Add(20*time.Second))
	before, err1 := processTime(posd.Cmd.Process.Pid)
	begun := time.Now()
	load.SleepUntil(ctx, begun.Add(long))
	after, err2 := processTime(posd.Cmd.Process.Pid)
	return 100 * (after - before).Seconds() / time.Since(begun).Seconds(), errors.Join(err1, err2, context.Cause(ctx))
}

// processTime is what the threads of a process have run. A thread that has ended is
// not in it; posd ends none.
func processTime(pid int) (sum time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no /proc/PID/task/*/schedstat", pid))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var ns int64
		if _, e := fmt.Sscan(strings.TrimSpace(string(b)), &ns); err != nil || e != nil {
			return 0, errors.Join(err, e)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}
