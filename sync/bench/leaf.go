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
)

// The peer that many would put on a till: a NATS leaf node with JetStream, whose
// stream head office's servers source.
const (
	leafSubject  = "events.t1"
	leafStream   = "EVENTS"
	officeStream = "HEADOFFICE"
)

// leaf is one, on a store that already holds the events.
type leaf struct {
	dir, program string
	port         int
	events       uint64
	server       *rig.Process
}

// newLeaf fills a leaf's stream with the events of a journal.
func newLeaf(ctx context.Context, program, dir, journal string) (_ *leaf, err error) {
	l := &leaf{dir: dir, program: program}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o750)); err != nil {
		return nil, err
	}
	if l.port, err = freeport.Number(); err != nil {
		return nil, err
	}
	if err := l.start(ctx, nil); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	nc, err := nats.Connect(l.url())
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: leafStream, Subjects: []string{leafSubject}, Storage: jetstream.FileStorage}); err != nil {
		return nil, err
	}
	var s sample
	err = do(ctx, task{Kind: "fill", Journal: journal, URLs: []string{l.url()}, Pending: 1000}, &s)
	l.events = s.Events
	return l, err
}

func (l *leaf) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", l.port) }

// start runs it, as a leaf of the servers at remotes if there are any.
func (l *leaf) start(ctx context.Context, remotes []string) (err error) {
	text := fmt.Sprintf("server_name: leaf\nlisten: \"127.0.0.1:%d\"\njetstream { store_dir: %q, domain: leaf, sync_interval: always, max_file_store: 20GB }\n",
		l.port, filepath.Join(l.dir, "store"))
	if len(remotes) > 0 {
		text += fmt.Sprintf("leafnodes { remotes: [ { urls: [%s] } ] }\n", strings.Join(remotes, ", "))
	}
	conf := filepath.Join(l.dir, "leaf.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	if l.server, err = rig.Begin("leaf", filepath.Join(l.dir, "leaf.log"), nil, l.program, "-c", conf); err != nil {
		return err
	}
	return l.server.Wait(ctx, "a connection", func() error {
		nc, err := nats.Connect(l.url())
		if err == nil {
			nc.Close()
		}
		return err
	})
}

func (l *leaf) stop() error {
	if l.server == nil {
		return nil
	}
	err := l.server.Stop()
	l.server = nil
	return err
}

// leafLimit ends a drain that would take minutes.
const leafLimit = 4 * time.Second

// drain lets the servers take over the leaf's stream and counts what the leaf needs
// for it, until all is there or the limit is reached.
func (l *leaf) drain(ctx context.Context, c *cluster, js jetstream.JetStream) (s sample, err error) {
	if err := l.start(ctx, c.leafURLs); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	// Through the servers, its own domain answers: the two are connected.
	far, err := jetstream.NewWithDomain(js.Conn(), "leaf")
	if err != nil {
		return s, err
	}
	if err := l.server.Wait(ctx, "its link", func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := far.Stream(ctx, leafStream)
		return err
	}); err != nil {
		return s, err
	}
	before, err := usageOf(l.server.Cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	begun := time.Now()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: officeStream, Storage: jetstream.FileStorage, Replicas: c.replicas,
		Sources: []*jetstream.StreamSource{{Name: leafStream, External: &jetstream.ExternalStream{APIPrefix: "$JS.leaf.API"}}}})
	if err != nil {
		return s, err
	}
	for s.Events < l.events && time.Since(begun) < leafLimit {
		time.Sleep(5 * time.Millisecond)
		info, err := stream.Info(ctx)
		if err != nil {
			return s, err
		}
		s.Events = info.State.Msgs
	}
	s.Seconds = time.Since(begun).Seconds()
	if s.Events == 0 {
		return s, fmt.Errorf("head office has none of the leaf's %d events after %s", l.events, leafLimit)
	}
	after, err := usageOf(l.server.Cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	s.CPU, s.Peak, s.Sent = (after.cpu - before.cpu).Seconds(), after.anon, s.Events
	s.Raw, s.Wire = s.Events*eventSize, s.Events*eventSize
	return s, js.DeleteStream(ctx, officeStream)
}
