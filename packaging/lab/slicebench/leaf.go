package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"posd/packaging/lab/freeport"
	"posd/packaging/lab/guest"
	"posd/packaging/lab/slicebench/load"
	"posd/packaging/lab/slicebench/load/leaf"
	"posd/packaging/lab/slicebench/rig"
)

// The peer is a NATS leaf node with JetStream, which is what many would put on a till
// to keep events and bring them to head office: each publish is synced before it is
// acknowledged, and head office's server sources the leaf's stream.

const leafConf = `server_name: leaf
Listen: "127.0.0.1:%d"
jetstream { store_dir: %q, domain: leaf, sync_interval: always, max_memory_store: 1048576, max_file_store: 1073741824 }
`

const remoteConf = `leafnodes { remotes: [ { url: "nats-leaf://127.0.0.1:%d" } ] }
`

const officeConf = `server_name: office
Listen: "127.0.0.1:%d"
jetstream { store_dir: %q, domain: office }
leafnodes { Listen: "127.0.0.1:%d" }
`

// leafSizes are the slices that the peer is tried in, in MiB.
var leafSizes = []int{32, 48, 64, 96, 128, 192, 256}

// prepareLeaf builds the server, and makes a leaf's stream with as many events as the
// terminal's backlog, of the same bytes each.
func (b *bench) prepareLeaf(ctx context.Context) error {
	const server = "github.com/nats-io/nats-server/v2"
	device, host := filepath.Join(b.store, "nats-server-arm64"), filepath.Join(b.store, "nats-server")
	if err := crossBuild(ctx, device, server); err != nil {
		return err
	}
	if _, err := rig.Output(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", host, server); err != nil {
		return err
	}
	sale, err := b.sampleSale(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.store, fmt.Sprint("leaf-", b.plan.events))
	if err := makeLeaf(ctx, host, dir, sale, int(b.plan.events)); err != nil {
		return err
	}
	message, tree := filepath.Join(b.work, "sale.json"), filepath.Join(b.work, "tree")
	if err := os.WriteFile(message, sale, 0o600); err != nil {
		return err
	}
	if err := stage(tree, map[string]string{"bin/nats-server": device, "bin/posctl": filepath.Join(b.device, "posctl"),
		"sale.json": message, "backlog": filepath.Join(dir, "data")}); err != nil {
		return err
	}
	b.leafDisk = filepath.Join(b.work, "leaf-disk")
	return errors.Join(image(ctx, b.leafDisk, tree, int(b.plan.events/1000*3+200)), os.RemoveAll(tree))
}

// sampleSale is the event of a sale of five lines, as posd ships it.
func (b *bench) sampleSale(ctx context.Context) ([]byte, error) {
	out, err := rig.Output(ctx, b.bin.Posctl, "dump", "-journal", filepath.Join(b.backlog.Dir, "journal"), "-from", fmt.Sprint(b.backlog.Events-2))
	if err != nil {
		return nil, err
	}
	var record struct{ Event json.RawMessage }
	if err := json.Unmarshal(out[:indexOr(out, '\n')], &record); err != nil {
		return nil, err
	}
	return record.Event, nil
}

func indexOr(b []byte, c byte) int {
	for i, x := range b {
		if x == c {
			return i
		}
	}
	return len(b)
}

// makeLeaf fills a leaf's stream on this machine, or takes the one that an earlier run made.
func makeLeaf(ctx context.Context, server, dir string, message []byte, n int) error {
	made := filepath.Join(dir, "made")
	if _, err := os.Stat(made); err == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	port, err := freeport.Number()
	if err != nil {
		return err
	}
	conf := filepath.Join(dir, "leaf.conf")
	text := fmt.Sprintf(leafConf, port, filepath.Join(dir, "data"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	p, err := rig.Begin("nats-server", filepath.Join(dir, "log"), nil, server, "-c", conf)
	if err != nil {
		return err
	}
	err = publishMany(ctx, p, fmt.Sprint("nats://127.0.0.1:", port), message, n)
	if err = errors.Join(err, p.Stop()); err != nil {
		return err
	}
	return os.WriteFile(made, nil, 0o600)
}

func publishMany(ctx context.Context, p *rig.Process, url string, message []byte, n int) error {
	var nc *nats.Conn
	var js nats.JetStreamContext
	err := p.Wait(ctx, "readiness", func() (err error) {
		if nc, err = nats.Connect(url); err != nil {
			return err
		}
		if js, err = nc.JetStream(nats.PublishAsyncMaxPending(256), nats.MaxWait(10*time.Second)); err == nil {
			_, err = js.AddStream(leaf.Config())
		}
		if err != nil {
			nc.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	for range n {
		if _, err := js.PublishAsync(leaf.Subject, message, nats.StallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leaf measures the peer in the smallest slice that it survives in.
func (b *bench) leaf(ctx context.Context, q quota, shift int, sizes []int) (all []run, err error) {
	for _, size := range sizes {
		r, err := b.leafIn(ctx, q, shift, size)
		all = append(all, r)
		if err != nil || r.Failed == "" {
			return all, err
		}
		b.say("%s: %s", r.label(), r.Failed)
	}
	return all, nil
}

func (b *bench) leafIn(ctx context.Context, q quota, shift, size int) (r run, err error) {
	r = run{Name: "nats-leaf", Quota: q, Memory: size, Shift: shift}
	begun := time.Now()
	defer func() { r.Took = time.Since(begun) }()
	x, err := boot(ctx, b.kernel, b.work, b.leafDisk, shift)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, x.m.Kill()) }()
	b.say("%s: the guest is up", r.label())
	leafURL, officeURL := fmt.Sprint("nats://127.0.0.1:", leafNATS), fmt.Sprint("nats://127.0.0.1:", hubNATS)
	s := load.Script{Slice: sliceDir, Publish: leafURL, Message: "/data/sale.json", Hub: officeURL}
	for i, side := range []struct {
		store  string
		phases []load.Phase
	}{{"/data/fresh", b.idlePhases()}, {"/data/backlog", b.drainPhases(&r)}} {
		n := fmt.Sprint(i)
		if err := errors.Join(
			x.a.WriteFile(ctx, "/run/leaf"+n+".conf", []byte(fmt.Sprintf(leafConf, leafNATS, side.store)+fmt.Sprintf(remoteConf, leafPort)), 0o600),
			x.a.WriteFile(ctx, "/run/office"+n+".conf", []byte(fmt.Sprintf(officeConf, hubNATS, "/tmp/office"+n, leafPort)), 0o600)); err != nil {
			return r, err
		}
		// As an operator would set it, in the proportion of posd.
		memory := fmt.Sprint("GOMEMLIMIT=", size*5/8, "MiB")
		if _, err := x.a.Start(ctx, guest.Program{Name: "leaf", Env: []string{memory}, Args: inSlice(q, size, "/data/bin/nats-server", "-c", "/run/leaf"+n+".conf")}); err != nil {
			return r, err
		}
		p := office("office"+n, "/data/bin/nats-server", "-c", "/run/office"+n+".conf")
		if _, err := x.a.Start(ctx, p); err != nil {
			return r, err
		}
		s.Phases = side.phases
		s.Streams = true
		err := x.play(ctx, s, func(res load.Result) {
			r.Results = append(r.Results, res)
			b.say("%s: %s", r.label(), brief(&res))
		})
		after, err2 := x.count(ctx)
		failed, last := 0, "its start"
		for _, res := range r.Results {
			failed, last = failed+res.Failed, res.Name
			if failed > 0 {
				break
			}
		}
		switch {
		case err2 != nil:
			return r, errors.Join(err, err2)
		case after["memory.events oom_kill"] > 0:
			r.Failed = "killed for want of memory after " + last
			return r, nil
		case failed > 0:
			r.Failed = fmt.Sprintf("%d publishes of %s were not acknowledged within 30 s", failed, last)
			return r, nil
		case err != nil:
			return r, errors.Join(err, x.logs(ctx, "leaf", p.Name))
		}
		if err := errors.Join(x.stop(ctx, "leaf"), x.stop(ctx, p.Name)); err != nil {
			return r, err
		}
	}
	return r, nil
}
