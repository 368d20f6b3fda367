package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/trust"
	"posd/sync/wire"
)

const (
	serverStart = 30 * time.Second // a long stream is checked at start
	maxPayload  = trust.MaxPayload

	attemptAll   = 30 * time.Second // for one thing asked of JetStream
	attemptFirst = 2 * time.Second  // and for its first attempt; a slow disk gets more in the next
)

// startServer runs a NATS server inside this process. It syncs every message
// before it acknowledges: JetStream's default of two minutes loses what it
// acknowledged when the power goes, and then terminals have to send it again.
func (h *Hub) startServer() (*server.Server, error) {
	listen, log := h.opt.NATSListen, h.log
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("NATS address %q: %w", listen, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("NATS address %q: port must be 0 to 65535", listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	o := &server.Options{
		ServerName: "poshub", Host: host, Port: port, Authorization: h.token,
		JetStream: true, StoreDir: filepath.Join(h.opt.Dir, "nats"), SyncAlways: true, MaxPayload: maxPayload,
		NoSigs: true, DisableJetStreamBanner: true,
	}
	if h.keys != nil {
		if o.AccountResolver, err = newAccounts(h.keys, h.ledger); err != nil {
			return nil, err
		}
		sys, err := h.keys.System()
		if err != nil {
			return nil, err
		}
		o.TrustedKeys, o.SystemAccount = []string{h.keys.OperatorKey()}, sys.Key
	}
	if h.tls != nil {
		o.TLSConfig = h.tls.Clone()
		o.TLSTimeout = 10
		if o.TLSConfig.ClientCAs != nil {
			o.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	s.SetLoggerV2(natsLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(serverStart) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("NATS server does not listen on %s: is the address in use?", listen)
	}
	return s, nil
}

// natsLog passes the server's warnings and errors on.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(f string, a ...any) { l.log.Debug("nats: " + fmt.Sprintf(f, a...)) }
func (l natsLog) Warnf(f string, a ...any)   { l.log.Warn("nats: " + fmt.Sprintf(f, a...)) }
func (l natsLog) Errorf(f string, a ...any)  { l.log.Error("nats: " + fmt.Sprintf(f, a...)) }
func (l natsLog) Fatalf(f string, a ...any)  { l.log.Error("nats: " + fmt.Sprintf(f, a...)) }
func (l natsLog) Debugf(string, ...any)      {}
func (l natsLog) Tracef(string, ...any)      {}

// dial connects the hub's own client, in process or over the network.
func (h *Hub) dial() (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("poshub"), nats.MaxReconnects(-1), nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				h.log.Warn("lost the connection to NATS", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { h.log.Warn("nats", "error", err) }),
	}
	url, way, err := h.way()
	if err != nil {
		return nil, err
	}
	opts = append(opts, way...)
	switch {
	case h.opt.NATSCreds != "":
		opts = append(opts, nats.UserCredentials(h.opt.NATSCreds))
	case h.keys != nil && !strings.Contains(url, "@"):
		creds, err := h.keys.HubUser()
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentialBytes(creds))
	case h.srv != nil:
		opts = append(opts, nats.Token(h.token))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, errors.New("connect to NATS at " + Redact(url+": "+err.Error()))
	}
	return nc, nil
}

// way is where and how this hub connects, but for who it is.
func (h *Hub) way() (url string, opts []nats.Option, err error) {
	if h.srv != nil {
		// Not tls://: what does not leave the process needs no certificate, and would not
		// trust the one that terminals do.
		return "nats://" + h.srv.Addr().String(), []nats.Option{nats.InProcessServer(h.srv)}, nil
	}
	cfg, err := ClientConfig(h.opt.NATSCA, h.opt.NATSCert, h.opt.NATSKey)
	// Also without tls:// in the address the server may ask for TLS.
	return h.opt.NATSURL, []nats.Option{func(o *nats.Options) error { o.TLSConfig = cfg; return nil }}, err
}

// prepareStreams makes the stream of the shard and the bucket of notices, or
// brings them up to this release's settings.
func (h *Hub) prepareStreams(ctx context.Context, s *shard) error {
	err := attempt(ctx, func(ctx context.Context) error {
		_, err := h.js.CreateOrUpdateStream(ctx, upStream(s.stream, s.n, h.opt.Replicas, h.opt.MaxAge, h.opt.MaxBytes, h.tagsOf(ctx, s.stream)))
		return err
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.stream, err)
	}
	err = attempt(ctx, func(ctx context.Context) error {
		_, err := h.js.CreateOrUpdateKeyValue(ctx, bucket(h.opt.Replicas, h.tagsOf(ctx, wire.BucketStream)))
		return err
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", wire.Bucket, err)
	}
	err = attempt(ctx, func(ctx context.Context) error {
		_, err := h.js.CreateOrUpdateKeyValue(ctx, contents(h.opt.Replicas, h.tagsOf(ctx, wire.ContentStream)))
		return err
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", wire.ContentBucket, err)
	}
	return nil
}

// attempt asks a JetStream that may not answer: a cluster without a leader drops the
// question, so it is put again. What is answered, also with no, ends it.
func attempt(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptAll)
	defer cancel()
	for limit := attemptFirst; ; limit *= 2 {
		once, cancel := context.WithTimeout(ctx, limit)
		err := ask(once)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			return err
		}
	}
}

// place asks what the stream is now.
func (h *Hub) place(ctx context.Context, stream string) (created time.Time, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := h.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return created, 0, fmt.Errorf("%w: %s was deleted", errStreamChanged, stream)
	}
	if err != nil {
		return created, 0, fmt.Errorf("ask for stream %s: %w", stream, err)
	}
	i := s.CachedInfo()
	return i.Created.UTC(), i.State.LastSeq, nil
}
