package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/durable"

	"github.com/go-json-experiment/json/jsontext"
)

// names is what is known about the network from better times, kept in a small
// file beside the state: the addresses by which servers were reached, and the
// newest time that a server proved by its certificate has named. So a till
// connects also while names cannot be resolved, or with a clock that has fallen
// back to 1970. Losing the file costs nothing but that.
//
// The file is one line of JSON:
//
//	{"v":1,"time":<Unix seconds>,"hosts":{"<name>":["<address>",…],…}}
type names struct {
	path   string
	log    *slog.Logger
	lookUp func(ctx context.Context, host string) ([]netip.Addr, error)
	limit  time.Duration // for one look-up
	soon   time.Duration // if an address is known

	mu    sync.Mutex
	hosts map[string][]netip.Addr
	time  time.Time
	kept  time.Time // time as it stands in the file
}

const (
	maxHosts    = 32
	maxAddrs    = 8
	maxNames    = 16 << 10       // of the file, in bytes
	timeStep    = 12 * time.Hour // the file is written for it
	lookUpLimit = 4 * time.Second
	lookUpSoon  = 2 * time.Second
)

func openNames(path string, log *slog.Logger) *names {
	n := &names{path: path, log: log, limit: lookUpLimit, soon: lookUpSoon, hosts: make(map[string][]netip.Addr)}
	n.lookUp = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	b, err := readSmall(path, maxNames)
	if err == nil {
		err = n.parse(b)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("uplink: what was known about the network is not used", "file", path, "error", err)
		n.hosts, n.time = make(map[string][]netip.Addr), time.Time{}
	}
	n.kept = n.time
	return n
}

// lookup gives the addresses of a host, those that have worked before behind the
// others. It fails only if the name cannot be resolved and none has.
func (n *names) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	n.mu.Lock()
	known := slices.Clone(n.hosts[host])
	n.mu.Unlock()
	limit := n.limit
	if len(known) > 0 {
		limit = n.soon
	}
	rctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := n.lookUp(rctx, host)
	if err != nil || len(found) == 0 {
		if len(known) == 0 {
			return nil, &nameError{host, err}
		}
		n.log.Warn("uplink: a name cannot be resolved, the last good address is used", "name", host, "error", err)
		return known, nil
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	found = found[:min(len(found), maxAddrs)]
	for _, a := range known {
		if !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	return found, nil
}

// nameError: a name could not be resolved.
type nameError struct {
	host string
	err  error
}

func (e *nameError) Error() string {
	var d *net.DNSError
	switch {
	case errors.As(e.err, &d) && d.IsNotFound:
		return fmt.Sprintf("the name %s does not exist, says the name server: is it spelt right?", e.host)
	case errors.As(e.err, &d) && d.IsTimeout, errors.Is(e.err, context.DeadlineExceeded):
		return fmt.Sprintf("the name %s cannot be resolved: the name server does not answer", e.host)
	case e.err == nil:
		return fmt.Sprintf("the name %s has no address", e.host)
	}
	return fmt.Sprintf("the name %s cannot be resolved: %v", e.host, e.err)
}

func (e *nameError) Unwrap() error { return e.err }

// worked: a server was reached at addr.
func (n *names) worked(host string, addr net.Addr) {
	t, ok := addr.(*net.TCPAddr)
	if _, err := netip.ParseAddr(host); err == nil || !ok {
		return
	}
	a := t.AddrPort().Addr().Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.hosts[host]
	if slices.Contains(known, a) || (known == nil && len(n.hosts) >= maxHosts) {
		return
	}
	// The newest first; an address that is no longer the host's goes in time.
	n.hosts[host] = append([]netip.Addr{a}, known[:min(len(known), maxAddrs-1)]...)
	n.write()
}

// passed: a server whose certificate was verified named a time, which is over.
func (n *names) passed(t time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !t.After(n.time) {
		return
	}
	if n.time = t; t.Sub(n.kept) >= timeStep {
		n.write()
	}
}

// now is at least the newest time known.
func (n *names) now(clock time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.time.After(clock) {
		return n.time
	}
	return clock
}

// write keeps the file; mu is held.
func (n *names) write() {
	n.kept = n.time
	b := []byte(`{"v":1,"time":`)
	b = strconv.AppendInt(b, max(n.time.Unix(), 0), 10)
	b = append(b, `,"hosts":{`...)
	hosts := make([]string, 0, len(n.hosts))
	for h := range n.hosts {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for i, h := range hosts {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, h)
		b = append(b, ':', '[')
		for j, a := range n.hosts[h] {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(a.AppendTo(append(b, '"')), '"')
		}
		b = append(b, ']')
	}
	if err := durable.Replace(n.path, append(b, "}}\n"...)); err != nil {
		n.log.Warn("uplink: what is known about the network is not written", "file", n.path, "error", err)
	}
}

func (n *names) parse(b []byte) error {
	var v uint64
	d := jsontext.NewDecoder(strings.NewReader(string(b)))
	err := document(d, func(name string) (err error) {
		switch name {
		case "v":
			v, err = number(d)
		case "time":
			var s uint64
			if s, err = number(d); err == nil && s < 1<<40 {
				n.time = time.Unix(int64(s), 0)
			}
		case "hosts":
			err = members(d, func(host string) error {
				addrs, err := addresses(d)
				if len(n.hosts) < maxHosts {
					n.hosts[host] = addrs
				}
				return err
			})
		default:
			err = d.SkipValue()
		}
		return err
	})
	if err == nil && v != 1 {
		err = fmt.Errorf("version %d, known is 1", v)
	}
	return err
}

// addresses reads a list of them.
func addresses(d *jsontext.Decoder) (list []netip.Addr, err error) {
	t, err := d.ReadToken()
	if err != nil || t.Kind() != '[' {
		return nil, errors.Join(err, errors.New("not a list of addresses"))
	}
	for d.PeekKind() != ']' {
		s, err := text(d)
		if err != nil {
			return nil, err
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		if len(list) < maxAddrs {
			list = append(list, a)
		}
	}
	_, err = d.ReadToken()
	return list, err
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}
