package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"posd/packaging/lab/slicebench/load/leaf"
)

// publisher sends messages to a leaf's stream and waits for each acknowledgement.
type publisher struct {
	js   nats.JetStreamContext
	body []byte
}

func dial(url, file string) (*publisher, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url, nats.Timeout(30*time.Second), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	js, err := nc.JetStream(nats.MaxWait(30 * time.Second))
	return &publisher{js, body}, err
}

func (p *publisher) publish(key string) error {
	_, err := p.js.Publish(leaf.Subject, p.body, nats.MsgId(key))
	return err
}

// sourced is how many messages head office's stream has taken over from the leaf's.
func (p *player) sourced() (uint64, error) {
	if p.Hub == "" {
		return 0, nil
	}
	nc, err := nats.Connect(p.Hub)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	js, err := nc.JetStream(nats.MaxWait(time.Minute))
	if err != nil {
		return 0, err
	}
	info, err := js.StreamInfo(leaf.OfficeStream)
	if errors.Is(err, nats.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// streams makes the leaf's stream and the one that takes it over.
func (p *player) streams() error {
	if err := addStream(p.Publish, leaf.Config()); err != nil {
		return fmt.Errorf("the leaf: %w", err)
	}
	if err := addStream(p.Hub, leaf.OfficeConfig()); err != nil {
		return fmt.Errorf("head office: %w", err)
	}
	return nil
}

func addStream(url string, c *nats.StreamConfig) (err error) {
	for range 100 {
		var nc *nats.Conn
		if nc, err = nats.Connect(url, nats.Timeout(10*time.Second)); err == nil {
			var js nats.JetStreamContext
			if js, err = nc.JetStream(nats.MaxWait(30 * time.Second)); err == nil {
				_, err = js.AddStream(c)
			}
			nc.Close()
			if err == nil {
				return nil
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}
