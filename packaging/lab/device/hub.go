package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"posd/packaging/lab/freeport"
	"posd/pos/event"
)

// office is head office: a real poshub on the host's loopback.
type office struct {
	program, dir string
	http, nats   int // ports, the same after a restart
	log          io.Writer
	cmd          *exec.Cmd
}

func (o *office) start(ctx context.Context) error {
	for _, p := range []*int{&o.http, &o.nats} {
		if *p == 0 {
			var err error
			if *p, err = freeport.Number(); err != nil {
				return err
			}
		}
	}
	o.cmd = exec.CommandContext(ctx, o.program, "serve", "--auth", "token", "--data", o.dir,
		"--listen", fmt.Sprintf("127.0.0.1:%d", o.http), "--nats", fmt.Sprintf("127.0.0.1:%d", o.nats))
	o.cmd.Stdout, o.cmd.Stderr = o.log, o.log
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", o.http))
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("the hub does not get ready, see its log")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (o *office) stop() error {
	if o.cmd == nil {
		return nil
	}
	err := errors.Join(o.cmd.Process.Signal(syscall.SIGTERM), o.cmd.Wait())
	o.cmd = nil
	return err
}

// sales are the completed sales of a terminal in the ledger.
func (o *office) sales(ctx context.Context, terminal string) (all []sold, err error) {
	token, err := os.ReadFile(filepath.Join(o.dir, "api.token"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://127.0.0.1:%d/v1/events?store=s1&terminal=%s", o.http, terminal), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the hub's events: %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var record struct{ Event json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return nil, err
		}
		h, data, err := event.Parse(record.Event)
		if err != nil {
			return nil, err
		}
		if h.Type != event.TypeSaleCompleted {
			continue
		}
		e, err := event.ParseSale(data)
		if err != nil {
			return nil, err
		}
		all = append(all, sold{h.Key, e.Sale, e.Receipt, e.Number, int64(e.Total)})
	}
	return all, lines.Err()
}

// settled waits until the ledger has as many sales as were acknowledged, and compares.
func (o *office) settled(ctx context.Context, terminal string, acked []sold) (ledger []sold, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if ledger, err = o.sales(ctx, terminal); err == nil && len(ledger) >= len(acked) {
			return ledger, compare(acked, ledger)
		}
		select {
		case <-ctx.Done():
			return ledger, errors.Join(fmt.Errorf("head office has %d of %d sales", len(ledger), len(acked)), err, compare(acked, ledger))
		case <-time.After(300 * time.Millisecond):
		}
	}
}
