package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"posd/durable"
	"posd/journal"
	"posd/pos/config"
	"posd/sync/uplink"
	"posd/sync/wire"
)

// A terminal without credentials fetches them from head office, once, with a token. Its
// key is on the disk before anybody is told of it: whatever is lost or killed then, the
// same key asks again, and gets the same answer. The credentials are written last.

const (
	enrollAttempt = 30 * time.Second
	enrollFirst   = time.Second     // pause before the second attempt
	enrollMost    = 5 * time.Minute // the longest; a new token ends it
	enrollLook    = 5 * time.Second // how often a new token is looked for
	maxEnrollment = 128 << 10       // of an answer, in bytes
	maxEnrollFile = 64 << 10
)

// office is what the enrolment said, but for the credentials.
type office struct {
	URLs      []string `json:"urls,omitempty"`
	Shard     int      `json:"shard"`
	OfficeKey string   `json:"office_key"`
}

// check refuses what would keep the uplink from being opened.
func (o *office) check() error {
	key, err := hex.DecodeString(o.OfficeKey)
	switch {
	case err != nil || len(key) != ed25519.PublicKeySize:
		return errors.New("head office's key is not 64 hexadecimal digits")
	case o.Shard < 0 || o.Shard > wire.MaxShard:
		return fmt.Errorf("shard %d is not 0 to %d", o.Shard, wire.MaxShard)
	}
	for _, u := range o.URLs {
		if err := uplink.CheckURL(u); err != nil {
			return err
		}
	}
	return nil
}

// enrolledOffice is what the enrolment said; nil if there was none.
func enrolledOffice(c *config.Config, log *slog.Logger) *office {
	path := filepath.Join(c.Data.Dir, config.EnrolledAs)
	b, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	o := new(office)
	if err == nil {
		err = json.Unmarshal(b, o)
	}
	if err == nil {
		err = o.check()
	}
	if err != nil {
		log.Error("what head office said at the enrolment cannot be read: remove the file and hub.creds, and enrol again", "file", path, "error", err)
		return nil
	}
	return o
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEnrollFile+1))
	if err == nil && len(b) > maxEnrollFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxEnrollFile)
	}
	return b, err
}

// way is how head office is reached: as configured, and where nothing is configured as
// the enrolment said.
type way struct {
	urls             []string
	shard            int
	stream           string
	creds, token, ca string
	enroll           bool // the terminal has to enrol first
	renew            bool // it may have to again
}

func (t *terminal) findWay() way {
	h := &t.c.Hub
	w := way{urls: h.URLs, shard: h.Shard, stream: h.Stream, ca: h.CAFile,
		creds: t.credential("hub.creds", h.Credentials), token: t.credential("hub.token", h.TokenFile)}
	if w.creds != "" || w.token != "" {
		return w
	}
	own := filepath.Join(t.c.Data.Dir, config.EnrolledCreds)
	if _, err := os.Stat(own); err != nil {
		w.enroll = h.EnrollURL != ""
		return w
	}
	w.creds, w.renew = own, h.EnrollURL != ""
	if o := enrolledOffice(t.c, t.log); o != nil {
		w.shard, w.stream = o.Shard, wire.StreamName(o.Shard) // others are not permitted
		if len(w.urls) == 0 {
			w.urls = o.URLs
		}
	}
	if ca := filepath.Join(t.c.Data.Dir, config.EnrolledCA); w.ca == "" {
		if _, err := os.Stat(ca); err == nil {
			w.ca = ca
		}
	}
	return w
}

// enroll asks until the terminal is let in, then has the uplink opened. From then on it
// asks where the credentials are gone or refused.
func (t *terminal) enroll(ctx context.Context) error {
	h := &t.c.Hub
	e := enrolling{terminal: t, token: t.credential("hub.enroll_token", h.EnrollToken), door: uplink.Options{
		CAFile: h.CAFile, CertFile: t.credential("hub.crt", h.CertFile), KeyFile: t.credential("hub.key", h.KeyFile),
		StatePath: filepath.Join(t.c.Data.Dir, "uplink.state"), Log: t.log,
		Now: func() time.Time { return t.register.Status().Past },
	}}
	pause, said := enrollFirst, ""
	for ctx.Err() == nil {
		seen := e.tokenStamp()
		if !e.wanted(seen) {
			e.newToken(ctx, seen, enrollLook)
			continue
		}
		if err := e.once(ctx); err == nil {
			pause, said = enrollFirst, ""
			t.log.Info("enrolled at head office")
			for ctx.Err() == nil && t.card.Status().Basket != "" { // posd may have to end: not while a customer pays
				e.newToken(ctx, seen, time.Second)
			}
			t.letIn <- struct{}{}
			continue
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			t.notEnrolled.Store(&text)
			t.log.Warn("not enrolled at head office yet: selling goes on, nothing is shipped", "error", err)
			said = text
		}
		pause = min(2*pause, enrollMost)
		if e.newToken(ctx, seen, pause/4+rand.N(pause/2)) {
			pause = enrollFirst
		}
	}
	return nil
}

// wanted says that there are no credentials, or that the server refuses them and the token
// came after them.
func (t *enrolling) wanted(token time.Time) bool {
	st, err := os.Stat(filepath.Join(t.c.Data.Dir, config.EnrolledCreds))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	u := t.shown.Load()
	return u != nil && token.After(st.ModTime()) && strings.Contains(u.Status().LastError, uplink.Refused)
}

// enrolling is an enrolment that is under way.
type enrolling struct {
	*terminal
	token string // its file
	door  uplink.Options
}

func (t *enrolling) tokenStamp() (at time.Time) {
	if st, err := os.Stat(t.token); err == nil {
		at = st.ModTime()
	}
	return at
}

// newToken waits; true: the file of the token has changed.
func (t *enrolling) newToken(ctx context.Context, seen time.Time, wait time.Duration) bool {
	end := time.NewTimer(wait)
	defer end.Stop()
	look := time.NewTicker(enrollLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return false
		case <-look.C:
			if t.tokenStamp() != seen {
				return true
			}
		}
	}
}

// once asks once, and keeps the answer.
func (t *enrolling) once(ctx context.Context) error {
	token, err := readSmall(t.token)
	if err != nil {
		return fmt.Errorf("hub.enroll_token_file: %w: poshub enrol %s %s makes the token", err, t.c.Terminal.Store, t.c.Terminal.ID)
	}
	key, seed, err := t.enrollKey()
	if err != nil {
		return fmt.Errorf("the key of this terminal: %w", err)
	}
	ask := map[string]string{"token": strings.TrimSpace(string(token)), "store": t.c.Terminal.Store, "terminal": t.c.Terminal.ID,
		"nkey": key, "machine": journal.Machine()}
	if k := t.signingKey(); k != nil {
		ask["journal_key"] = hex.EncodeToString(k.Public().(ed25519.PublicKey))
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	b, err := t.post(ctx, body)
	if err != nil {
		return fmt.Errorf("%s: %w", t.c.Hub.EnrollURL, err)
	}
	return t.keepEnrolment(b, key, seed)
}

// enrollKey is the key of this enrolment: the one on the disk, or a new one there.
func (t *enrolling) enrollKey() (public string, seed []byte, err error) {
	path := filepath.Join(t.c.Data.Dir, config.EnrollSeed)
	b, err := readSmall(path)
	held, _ := readSmall(filepath.Join(t.c.Data.Dir, config.EnrolledCreds))
	if seed = bytes.TrimSpace(b); err == nil && !bytes.Contains(held, seed) { // else left by a kill
		if kp, err := nkeys.FromSeed(seed); err == nil {
			public, err = kp.PublicKey()
			return public, seed, err
		}
		t.log.Warn("the key of an enrolment that was under way is damaged: a new one is made", "file", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	kp, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, err
	}
	if seed, err = kp.Seed(); err != nil {
		return "", nil, err
	}
	if public, err = kp.PublicKey(); err != nil {
		return "", nil, err
	}
	return public, seed, durable.Replace(path, append(bytes.Clone(seed), '\n'))
}

// post sends one request without redirections and proxies: a token goes to nobody else.
func (t *enrolling) post(ctx context.Context, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, enrollAttempt)
	defer cancel()
	u, err := url.Parse(strings.TrimSuffix(t.c.Hub.EnrollURL, "/") + "/v1/enrol")
	if err != nil {
		return nil, err
	}
	c, err := uplink.Dial(ctx, t.door, u)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	q := &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	if err := q.Write(c); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), q)
	if err != nil {
		if ctx.Err() != nil { // what the closed connection says helps nobody
			return nil, errors.New("it takes the connection and gives no answer in time")
		}
		return nil, fmt.Errorf("no answer: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxEnrollment+1))
	if err != nil {
		return nil, fmt.Errorf("half an answer: %w", err)
	}
	var p struct{ Detail string }
	switch {
	case len(b) > maxEnrollment:
		return nil, errors.New("the answer is too long to be the hub's")
	case r.StatusCode == http.StatusOK:
		return b, nil
	case json.Unmarshal(b, &p) != nil || p.Detail == "":
		return nil, fmt.Errorf("it answered %s, which is not what the hub says: a captive portal or a proxy stands between, or the address is wrong", r.Status)
	}
	return nil, fmt.Errorf("the hub does not let this terminal in (%d): %.500s", r.StatusCode, p.Detail)
}

// keepEnrolment writes what head office said, the credentials last.
func (t *enrolling) keepEnrolment(b []byte, key string, seed []byte) error {
	var a struct {
		office
		JWT string `json:"jwt"`
		CA  string `json:"ca"`
	}
	err := json.Unmarshal(b, &a)
	if err == nil {
		err = a.check()
	}
	if err == nil {
		err = checkJWT(a.JWT, key)
	}
	if err == nil && len(a.URLs)+len(t.c.Hub.URLs) == 0 {
		err = errors.New("it names no NATS server: set hub.urls, or poshub serve --terminal-urls")
	}
	if err != nil {
		return fmt.Errorf("the hub's answer cannot be used: %w", err)
	}
	as, err := json.Marshal(a.office)
	if err != nil {
		return err
	}
	dir := t.c.Data.Dir
	ca := filepath.Join(dir, config.EnrolledCA)
	if a.CA != "" {
		err = durable.Replace(ca, []byte(a.CA))
	} else if err = os.Remove(ca); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = durable.Replace(filepath.Join(dir, config.EnrolledAs), as)
	}
	if err == nil {
		t.downlink.Enrolled(a.Shard, officeKey(t.c, t.log)) // whoever connects with the credentials has the key
		err = writeCreds(filepath.Join(dir, config.EnrolledCreds), a.JWT, seed)
	}
	if err != nil {
		return fmt.Errorf("the hub's answer cannot be kept: %w", err)
	}
	os.Remove(filepath.Join(dir, config.EnrollSeed)) // the credentials hold it
	return nil
}

// checkJWT refuses credentials for another key, with which nobody could connect. That
// they are head office's is for the NATS servers to see.
func checkJWT(token, key string) error {
	part := strings.Split(token, ".")
	var claims struct{ Sub string }
	if len(part) == 3 {
		if b, err := base64.RawURLEncoding.DecodeString(part[1]); err == nil {
			json.Unmarshal(b, &claims) // an error leaves it empty
		}
	}
	if claims.Sub != key || strings.ContainsAny(token, "\r\n") {
		return errors.New("its credentials are not for this terminal's key")
	}
	return nil
}
