package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"posd/sync/hub"
)

// answerTime and answerLimit bound one answer of the hub.
const (
	answerTime  = 30 * time.Second
	answerLimit = 64 << 20
)

// client asks the hub that runs, over its HTTP interface.
type client struct {
	hub, token, data string
	ca, cert, key    string
	more             time.Duration // that an answer may take, beyond answerTime
}

// addTo adds the flags that say which hub, and with what token.
func (c *client) addTo(f *flags) {
	f.StringVar(&c.hub, "hub", "http://127.0.0.1:8090", "`URL` of the hub")
	f.StringVar(&c.token, "token", "", "`file` with the hub's token")
	f.StringVar(&c.data, "data", "", "data `folder` of the hub, which has the token")
	f.StringVar(&c.ca, "hub-ca", "", "PEM `file` of the authority of the hub's certificate (default: the system's)")
	f.StringVar(&c.cert, "hub-cert", "", "PEM `file` of the certificate to show to the hub; needs --hub-key")
	f.StringVar(&c.key, "hub-key", "", "PEM `file` of its key")
}

// wrong says what is missing in the flags, or "".
func (c *client) wrong() string {
	u, err := url.Parse(c.hub)
	switch {
	case c.token == "" && c.data == "":
		return "--token FILE or --data DIR is missing: the hub answers to nobody without its token"
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "--hub must be a URL such as http://127.0.0.1:8090"
	}
	return ""
}

// decider is who decides something, and why: it is kept in the hub's audit trail.
type decider struct{ hub.Decider }

func (d *decider) addTo(f *flags) {
	f.StringVar(&d.By, "by", unixUser(), "`name` of who decides, kept in the audit trail")
	f.StringVar(&d.Why, "why", "", "the `reason`, kept in the audit trail (required)")
}

func (d *decider) wrong() string {
	switch {
	case strings.TrimSpace(d.By) == "":
		return "--by is missing: say who decides this"
	case strings.TrimSpace(d.Why) == "":
		return "--why is missing: say why, it is kept in the audit trail"
	}
	return ""
}

func unixUser() string {
	u, err := user.Current()
	if err != nil {
		return os.Getenv("USER")
	}
	return u.Username
}

// refused is the hub's answer that it did not do what it was asked.
type refused struct {
	status int // of HTTP
	text   string
}

func (r *refused) Error() string { return r.text }

// get asks for path and reads the answer's JSON into v.
func (c *client) get(ctx context.Context, path string, q url.Values, v any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.ask(ctx, http.MethodGet, path, nil, v)
}

// post sends body as JSON and reads the answer's JSON into v.
func (c *client) post(ctx context.Context, path string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, path, b, v)
}

func (c *client) ask(ctx context.Context, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime+c.more)
	defer cancel()
	res, err := c.do(ctx, method, path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return c.broken(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return c.broken(err)
	}
	return nil
}

// lines calls fn with each line of an answer in JSON lines. It has no limit of time but ctx.
func (c *client) lines(ctx context.Context, path string, q url.Values, fn func([]byte) error) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	res, err := c.do(ctx, http.MethodGet, path, "", http.NoBody)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, answerLimit)
	for s.Scan() {
		if err := fn(s.Bytes()); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return c.broken(err)
	}
	return nil
}

// do sends one request. The answer is a success, its body is the caller's to close;
// what the hub refused is a *refused.
func (c *client) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	file := cmp.Or(c.token, filepath.Join(c.data, "api.token"))
	token, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the hub's token: %w: name the file with --token, or the data folder of a hub that has run with --data", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the hub's token: %w: run this as the user of the hub, or name a copy with --token", err)
	case err != nil:
		return nil, fmt.Errorf("the hub's token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.hub, "/")+path, body)
	if err != nil {
		return nil, fmt.Errorf("--hub: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	web, err := c.web()
	if err != nil {
		return nil, err
	}
	res, err := web.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("ask the hub: nothing listens at %s: start poshub serve, or say with --hub where it is", c.hub)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("ask the hub: %s did not answer in time: try again, its log says what it is busy with", c.hub)
	case err != nil:
		return nil, fmt.Errorf("ask the hub: %w", err)
	case res.StatusCode < 300:
		return res, nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // the status alone says enough
	var p struct{ Detail string }
	if json.Unmarshal(b, &p) != nil || p.Detail == "" {
		p.Detail = "no reason given: is that a hub?"
	}
	r := &refused{res.StatusCode, fmt.Sprintf("the hub at %s answered %s: %s", c.hub, res.Status, p.Detail)}
	if r.status == http.StatusUnauthorized {
		r.text = fmt.Sprintf("the hub at %s answered %s: the token in %s is not its own: it is in the file api.token of its data folder", c.hub, res.Status, file)
	}
	return nil, r
}

// web is made for one request: a command makes few.
func (c *client) web() (*http.Client, error) {
	if c.ca == "" && c.cert == "" {
		return http.DefaultClient, nil
	}
	cfg, err := hub.ClientConfig(c.ca, c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("--hub-ca, --hub-cert, --hub-key: %w", err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}, nil
}

func (c *client) broken(err error) error {
	return fmt.Errorf("the answer of the hub at %s: %w: try again", c.hub, err)
}

// list shows what lines gives: a table under a heading, or with raw each line as it came.
func list[T any](ctx context.Context, c *client, path string, q url.Values, stdout io.Writer, raw bool, heading string, row func(t io.Writer, v *T) error) error {
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	if !raw {
		fmt.Fprintln(t, heading)
	}
	err := c.lines(ctx, path, q, func(b []byte) error {
		if raw {
			_, err := fmt.Fprintf(stdout, "%s\n", b)
			return err
		}
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return c.broken(err)
		}
		return row(t, &v)
	})
	if err != nil {
		return err
	}
	return t.Flush()
}
