package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// claimPing is how often the connection of the claims is tried.
const claimPing = time.Second

// pgClaims are the names that this process holds: advisory locks of one connection, which
// does nothing else. They end with it, on both sides.
type pgClaims struct {
	mu   sync.Mutex
	conn *pgx.Conn
	held map[string]*pgClaim
	stop context.CancelFunc
	keep sync.WaitGroup // of the goroutines that try connections, one each
	over bool           // the ledger is closed
}

type pgClaim struct {
	c    *pgClaims
	name string
	lost chan struct{}
}

func (l *pgLedger) Claim(ctx context.Context, name string) (Claim, bool, error) {
	ctx, cancel := l.deadline(ctx)
	defer cancel()
	c := &l.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, false, errors.New("the ledger is closed")
	}
	if c.held[name] != nil {
		return nil, false, nil
	}
	if c.conn == nil {
		conn, err := l.connect(ctx)
		if err != nil {
			return nil, false, &failure{err}
		}
		c.begin(conn)
	}
	var ok bool
	if err := c.conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", lockKey("claim", name)).Scan(&ok); err != nil {
		c.drop() // whether the lock was taken is not known: end the connection
		return nil, false, &failure{err}
	}
	if !ok {
		return nil, false, nil
	}
	claim := &pgClaim{c: c, name: name, lost: make(chan struct{})}
	c.held[name] = claim
	return claim, true, nil
}

func (c *pgClaims) begin(conn *pgx.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c.conn, c.held, c.stop = conn, make(map[string]*pgClaim), cancel
	c.keep.Go(func() { // ended by stop, waited for by close
		tick := time.NewTicker(claimPing)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !c.ping(ctx, conn) {
				return
			}
		}
	})
}

// ping reports whether the connection is still there and in use.
func (c *pgClaims) ping(ctx context.Context, conn *pgx.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != conn {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pgShort)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		c.drop()
		return false
	}
	return true
}

// drop loses all claims and their connection. The caller holds mu.
func (c *pgClaims) drop() {
	if c.conn == nil {
		return
	}
	for _, claim := range c.held {
		close(claim.lost)
	}
	c.stop()
	closeConn(c.conn)
	c.conn, c.held = nil, nil
}

func (c *pgClaims) close() {
	c.mu.Lock()
	c.over = true
	c.drop()
	c.mu.Unlock()
	c.keep.Wait()
}

func (p *pgClaim) Lost() <-chan struct{} { return p.lost }

func (p *pgClaim) Release() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[p.name] != p {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgShort)
	defer cancel()
	if _, err := c.conn.Exec(ctx, "select pg_advisory_unlock($1)", lockKey("claim", p.name)); err != nil {
		c.drop()
		return
	}
	delete(c.held, p.name)
	close(p.lost)
}
