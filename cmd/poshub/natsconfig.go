package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"posd/sync/trust"
)

const natsUsage = `Usage: poshub nats config --servers LIST --out DIR [flags]

Writes the configuration of NATS servers of your own: NAME.conf for each, in which every
terminal has an account of its own and can do nothing but its part. With --auth jwt
(the keys are in --data, and are made there) also hub.creds for poshub, if it has not the
keys itself, and sys.creds of the system account. With --auth cert terminals are known by
their certificates, and listed in --terminals.

  poshub nats config --data /var/lib/poshub --out nats --store-dir /var/lib/nats \
     --servers n1=n1.example:4222/n1.example:6222,n2=n2.example:4222/n2.example:6222,n3=n3.example:4222/n3.example:6222 \
     --tls-cert /etc/nats/cert.pem --tls-key /etc/nats/key.pem --tls-ca /etc/nats/ca.pem

Exit codes: 0, 1 it could not be done, 2 called wrongly.

Flags:
`

// maxTerminals bounds a static configuration: beyond it, servers start slowly, and
// --auth jwt has no such list.
const maxTerminals = 100_000

func natsCommand(args []string, stdout, stderr io.Writer) int {
	f := newFlags("nats", natsUsage, stdout, stderr)
	var c trust.Cluster
	data := f.String("data", "", "data `folder` of poshub, whose keys are used (required with --auth jwt)")
	out := f.String("out", "", "`folder` to write to, made if missing (required)")
	servers := f.String("servers", "", "`name=host:port` of each server, in a cluster name=host:port/host:routeport, separated by commas (required)")
	terminals := f.String("terminals", "", "`file` with a terminal on each line: store terminal shard (required with --auth cert)")
	f.StringVar(&c.Auth, "auth", trust.AuthJWT, "how terminals show who they are: `jwt or cert`")
	f.StringVar(&c.Name, "name", "pos", "`name` of the cluster")
	f.StringVar(&c.StoreDir, "store-dir", "/var/lib/nats", "`folder` on the servers' machines; each adds its name")
	f.StringVar(&c.TLS.Cert, "tls-cert", "", "PEM `file` of the certificate, on the servers' machines")
	f.StringVar(&c.TLS.Key, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&c.TLS.CA, "tls-ca", "", "PEM `file` of the authority of clients' and other servers' certificates; clients must then show one")
	f.IntVar(&c.TLS.Rate, "tls-rate", 400, "TLS handshakes that a server begins, `number` a second; who is too many is refused and comes again, so that a fleet which returns at once gets in at all: some 200 for each core; 0: all")
	f.StringVar(&c.Subject, "subject", "CN={store}.{terminal}", "`subject` of the terminals' certificates")
	f.StringVar(&c.HubSubject, "hub-subject", "CN=poshub", "`subject` of the hub's certificate")
	said, code, ok := f.parseWords(args)
	switch {
	case !ok:
		return code
	case len(said) != 1 || said[0] != "config":
		return f.fail(exitUsage, "say poshub nats config")
	case *out == "" || *servers == "":
		return f.fail(exitUsage, "--out or --servers is missing; see poshub nats --help")
	case c.Auth == trust.AuthJWT && *data == "":
		return f.fail(exitUsage, "--data is missing: name the folder of the hub, which has the keys or gets them")
	case c.TLS.Rate < 0:
		return f.fail(exitUsage, "--tls-rate %d: give 0 or more", c.TLS.Rate)
	case c.Auth == trust.AuthCert && *terminals == "":
		return f.fail(exitUsage, "--terminals is missing: with certificates the servers have to know every terminal beforehand")
	}
	var err error
	if c.Servers, err = parseServers(*servers); err != nil {
		return f.fail(exitUsage, "--servers: %v", err)
	}
	if *terminals != "" {
		if c.Terminals, err = readTerminals(*terminals); err != nil {
			return f.fail(exitFailed, "--terminals: %v", err)
		}
	}
	if err := writeCluster(&c, *data, *out, stdout); err != nil {
		return f.fail(exitFailed, "%v", err)
	}
	return 0
}

// parseServers reads "n1=host:4222/host:6222,…".
func parseServers(list string) (all []trust.Server, err error) {
	for _, text := range words(list) {
		name, at, ok := strings.Cut(text, "=")
		client, route, _ := strings.Cut(at, "/")
		if !ok || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("%q is not name=host:port/host:routeport", text)
		}
		all = append(all, trust.Server{Name: name, Listen: client, Advertise: route, ClusterListen: route})
	}
	return all, nil
}

// readTerminals reads "store terminal shard" lines; # begins a comment.
func readTerminals(path string) (all []trust.Device, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for n := 1; s.Scan(); n++ {
		text, _, _ := strings.Cut(s.Text(), "#")
		w := strings.Fields(text)
		if len(w) == 0 {
			continue
		}
		d := trust.Device{}
		if len(w) == 3 {
			d.Store, d.Terminal = w[0], w[1]
			d.Shard, err = strconv.Atoi(w[2])
		}
		if len(w) != 3 || err != nil {
			return nil, fmt.Errorf("%s:%d: write store, terminal and shard, such as: s12 t3 0", path, n)
		}
		if all = append(all, d); len(all) > maxTerminals {
			return nil, fmt.Errorf("%s: more than %d terminals: use --auth jwt", path, maxTerminals)
		}
	}
	return all, s.Err()
}

func writeCluster(c *trust.Cluster, data, out string, stdout io.Writer) (err error) {
	if c.Auth == trust.AuthJWT {
		if c.Keys, err = trust.Open(filepath.Join(data, "keys")); err != nil {
			return err
		}
	}
	files := map[string][]byte{}
	for i, s := range c.Servers {
		if files[s.Name+".conf"], err = c.Config(i); err != nil {
			return err
		}
	}
	if c.Keys != nil {
		if files["hub.creds"], err = c.Keys.HubUser(); err != nil {
			return err
		}
		if files["sys.creds"], err = c.Keys.SystemUser(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(out, name)
		if err := trust.WriteSecret(path, files[name]); err != nil {
			return err
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
