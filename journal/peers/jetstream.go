package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type jetStream struct {
	srv  *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
}

// jetStreamContender publishes each record to a stream of an embedded server
// and waits for its acknowledgement.
func jetStreamContender() contender {
	return contender{name: "jetstream-sync", how: "nats-server in the process, file store, one replica, SyncAlways; publish over the in-process connection",
		procs: bothProcs, atLeast: 1, data: `msgs/\d+\.blk$`, open: openJetStream, count: countJetStream}
}

func startJetStream(dir string) (*jetStream, error) {
	srv, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: 4 << 30, SyncAlways: true})
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, errors.New("the embedded nats-server did not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		srv.Shutdown()
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		srv.Shutdown()
		return nil, err
	}
	return &jetStream{srv, conn, js}, nil
}

func openJetStream(dir string, _ int) (store, error) {
	s, err := startJetStream(dir)
	if err != nil {
		return nil, err
	}
	_, err = s.js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "log", Subjects: []string{"log"}, Storage: jetstream.FileStorage, Replicas: 1})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *jetStream) commit(r *record) error {
	_, err := s.js.Publish(context.Background(), "log", r[:])
	return err
}

func (s *jetStream) close() error {
	s.conn.Close()
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	return nil
}

func countJetStream(dir string) (int, error) {
	s, err := startJetStream(dir)
	if err != nil {
		return 0, err
	}
	defer s.close()
	stream, err := s.js.Stream(context.Background(), "log")
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(context.Background())
	if err != nil {
		return 0, err
	}
	return int(info.State.Msgs), nil
}
