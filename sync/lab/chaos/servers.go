package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/packaging/lab/freeport"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// token opens the servers to terminals, hubs and the lab.
const token = "lab-token-of-0123456789"

// streamName is the stream of parcels where there is one shard.
const streamName = "POS_UP_0"

// cluster is one NATS server, or three that replicate.
type cluster struct {
	dir     string
	addrs   []string
	servers []*process

	mu      sync.Mutex
	nc      *nats.Conn // the lab's own, past all links
	js      jetstream.JetStream
	leaders map[string]string // by stream
	changes int
}

func newCluster(bin, dir string, n int, syncInterval string) (*cluster, error) {
	c := &cluster{dir: dir, leaders: map[string]string{}}
	var routes, inside []string
	for range n {
		client, err := freeport.Address()
		if err != nil {
			return nil, err
		}
		route, err := freeport.Address()
		if err != nil {
			return nil, err
		}
		c.addrs = append(c.addrs, client)
		inside = append(inside, route)
		routes = append(routes, strconv.Quote("nats://"+route))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for i, addr := range c.addrs {
		name := fmt.Sprintf("n%d", i+1)
		text := fmt.Sprintf("server_name: %s\nlisten: %q\nmax_payload: %d\nauthorization { token: %q }\njetstream { store_dir: %q, sync_interval: %s }\n",
			name, addr, 1<<20+1<<16, token, filepath.Join(dir, name), syncInterval)
		if n > 1 {
			// Whoever connects must not learn of ways past its link.
			text += fmt.Sprintf("cluster { name: lab, listen: %q, no_advertise: true, routes: [%s] }\n", inside[i], strings.Join(routes, ", "))
		}
		conf := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return nil, err
		}
		c.servers = append(c.servers, &process{name: "nats-server " + name, log: filepath.Join(dir, name+".log"),
			path: filepath.Join(bin, "nats-server"), args: []string{"-c", conf}})
	}
	return c, nil
}

func (c *cluster) store(i int) string { return filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)) }

func (c *cluster) replicas() int { return len(c.servers) }

// start starts what does not run, and waits until JetStream answers.
func (c *cluster) start(ctx context.Context) error {
	for _, s := range c.servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	return c.ready(ctx)
}

func (c *cluster) ready(ctx context.Context) error {
	return await(ctx, "JetStream", func() error {
		if err := c.alive(); err != nil {
			return err
		}
		js, err := c.client()
		if err != nil {
			return err
		}
		rctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err = js.AccountInfo(rctx)
		return err
	})
}

// alive finds servers that ended by themselves.
func (c *cluster) alive() error {
	for _, s := range c.servers {
		if up, st := s.running(); !up && st != nil && st.ExitCode() >= 0 {
			return found(falseAlarm, "%s ended by itself: %s%s", s.name, st, s.tail())
		}
	}
	return nil
}

// client is the lab's connection, which repairs itself.
func (c *cluster) client() (jetstream.JetStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil {
		return c.js, nil
	}
	nc, err := nats.Connect("nats://"+strings.Join(c.addrs, ",nats://"), nats.Token(token), nats.Name("lab"),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // killed servers are the lab's business
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.nc, c.js = nc, js
	return js, nil
}

func (c *cluster) stop() error {
	c.mu.Lock()
	if c.nc != nil {
		c.nc.Close()
		c.nc = nil
	}
	c.mu.Unlock()
	var err error
	for _, s := range c.servers { // a server in lame duck takes its time; nothing is asked of its end
		s.kill()
	}
	return err
}

// watch counts changes of a stream's leader until ctx ends.
func (c *cluster) watch(ctx context.Context, stream string) {
	for ; ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		js, err := c.client()
		if err != nil {
			continue
		}
		rctx, cancel := context.WithTimeout(ctx, time.Second)
		s, err := js.Stream(rctx, stream)
		cancel()
		if err != nil || s.CachedInfo().Cluster == nil {
			continue
		}
		c.led(stream, s.CachedInfo().Cluster.Leader)
	}
}

func (c *cluster) led(stream, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.leaders[stream]
	if name == "" || name == was {
		return
	}
	if was != "" {
		c.changes++
	}
	c.leaders[stream] = name
}

func (c *cluster) leaderChanges() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

// stepDown asks the leader of a stream to give the lead up.
func (c *cluster) stepDown(ctx context.Context, stream string) error {
	if _, err := c.client(); err != nil {
		return err
	}
	rctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := c.nc.RequestWithContext(rctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	if err != nil {
		return err
	}
	if strings.Contains(string(m.Data), `"error"`) {
		return errors.New(string(m.Data))
	}
	return nil
}
