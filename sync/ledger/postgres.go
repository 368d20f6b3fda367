package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"posd/sync/wire"
)

// ErrUnsafe is of a server that is set to lose what it has confirmed.
var ErrUnsafe = errors.New("the database server is set up unsafely")

// PostgresOptions of OpenPostgres. The zero value is right.
type PostgresOptions struct {
	Timeout time.Duration // of a transaction whose context has no deadline, 0 = 1 min
	Unsafe  bool          // take a server with fsync off: for benchmarks of the rest
}

const (
	pgMaxConns  = 8
	pgRetries   = 8                // of what the server says to try again
	pgReconnect = 2                // of these, after a connection that broke before the commit
	pgShort     = 10 * time.Second // for small things: a rollback, a ping, a connection
	pgOldest    = 140000           // server release
)

// Settings of every connection. Each question of this package has an index: a plan
// without it would come from statistics of a table that was small.
var pgSettings = map[string]string{
	"application_name":                    "poshub",
	"timezone":                            "UTC",
	"statement_timeout":                   "60s",
	"lock_timeout":                        "30s",
	"idle_in_transaction_session_timeout": "60s",
	"enable_seqscan":                      "off",
	"jit":                                 "off",
	"client_min_messages":                 "warning",
	// A hub that was cut off must not hold its claims for hours.
	"tcp_keepalives_idle":     "10",
	"tcp_keepalives_interval": "5",
	"tcp_keepalives_count":    "3",
}

type pgLedger struct {
	pool    *pgxpool.Pool
	config  *pgx.ConnConfig // for connections beside the pool
	id      wire.LedgerID
	timeout time.Duration
	unsafe  bool
	months  monthCache
	claims  pgClaims
	buffers sync.Pool   // of *rowBuffer
	doubt   atomic.Bool // a commit may be in the database and not on its standbys

	trustWarnings bool // planted by a test: see commit
}

// OpenPostgres opens the ledger in a PostgreSQL database (postgres://user@host/database,
// with libpq's parameters and environment), or makes a new one with an id of its own. All
// of it is in the schema "pos". Errors: ErrNewerLedger, ErrForeignStore, ErrUnsafe, or
// what the server says.
func OpenPostgres(ctx context.Context, url string, o PostgresOptions) (Ledger, error) {
	l := &pgLedger{timeout: o.Timeout, unsafe: o.Unsafe}
	if l.timeout == 0 {
		l.timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open ledger in PostgreSQL: %w", err) // pgx leaves the password out
	}
	l.configure(config)
	where := fmt.Sprintf("open ledger %s of PostgreSQL at %s", l.config.Database,
		net.JoinHostPort(l.config.Host, strconv.Itoa(int(l.config.Port))))
	if err := l.prepare(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if l.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return l, nil
}

func (l *pgLedger) configure(c *pgxpool.Config) {
	for k, v := range pgSettings {
		if _, set := c.ConnConfig.RuntimeParams[k]; !set {
			c.ConnConfig.RuntimeParams[k] = v
		}
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = pgShort
	}
	if c.ConnConfig.ValidateConnect == nil { // with several hosts: the one that can be written to
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	c.ConnConfig.OnNotice = func(pc *pgconn.PgConn, n *pgconn.Notice) {
		if w, ok := pc.CustomData()[warningKey].(*pgconn.Notice); ok {
			*w = *n
		}
	}
	c.MaxConns = max(c.MaxConns, pgMaxConns)
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[warningKey] = new(pgconn.Notice)
		_, err := conn.Exec(ctx, raiseDurability)
		return err
	}
	l.config = c.ConnConfig.Copy()
}

const (
	warningKey = "warning" // of a connection: the last one, *pgconn.Notice

	// A role or database may be set to confirm what is not on disk; this ledger's commits
	// are confirmed to tills, which then free their own copy. remote_apply is more.
	raiseDurability = `select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') <> 'remote_apply'`
)

func (l *pgLedger) ID() wire.LedgerID { return l.id }
func (l *pgLedger) Kind() string      { return "postgresql" }

func (l *pgLedger) Close() error {
	l.claims.close()
	l.pool.Close()
	return nil
}

// connect is a connection beside the pool, so that what holds one of the pool's can wait
// for it.
func (l *pgLedger) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*pgShort)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.config.Copy())
	if err != nil {
		return nil, err
	}
	conn.PgConn().CustomData()[warningKey] = new(pgconn.Notice)
	if _, err := conn.Exec(ctx, raiseDurability); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// closeConn says good-bye within a short time, whatever has become of ctx.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), pgShort)
	defer cancel()
	conn.Close(ctx)
}

func (l *pgLedger) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, l.timeout)
}

func (l *pgLedger) Update(ctx context.Context, fn func(Tx) error) error {
	return l.run(ctx, true, fn)
}

func (l *pgLedger) View(ctx context.Context, fn func(Tx) error) error {
	return l.run(ctx, false, fn)
}

// run runs one transaction, again if the server asks for that.
func (l *pgLedger) run(ctx context.Context, write bool, fn func(Tx) error) error {
	ctx, cancel := l.deadline(ctx)
	defer cancel()
	broken := 0
	for attempt := 1; ; attempt++ {
		err := l.once(ctx, write, fn)
		again, lost := retry(err)
		if lost {
			broken++
		}
		if !again && !lost || attempt > pgRetries || broken > pgReconnect || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Duration(attempt) * 20 * time.Millisecond)):
		}
	}
}

// failure is what the database did to a transaction, apart from what fn returns.
type failure struct{ err error }

func (f *failure) Error() string { return "PostgreSQL: " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// errRace: another hub has made a chain that this transaction took for new.
var errRace = errors.New("another hub has made the same journal known at the same time")

// retry reports whether nothing has happened and the transaction is worth running again:
// at once, or because the connection was lost.
func retry(err error) (again, lost bool) {
	var f *failure
	if !errors.As(err, &f) || errors.Is(err, ErrUnknown) {
		return false, false
	}
	if errors.Is(f.err, errRace) {
		return true, false
	}
	var pe *pgconn.PgError
	if !errors.As(f.err, &pe) {
		return false, !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded)
	}
	switch pe.Code {
	case "40001", "40P01": // serialization failure, deadlock
		return true, false
	case codeNoPartition: // dropped by a person while it was in the cache
		return true, false
	}
	return false, fatal(pe)
}

// fatal: the server ended the connection with this error.
func fatal(pe *pgconn.PgError) bool {
	return pe.SeverityUnlocalized == "FATAL" || pe.SeverityUnlocalized == "PANIC" || pe.Code[:2] == "08"
}

func (l *pgLedger) once(ctx context.Context, write bool, fn func(Tx) error) (err error) {
	if l.doubt.Load() {
		if err := l.settle(ctx); err != nil {
			return err
		}
	}
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return &failure{err}
	}
	defer conn.Release() // which closes a connection that is still within a transaction
	t := &pgTx{ctx: ctx, l: l, conn: conn.Conn(), write: write, chains: make(map[[16]byte]*pgChain)}
	defer t.free()
	if err := t.begin(); err != nil {
		return err
	}
	if err = fn(t); err == nil || t.err != nil {
		err = errors.Join(t.flush(), t.err) // of the two, the first failure sticks
	}
	if t.err != nil {
		err = t.err
	}
	if err == nil {
		return t.commit()
	}
	l.forget(err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgShort)
	defer cancel()
	conn.Exec(ctx, "rollback") // if that fails, the connection is closed
	return err
}

// begin looks in the same round trip whether this is still the ledger that was opened.
// Having read the row, the transaction also keeps a newer release from changing the
// schema until it ends.
func (t *pgTx) begin() error {
	mode := "repeatable read, read only"
	if t.write {
		mode = "read committed, read write"
	}
	results, err := t.conn.PgConn().Exec(t.ctx, "begin isolation level "+mode+"; select schema, id from pos.ledger").ReadAll()
	if err != nil {
		return t.fail(err)
	}
	if len(results) != 2 || len(results[1].Rows) != 1 {
		return t.fail(fmt.Errorf("%w: it has no row in pos.ledger any more", ErrForeignStore))
	}
	row := results[1].Rows[0]
	if v, err := strconv.Atoi(string(row[0])); err != nil || v != pgSchema() {
		return t.fail(fmt.Errorf("%w: schema %s, this release knows %d", ErrNewerLedger, row[0], pgSchema()))
	}
	if id := fmt.Sprintf("%x-%x-%x-%x-%x", t.l.id[:4], t.l.id[4:6], t.l.id[6:8], t.l.id[8:10], t.l.id[10:]); id != string(row[1]) {
		return t.fail(fmt.Errorf("%w: it is ledger %s now, it was %s", ErrForeignStore, row[1], id))
	}
	return nil
}

// commit tells apart what is known from what is not. A warning counts as not known: a
// commit whose wait for the synchronous standby was cancelled returns success with a
// warning.
func (t *pgTx) commit() error {
	warning, _ := t.conn.PgConn().CustomData()[warningKey].(*pgconn.Notice)
	if warning != nil {
		*warning = pgconn.Notice{}
	}
	tag, err := t.conn.Exec(t.ctx, "commit")
	var pe *pgconn.PgError
	switch {
	case err != nil && errors.As(err, &pe) && !fatal(pe) && pe.Code != "57014": // 57014: cancelled, who knows when
		return &failure{fmt.Errorf("commit: %w", err)}
	case err != nil && !t.write:
		return &failure{err}
	case err != nil:
		t.l.doubt.Store(true)
		return fmt.Errorf("%w: PostgreSQL: %w", ErrUnknown, err)
	case tag.String() != "COMMIT":
		return &failure{fmt.Errorf("the server answered COMMIT with %s", tag)}
	case t.write && warning != nil && warning.Message != "" && !t.l.trustWarnings:
		t.l.doubt.Store(true)
		return fmt.Errorf("%w: PostgreSQL: %s (%s)", ErrUnknown, warning.Message, warning.Detail)
	}
	return nil
}

// settle makes a small commit and waits for it: what was committed before, and may be in
// doubt, is then on disk, and on the standbys, as well.
func (l *pgLedger) settle(ctx context.Context) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return &failure{err}
	}
	defer closeConn(conn)
	t := &pgTx{ctx: ctx, l: l, conn: conn, write: true}
	if err := t.begin(); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "update pos.ledger set opened = now()"); err != nil {
		return &failure{err}
	}
	if err := t.commit(); err != nil {
		return err
	}
	l.doubt.Store(false)
	return nil
}

// lockKey is a number for an advisory lock, of which a database has 2^64.
func lockKey(what, name string) int64 {
	sum := sha256.Sum256([]byte("poshub\x00" + what + "\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:]))
}
