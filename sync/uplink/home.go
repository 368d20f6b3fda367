package uplink

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Home has to answer so often in a row before we go back; each time that it did
// not hold what it promised, twice as often.
const (
	minReturns = 3
	maxReturns = 48
	// hastyReturn: whoever is away again so soon went home too early.
	hastyReturn = 10 * time.Minute
)

// probeHome asks our own region, from another, whether it can be used again. A
// probe is what a session begins with: a connection, and the stream's answer.
func (u *Uplink) probeHome(ctx context.Context, homes []*server, returns int) {
	for good := 0; good < returns; {
		sleep(ctx, u.opt.t.home*4/5+rand.N(u.opt.t.home*2/5+1))
		if ctx.Err() != nil {
			return
		}
		s := homes[rand.N(len(homes))]
		if err := u.probe(ctx, s); err != nil {
			u.log.Debug("uplink: our own region does not answer yet", "error", err)
			good = 0
			continue
		}
		good++
	}
	u.leave(errHome)
}

func (u *Uplink) probe(ctx context.Context, s *server) error {
	closed := make(chan struct{})
	nc, _, err := u.connect(ctx, s, u.opt.t.connect, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		return err
	}
	defer func() { nc.Close(); <-closed }()
	rctx, cancel := context.WithTimeout(ctx, u.opt.t.request)
	defer cancel()
	_, err = nc.RequestMsgWithContext(rctx, nats.NewMsg("$JS.API.DIRECT.GET."+u.opt.Stream+"."+u.subject))
	return err
}

// filesEvery is between two looks at the files of credentials.
const filesEvery = 5 * time.Second

// watchFiles ends the session when credentials or certificates have been
// replaced: the next one uses the new ones.
func (u *Uplink) watchFiles(ctx context.Context) {
	before := u.stamps()
	for {
		sleep(ctx, min(filesEvery, u.opt.t.quiet))
		if ctx.Err() != nil {
			return
		}
		now := u.stamps()
		if slices.Equal(now, before) {
			continue
		}
		sleep(ctx, min(time.Second, u.opt.t.quiet)) // both halves of a pair
		if _, err := u.tlsConfig(&dialer{u: u}); err != nil {
			u.log.Error("uplink: the new certificate cannot be used; the connection goes on with the old one", "error", err)
			before = now
			continue
		}
		u.leave(errRotated)
		return
	}
}

// stamps tells one state of the files from another.
func (u *Uplink) stamps() (all []int64) {
	for _, path := range []string{u.opt.Credentials, u.opt.TokenFile, u.opt.CAFile, u.opt.CertFile, u.opt.KeyFile} {
		if st, err := os.Stat(path); path != "" && err == nil {
			all = append(all, st.ModTime().UnixNano(), st.Size())
		} else {
			all = append(all, 0, 0)
		}
	}
	return all
}
