package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"posd/packaging/lab/freeport"
)

// Hub is a real poshub on this machine.
type Hub struct {
	*Process
	URL, Token string // of its HTTP interface
	NATS       int    // port
	Dir, bin   string
	web        int
}

// StartHub starts one in a folder.
func StartHub(ctx context.Context, bin, dir string) (*Hub, error) {
	web, err1 := freeport.Number()
	nats, err2 := freeport.Number()
	if err := errors.Join(err1, err2, os.MkdirAll(dir, 0o750)); err != nil {
		return nil, err
	}
	h := &Hub{bin: bin, Dir: dir, NATS: nats, web: web, URL: fmt.Sprintf("http://127.0.0.1:%d", web)}
	return h, h.Start(ctx)
}

// Start starts it, again on the same ports.
func (h *Hub) Start(ctx context.Context) (err error) {
	h.Process, err = Begin("poshub", filepath.Join(h.Dir, "poshub.log"), nil, h.bin, "serve", "--auth", "token", "--data", filepath.Join(h.Dir, "data"),
		"--listen", fmt.Sprintf("127.0.0.1:%d", h.web), "--nats", fmt.Sprintf("127.0.0.1:%d", h.NATS))
	if err != nil {
		return err
	}
	if err := h.Wait(ctx, "readiness", func() error { _, err := Get(ctx, http.DefaultClient, h.URL+"/readyz", ""); return err }); err != nil {
		return errors.Join(err, h.Kill())
	}
	token, err := os.ReadFile(filepath.Join(h.Dir, "data", "api.token"))
	h.Token = strings.TrimSpace(string(token))
	return err
}
