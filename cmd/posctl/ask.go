package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/pos/config"
)

const (
	askTime  = 5 * time.Second
	askBytes = 4 << 20
)

// caller reaches the running posd: through its unix socket where there is one, else
// over TCP.
type caller struct {
	c     *config.Config
	token string
}

// caller makes posctl's own token where it is missing; look alone must not.
func (t *tool) caller(c *config.Config) (caller, error) {
	token, err := t.ownToken(c)
	return caller{c, token}, err
}

// lookCaller never writes into the data folder.
func lookCaller(c *config.Config) caller {
	b, _ := os.ReadFile(filepath.Join(c.Data.Dir, ownToken))
	return caller{c, strings.TrimSpace(string(b))}
}

// errNoSocket: what only the socket answers cannot be asked.
var errNoSocket = errors.New("posd's unix socket is needed: set http.socket")

func (a caller) socket() bool {
	if a.c.HTTP.Socket == "" {
		return false
	}
	st, err := os.Stat(a.c.HTTP.Socket)
	return err == nil && st.Mode()&fs.ModeSocket != 0
}

// get asks for a path. A status other than 200 is an error that carries it, beside
// the body.
func (a caller) get(ctx context.Context, path string) ([]byte, error) {
	return a.ask(ctx, request{path: path})
}

// post asks for something to be done, once for each key. An answer other than 200 and
// 201 is an error.
func (a caller) post(ctx context.Context, path, key string, body []byte) ([]byte, error) {
	return a.ask(ctx, request{path, key, body})
}

// request is a GET, or with a key a POST.
type request struct {
	path, key string
	body      []byte
}

func (a caller) ask(ctx context.Context, q request) ([]byte, error) {
	if a.socket() {
		body, err := a.over(ctx, "localhost", q, dialUnix(a.c.HTTP.Socket))
		var dial *net.OpError
		if err == nil || a.c.HTTP.Listen == "" || !errors.As(err, &dial) || dial.Op != "dial" {
			return body, err
		}
	}
	if a.c.HTTP.Listen == "" {
		return nil, fmt.Errorf("there is no socket %s", a.c.HTTP.Socket)
	}
	return a.over(ctx, a.c.HTTP.Listen, q, nil)
}

// getLocal asks what only the socket answers.
func (a caller) getLocal(ctx context.Context, path string) ([]byte, error) {
	if !a.socket() {
		return nil, errNoSocket
	}
	return a.over(ctx, "localhost", request{path: path}, dialUnix(a.c.HTTP.Socket))
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func dialUnix(path string) dialer {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

func (a caller) over(ctx context.Context, host string, q request, dial dialer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	method := "GET"
	if q.key != "" {
		method = "POST"
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.key != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", q.key)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, askBytes))
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		err = &answerError{resp.StatusCode, strings.TrimSpace(string(body[:min(len(body), 1000)]))}
	}
	return body, err
}

// answerError is an answer of posd that is no 200: it runs, and says no.
type answerError struct {
	status int
	body   string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.status, http.StatusText(e.status), e.body)
}
