package trust

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"posd/sync/wire"
)

// How the generated servers tell who connects.
const (
	AuthJWT  = "jwt"  // by the operator's JWTs
	AuthCert = "cert" // by client certificates: verify_and_map
)

// Cluster describes NATS servers, one or several, for which to write configuration.
type Cluster struct {
	Auth     string
	Name     string   // of the cluster
	Servers  []Server // one, or an odd number
	StoreDir string   // of each server; its name is added
	TLS      TLS
	Keys     *Keys // AuthJWT

	// AuthJWT: the accounts of terminals enrolled already. AuthCert: all terminals.
	Terminals []Device
	// AuthCert: certificate subjects as RFC 2253 writes them. In Subject, {store} and
	// {terminal} stand for the names.
	Subject, HubSubject string
}

// Server is one of them.
type Server struct {
	Name          string // unique in the cluster
	Listen        string // host:port for clients
	Advertise     string // host:port for the other servers; empty in a cluster of one
	ClusterListen string // host:port of the routes
}

// TLS names PEM files on the servers' machines. CA is of the clients' certificates and,
// in a cluster, of the other servers'.
type TLS struct {
	Cert, Key, CA string

	// Rate is how many clients a second are let into a handshake, 0: all. One that would
	// be too many is refused before it costs anything, and comes again after a pause
	// of its own. Without it a fleet that comes back at once makes each wait for all,
	// until it has given up and begins anew: nobody gets in.
	Rate int
}

var errCluster = errors.New("configuration of NATS servers")

func (c *Cluster) check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", errCluster, fmt.Sprintf(format, a...))
	}
	if n := len(c.Servers); n == 0 || n%2 == 0 {
		return bad("%d servers: take one, or an odd number, so that a majority exists when one is lost", n)
	}
	if c.Auth != AuthJWT && c.Auth != AuthCert {
		return bad("auth %q: must be %s or %s", c.Auth, AuthJWT, AuthCert)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return bad("a certificate needs its key, and a key its certificate")
	}
	if c.TLS.CA != "" && c.TLS.Cert == "" {
		return bad("an authority of clients is of no use without a certificate of the server")
	}
	if c.Auth == AuthCert && c.TLS.CA == "" {
		return bad("to know clients by their certificates, name certificate, key and authority")
	}
	if c.Auth == AuthCert && (!strings.Contains(c.Subject, "{terminal}") || !strings.Contains(c.Subject, "{store}") || c.HubSubject == "") {
		return bad("the subject of the terminals' certificates must contain {store} and {terminal}, and the hub's must be given")
	}
	for _, s := range append([]string{c.Name, c.StoreDir, c.TLS.Cert, c.TLS.Key, c.TLS.CA, c.Subject, c.HubSubject}, c.strings()...) {
		if strings.ContainsAny(s, "\"\\\r\n") {
			return bad("%q must not contain quotes, backslashes or line ends", s)
		}
	}
	names := map[string]bool{}
	for _, s := range c.Servers {
		if s.Name == "" || names[s.Name] {
			return bad("each server needs a name of its own, not %q", s.Name)
		}
		names[s.Name] = true
		for _, a := range []string{s.Listen, s.ClusterListen, s.Advertise} {
			if a == "" && (a == s.Listen || len(c.Servers) > 1) {
				return bad("server %s needs the addresses of clients and routes", s.Name)
			}
			if _, port, err := net.SplitHostPort(a); a != "" {
				if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
					return bad("%q is not host:port", a)
				}
			}
		}
	}
	return nil
}

func (c *Cluster) strings() (all []string) {
	for _, s := range c.Servers {
		all = append(all, s.Name, s.Listen, s.Advertise, s.ClusterListen)
	}
	return all
}

// Config is the configuration file of server i.
func (c *Cluster) Config(i int) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := c.Servers[i]
	b := new(bytes.Buffer)
	fmt.Fprintf(b, "# Written by poshub nats config for terminals of posd. Write it anew rather than\n# change it: what a terminal may do stands here.\n")
	fmt.Fprintf(b, "server_name: %q\nlisten: %q\n", s.Name, s.Listen)
	fmt.Fprintf(b, "# A parcel that would not compress, and its headers.\nmax_payload: %d\n", MaxPayload)
	fmt.Fprintf(b, "# A terminal that has gone without a word is noticed after a minute.\nping_interval: \"20s\"\nping_max: 2\n")
	fmt.Fprintf(b, "# Time for the terminals to go elsewhere, so that not all come back at once.\nlame_duck_duration: \"60s\"\nlame_duck_grace_period: \"5s\"\n")
	fmt.Fprintf(b, `jetstream {
  store_dir: %q
  # Each message is on the disk before it is acknowledged. With the default, two
  # minutes, a power cut loses what terminals took for safe.
  sync_interval: always
}
`, strings.TrimSuffix(c.StoreDir, "/")+"/"+s.Name)
	c.writeTLS(b)
	c.writeRoutes(b, i)
	var err error
	if c.Auth == AuthJWT {
		err = c.writeOperator(b, s)
	} else {
		err = c.writeAccounts(b)
	}
	return b.Bytes(), err
}

func (c *Cluster) writeTLS(b *bytes.Buffer) {
	if c.TLS.Cert == "" {
		fmt.Fprintf(b, "# No TLS: for loopback, or behind something that has it.\n")
		return
	}
	fmt.Fprintf(b, "tls {\n  cert_file: %q\n  key_file: %q\n", c.TLS.Cert, c.TLS.Key)
	switch {
	case c.Auth == AuthCert:
		fmt.Fprintf(b, "  ca_file: %q\n  verify_and_map: true\n", c.TLS.CA)
	case c.TLS.CA != "":
		fmt.Fprintf(b, "  ca_file: %q\n  verify: true\n", c.TLS.CA)
	}
	if c.TLS.Rate > 0 {
		fmt.Fprintf(b, "  # A fleet that comes back at once would keep this server busy with handshakes that\n"+
			"  # nobody waits for any more. Who is refused comes again after a pause.\n  connection_rate_limit: %d\n", c.TLS.Rate)
	}
	fmt.Fprintf(b, "  min_version: \"1.3\"\n  timeout: 10\n}\n")
}

func (c *Cluster) writeRoutes(b *bytes.Buffer, i int) {
	if len(c.Servers) == 1 {
		return
	}
	fmt.Fprintf(b, "cluster {\n  name: %q\n  listen: %q\n  routes: [\n", c.Name, c.Servers[i].ClusterListen)
	for n, o := range c.Servers {
		if n != i {
			fmt.Fprintf(b, "    \"nats://%s\"\n", o.Advertise)
		}
	}
	fmt.Fprintf(b, "  ]\n")
	if c.TLS.CA != "" {
		fmt.Fprintf(b, "  tls {\n    cert_file: %q\n    key_file: %q\n    ca_file: %q\n    min_version: \"1.3\"\n    timeout: 10\n  }\n", c.TLS.Cert, c.TLS.Key, c.TLS.CA)
	}
	fmt.Fprintf(b, "}\n")
}

// writeOperator has the servers keep accounts themselves; the hub tells them of new
// terminals and revoked keys, and poshub keys push of all.
func (c *Cluster) writeOperator(b *bytes.Buffer, s Server) error {
	operator, err := c.Keys.Operator()
	if err != nil {
		return err
	}
	sys, err := c.Keys.System()
	if err != nil {
		return err
	}
	hub, err := c.Keys.Hub()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "operator: %q\nsystem_account: %q\n", operator, sys.Key)
	fmt.Fprintf(b, "resolver {\n  type: full\n  dir: %q\n  allow_delete: false\n  interval: \"2m\"\n}\n", strings.TrimSuffix(c.StoreDir, "/")+"/"+s.Name+"/accounts")
	fmt.Fprintf(b, "resolver_preload: {\n  # SYS\n  %s: %q\n  # HUB\n  %s: %q\n", sys.Key, sys.JWT, hub.Key, hub.JWT)
	for i := range c.Terminals {
		d := &c.Terminals[i]
		a, err := c.Keys.Device(d)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  # %s\n  %s: %q\n", d.Name(), a.Key, a.JWT)
	}
	fmt.Fprintf(b, "}\n")
	return nil
}

// writeAccounts gives each certificate's subject an account with one user.
func (c *Cluster) writeAccounts(b *bytes.Buffer) error {
	e := hubExports()
	fmt.Fprintf(b, "system_account: SYS\naccounts {\n  SYS: {}\n  HUB: {\n    jetstream: enabled\n    exports: [\n")
	for _, s := range e.Services {
		fmt.Fprintf(b, "      {service: %q}\n", s)
	}
	for _, s := range e.Streams {
		fmt.Fprintf(b, "      {stream: %q}\n", s)
	}
	fmt.Fprintf(b, "    ]\n    users: [\n")
	writeUser(b, c.HubSubject, wire.HubPermissions())
	fmt.Fprintf(b, "    ]\n  }\n")
	seen := map[string]bool{c.HubSubject: true}
	for i := range c.Terminals {
		d := &c.Terminals[i]
		p, err := wire.DevicePermissions(d.Shard, d.Store, d.Terminal)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDevice, err)
		}
		subject := strings.NewReplacer("{store}", d.Store, "{terminal}", d.Terminal).Replace(c.Subject)
		if seen[subject] {
			return fmt.Errorf("%w: two of %q", errCluster, subject)
		}
		seen[subject] = true
		services, streams := imports(p)
		fmt.Fprintf(b, "  # An account of its own: nothing that it sends can be answered to another.\n  %q: {\n    imports: [\n", d.Name())
		for _, s := range services {
			fmt.Fprintf(b, "      {service: {account: HUB, subject: %q}}\n", s)
		}
		for _, s := range streams {
			fmt.Fprintf(b, "      {stream: {account: HUB, subject: %q}}\n", s)
		}
		fmt.Fprintf(b, "    ]\n    limits: {max_connections: %d, max_subscriptions: %d, max_leafnodes: 0}\n    users: [\n", maxConnections, maxSubs)
		writeUser(b, subject, p)
		fmt.Fprintf(b, "    ]\n  }\n")
	}
	fmt.Fprintf(b, "}\n")
	return nil
}

func writeUser(b *bytes.Buffer, subject string, p wire.Permissions) {
	list := func(all []string) string {
		q := slices.Clone(all)
		for i := range q {
			q[i] = strconv.Quote(q[i])
		}
		return strings.Join(q, ", ")
	}
	fmt.Fprintf(b, "      {user: %q, permissions: {\n        publish: {allow: [%s]}\n        subscribe: {allow: [%s]}}}\n",
		subject, list(p.Publish), list(p.Subscribe))
}
