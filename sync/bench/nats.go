package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/slicebench/rig"
	"posd/sync/wire"
)

// Programs that are built for a run.
const natsPackage = "github.com/nats-io/nats-server/v2"

// buildProgram builds a stripped program of this module's versions.
func buildProgram(ctx context.Context, out, pkg string) error {
	_, err := rig.Output(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
	return err
}

// cluster is one nats-server, or three.
type cluster struct {
	dir      string
	urls     []string
	leafURLs []string // where leaf nodes connect
	servers  []*rig.Process
	replicas int
}

// startCluster starts n servers with JetStream in fresh folders below dir, and the
// streams that a hub would make.
func startCluster(ctx context.Context, program, dir string, n int, syncEach bool) (c *cluster, err error) {
	c = &cluster{dir: dir, replicas: n}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	var routes, ports, leaves []string
	for range n {
		r, err1 := freeport.Number()
		p, err2 := freeport.Number()
		l, err3 := freeport.Number()
		if err := errors.Join(err1, err2, err3); err != nil {
			return c, err
		}
		leaves = append(leaves, fmt.Sprint(l))
		c.leafURLs = append(c.leafURLs, fmt.Sprintf("\"nats-leaf://127.0.0.1:%d\"", l))
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", r))
		ports = append(ports, fmt.Sprint(p))
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	for i := range n {
		text := serverConf(i, ports[i], leaves[i], filepath.Join(dir, fmt.Sprint("store", i)), syncEach, routes)
		conf := filepath.Join(dir, fmt.Sprintf("nats%d.conf", i))
		if err := errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(conf, []byte(text), 0o600)); err != nil {
			return c, err
		}
		p, err := rig.Begin("nats-server", filepath.Join(dir, fmt.Sprintf("nats%d.log", i)), nil, program, "-c", conf)
		if err != nil {
			return c, err
		}
		c.servers = append(c.servers, p)
	}
	nc, js, err := c.client(ctx)
	if err != nil {
		return c, err
	}
	defer nc.Close()
	return c, c.prepare(ctx, js)
}

func serverConf(i int, port, leaf, dir string, syncEach bool, routes []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: n%d\nlisten: \"127.0.0.1:%s\"\nmax_payload: 1114112\n", i, port)
	fmt.Fprintf(&b, "leafnodes { listen: \"127.0.0.1:%s\" }\n", leaf)
	interval := ""
	if syncEach {
		interval = "sync_interval: always, "
	}
	fmt.Fprintf(&b, "jetstream { domain: office, store_dir: %q, %smax_memory_store: 64MB, max_file_store: 40GB }\n", dir, interval)
	if len(routes) > 1 {
		fmt.Fprintf(&b, "cluster { name: bench, listen: %q, routes: [%s] }\n",
			strings.TrimPrefix(routes[i], "nats-route://"), strings.Join(routes, ", "))
	}
	return b.String()
}

// client connects as an administrator, when the servers are up.
func (c *cluster) client(ctx context.Context) (nc *nats.Conn, js jetstream.JetStream, err error) {
	err = c.servers[0].Wait(ctx, "a connection", func() (err error) {
		nc, err = nats.Connect(strings.Join(c.urls, ","), nats.MaxReconnects(-1))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(20*time.Second))
	return nc, js, err
}

// prepare makes the streams, once the cluster has a leader.
func (c *cluster) prepare(ctx context.Context, js jetstream.JetStream) error {
	return c.servers[0].Wait(ctx, "JetStream", func() error { return makeStreams(ctx, js, c.replicas) })
}

// makeStreams makes them with the settings of a hub.
func makeStreams(ctx context.Context, js jetstream.JetStream, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := js.CreateOrUpdateStream(ctx, upStream(0, replicas))
	if err != nil {
		return err
	}
	_, err = js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.Bucket, History: 1, Storage: jetstream.FileStorage, Replicas: replicas,
		RePublish: &jetstream.RePublish{Source: wire.BucketPrefix + ">", Destination: wire.LivePrefix + ">"}})
	return err
}

func upStream(shard, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: fmt.Sprint("POS_UP_", shard), Subjects: []string{wire.UpPrefix(shard) + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxMsgs: -1, MaxBytes: -1, MaxAge: 400 * 24 * time.Hour, MaxMsgsPerSubject: -1, MaxConsumers: -1,
		Replicas: replicas, AllowDirect: true, DenyDelete: true,
	}
}

// empty removes what the last contender has left.
func (c *cluster) empty(ctx context.Context, js jetstream.JetStream, names ...string) error {
	for _, name := range names {
		s, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err == nil {
			err = s.Purge(ctx)
		}
		if err != nil {
			return fmt.Errorf("empty %s: %w", name, err)
		}
	}
	return nil
}

// usage of all servers together.
func (c *cluster) usage() (sum usage, err error) {
	for _, p := range c.servers {
		u, err := usageOf(p.Cmd.Process.Pid)
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.anon += u.anon
		sum.peak += u.peak
	}
	return sum, nil
}

func (c *cluster) stop() (err error) {
	for _, p := range c.servers {
		err = errors.Join(err, p.Kill())
	}
	c.servers = nil
	return errors.Join(err, os.RemoveAll(c.dir))
}
