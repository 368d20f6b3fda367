package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/rig"
)

// office is head office: a real poshub on the host, which comes and goes.
type office struct {
	bin, dir   string
	web, nats  string // addresses
	api, token string // what opens them
	cmd        *exec.Cmd
	ended      chan struct{}
	client     *http.Client
}

func newOffice(ctx context.Context, bin, dir string) (*office, error) {
	o := &office{bin: bin, dir: dir, client: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, to := range []*string{&o.web, &o.nats} {
		var err error
		if *to, err = freeport.Address(); err != nil {
			return nil, err
		}
	}
	// The first start makes the tokens.
	if err := o.start(ctx); err != nil {
		return nil, err
	}
	for name, to := range map[string]*string{"api.token": &o.api, "nats.token": &o.token} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, errors.Join(err, o.stop())
		}
		*to = strings.TrimSpace(string(b))
	}
	return o, o.stop()
}

func (o *office) port() string { return o.nats[strings.LastIndexByte(o.nats, ':')+1:] }

func (o *office) up() bool { return o.cmd != nil }

func (o *office) start(ctx context.Context) error {
	if o.up() {
		return nil
	}
	log, err := os.OpenFile(o.dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(o.bin, "serve", "--auth", "token", "--data", o.dir, "--listen", o.web, "--nats", o.nats)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	o.cmd, o.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(o.ended)
	limit := time.After(time.Minute)
	for {
		if _, err = rig.Get(ctx, o.client, "http://"+o.web+"/readyz", ""); err == nil {
			return nil
		}
		select {
		case <-o.ended:
			o.cmd = nil
			return fmt.Errorf("poshub ended at its start; its log is %s.log", o.dir)
		case <-limit:
			return errors.Join(fmt.Errorf("poshub is not ready: %w; its log is %s.log", err, o.dir), o.stop())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), o.stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends head office without warning: the terminal must cope.
func (o *office) stop() error {
	if !o.up() {
		return nil
	}
	select {
	case <-o.ended:
		o.cmd = nil
		return fmt.Errorf("poshub ended by itself; its log is %s.log", o.dir)
	default:
	}
	err := o.cmd.Process.Kill()
	<-o.ended
	o.cmd = nil
	o.client.CloseIdleConnections()
	return err
}

// officeStatus is what of /v1/status matters here.
type officeStatus struct {
	Records     uint64 `json:"records"`
	Lost        uint64 `json:"lost"`
	Held        int    `json:"held"`
	Quarantined uint64 `json:"quarantined"`
	Copied      uint64 `json:"copied"`
	Collisions  uint64 `json:"collisions"`
}

func (o *office) status(ctx context.Context) (s officeStatus, err error) {
	b, err := rig.Get(ctx, o.client, "http://"+o.web+"/v1/status", o.api)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (o *office) events(ctx context.Context) ([]byte, error) {
	return rig.Get(ctx, o.client, "http://"+o.web+"/v1/events", o.api)
}
