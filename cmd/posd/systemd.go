package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"posd/pos/register"
)

// What systemd gives to posd: sockets that stay open over a restart, files with
// secrets, and a watchdog.

// givenListeners are the sockets that systemd has opened for posd; none without it.
func (t *terminal) givenListeners() ([]net.Listener, error) {
	given, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take over systemd's sockets: %w", err)
	}
	var all []net.Listener
	for _, ln := range given {
		if ln == nil || !listens(ln) {
			return nil, fmt.Errorf("%w: systemd gives a socket on which nobody can connect: correct posd.socket (ListenStream=, Accept=no)", errConfig)
		}
		all = append(all, ln)
		at := ln.Addr().String()
		if tcp, ok := ln.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !t.c.HTTP.AllowRemote {
			return nil, fmt.Errorf("%w: posd.socket listens on %s, which other machines can reach: set http.allow_remote = true, or correct ListenStream= (systemctl edit posd.socket)", errConfig, at)
		}
		if want := t.c.HTTP.Listen; ln.Addr().Network() == "tcp" && want != "" && want != at {
			t.log.Warn("posd.socket decides where posd listens, not posd.toml", "posd.socket", at, "http.listen", want)
		}
		if want := t.c.HTTP.Socket; ln.Addr().Network() == "unix" && want != "" && want != at {
			t.log.Warn("posd.socket decides where posd listens, not posd.toml", "posd.socket", at, "http.socket", want)
		}
	}
	return all, nil
}

// listens says whether ln takes connections: what systemd gives may be anything.
func listens(ln net.Listener) bool {
	s, ok := ln.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	on := 0
	err = errors.Join(err, raw.Control(func(fd uintptr) { on, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) }))
	return err == nil && on != 0
}

// credential is the file that systemd provisioned under name, or else path.
func (t *terminal) credential(name, path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return path
	}
	given := filepath.Join(dir, name)
	if _, err := os.Stat(given); err != nil {
		return path
	}
	t.log.Info("a credential of systemd is used", "name", name, "instead", path)
	return given
}

// probeAfter is how long no write may have happened before the watchdog has one
// made: a device that fails over night should be known before the first sale.
const probeAfter = 10 * time.Minute

// watchdog tells systemd that the command loop answers, and that the device still
// takes writes. Looking costs none of them, but after probeAfter without a sale.
func (t *terminal) watchdog(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period / 3)
	defer tick.Stop()
	turns := t.register.Turns()
	for {
		ask, cancel := context.WithTimeout(ctx, period/3)
		err := t.register.Alive(ask)
		cancel()
		before := turns
		turns = t.register.Turns()
		if errors.Is(err, register.ErrBusy) && turns != before {
			err = nil
		}
		if idle := time.Since(t.journal.Stats().LastWrite); err == nil && idle > probeAfter && !t.journal.ReadOnly() {
			t.journal.Probe()
			if idle > probeAfter+period {
				err = fmt.Errorf("the storage device has taken no write for %s", idle.Round(time.Second))
			}
		}
		switch {
		case err == nil:
			notify(t.log, daemon.SdNotifyWatchdog)
		case ctx.Err() == nil:
			t.log.Error("the watchdog is not fed", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}
