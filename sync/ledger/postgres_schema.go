package ledger

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed postgres/*.sql
var pgMigrations embed.FS

// pgSchema is the schema version that this release knows: one file each.
var pgSchema = sync.OnceValue(func() int {
	files, err := pgMigrations.ReadDir("postgres")
	if err != nil {
		panic(err) // they are embedded
	}
	return len(files)
})

// prepare checks the server, and makes the schema or brings it up, in one transaction
// that other hubs wait for.
func (l *pgLedger) prepare(ctx context.Context) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if err := l.checkServer(ctx, conn); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", lockKey("schema", "")); err != nil {
			return err
		}
		version, err := l.schemaOf(ctx, tx)
		if err != nil {
			return err
		}
		for v := version + 1; v <= pgSchema(); v++ {
			sql, err := pgMigrations.ReadFile(fmt.Sprintf("postgres/%03d.sql", v))
			if err != nil {
				return err
			}
			// Until this transaction ends nobody begins another on the ledger.
			if v > 1 {
				if _, err := tx.Exec(ctx, "lock table pos.ledger in access exclusive mode"); err != nil {
					return err
				}
			}
			if _, err := tx.Conn().PgConn().Exec(ctx, string(sql)).ReadAll(); err != nil {
				return fmt.Errorf("schema %d: %w", v, err)
			}
		}
		if version == 0 {
			rand.Read(l.id[:])
			_, err = tx.Exec(ctx, "insert into pos.ledger (id, schema) values ($1, $2)", [16]byte(l.id), pgSchema())
		} else {
			// Its commit proves that what stands here is on the standbys, too.
			_, err = tx.Exec(ctx, "update pos.ledger set opened = now(), schema = $1", pgSchema())
		}
		return err
	})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	return l.ensureMonths(ctx, []pgMonth{monthOf(now), monthOf(now) + 1, monthOf(now) + 2})
}

func (l *pgLedger) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var fsync, encoding string
	var pid uint32
	if err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('fsync'),
		pg_backend_pid(), current_setting('server_encoding')`).Scan(&version, &fsync, &pid, &encoding); err != nil {
		return err
	}
	switch {
	case version < pgOldest:
		return fmt.Errorf("the server is of release %d, PostgreSQL 14 is the oldest that will do", version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("the database has encoding %s: make one with encoding UTF8", encoding)
	case pid != conn.PgConn().PID():
		return errors.New("there is a pooler between poshub and the server (pgbouncer?): poshub holds locks for as long as a connection lives, connect it directly")
	case fsync != "on" && !l.unsafe:
		return fmt.Errorf("%w: fsync is %s, so that a power cut loses what was confirmed: set it to on", ErrUnsafe, fsync)
	}
	return nil
}

// schemaOf is the version of what is there, 0 if nothing is.
func (l *pgLedger) schemaOf(ctx context.Context, tx pgx.Tx) (version int, err error) {
	var exists, ours bool
	var tables int
	if err := tx.QueryRow(ctx, `select to_regnamespace('pos') is not null, to_regclass('pos.ledger') is not null,
		(select count(*) from pg_class where relnamespace = to_regnamespace('pos'))`).Scan(&exists, &ours, &tables); err != nil {
		return 0, err
	}
	if !exists {
		_, err = tx.Exec(ctx, "create schema pos")
		return 0, err
	}
	if !ours {
		if tables > 0 {
			return 0, fmt.Errorf("%w: the schema pos has %d tables and indexes, none of them pos.ledger", ErrForeignStore, tables)
		}
		return 0, nil // made by a person, for a role that may not
	}
	var id [16]byte
	err = tx.QueryRow(ctx, "select schema, id from pos.ledger").Scan(&version, &id)
	var pe *pgconn.PgError
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pe) && pe.Code == "42703" {
		return 0, fmt.Errorf("%w: pos.ledger has no schema or ledger id", ErrForeignStore)
	}
	if err != nil {
		return 0, err
	}
	if version > pgSchema() {
		return 0, fmt.Errorf("%w: schema %d, this release knows %d", ErrNewerLedger, version, pgSchema())
	}
	l.id = id
	return version, nil
}

// pgMonth counts months from January of firstYear. Only these have partitions: whatever
// clocks a fleet has, there are not many.
type pgMonth int

const (
	firstYear, endYear = 2024, 2050

	oddMonth pgMonth = -1 // of events without a time that can be believed

	codeNoPartition = "23514" // check_violation: no partition of the table takes the row
)

var pgEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func monthOf(at time.Time) pgMonth {
	y, m, _ := at.UTC().Date()
	if y < firstYear || y >= endYear {
		return oddMonth
	}
	return pgMonth((y-firstYear)*12 + int(m) - 1)
}

func (m pgMonth) begin() time.Time {
	return time.Date(firstYear, time.January+time.Month(m), 1, 0, 0, 0, 0, time.UTC)
}

// monthCache is what this process knows to be there.
type monthCache struct {
	mu    sync.Mutex
	day   map[pgMonth]string // to which a month's partition is there, and noted as used
	ahead string             // the day on which the next months were last made
}

// missing is what of months must be made, or noted as used today.
func (c *monthCache) missing(months []pgMonth, today string) (out []pgMonth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range months {
		if m != oddMonth && c.day[m] != today {
			out = append(out, m)
		}
	}
	if c.ahead != today && len(months) > 0 {
		now := monthOf(time.Now())
		out = append(out, now, now+1, now+2)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *monthCache) made(months []pgMonth, today string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.day == nil {
		c.day = make(map[pgMonth]string)
	}
	for _, m := range months {
		c.day[m] = today
	}
	c.ahead = today
}

// forget drops what is known of partitions, if one of them turned out to be missing.
func (l *pgLedger) forget(err error) {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == codeNoPartition {
		l.months.mu.Lock()
		l.months.day, l.months.ahead = nil, ""
		l.months.mu.Unlock()
	}
}

// ensureMonths makes the partitions that are missing, in a transaction of its own, on a
// connection of its own: the caller may hold the last one of the pool. A table is made
// first and attached then, which does not disturb those who write to other partitions.
func (l *pgLedger) ensureMonths(ctx context.Context, months []pgMonth) error {
	today := time.Now().UTC().Format(time.DateOnly)
	months = l.months.missing(months, today)
	if len(months) == 0 {
		return nil
	}
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", lockKey("partitions", "")); err != nil {
			return err
		}
		for _, m := range months {
			if m < 0 || m >= (endYear-firstYear)*12 {
				continue
			}
			if err := makeMonth(ctx, tx, m, today); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the partitions of coming events: %w", err)
	}
	l.months.made(months, today)
	return nil
}

func makeMonth(ctx context.Context, tx pgx.Tx, m pgMonth, today string) error {
	if _, err := tx.Exec(ctx, `insert into pos.months (month, newest) values ($1::text::date, $2::text::date)
		on conflict (month) do update set newest = greatest(pos.months.newest, excluded.newest)`,
		m.begin().Format(time.DateOnly), today); err != nil {
		return err
	}
	name := "events_" + m.begin().Format("2006_01")
	var there bool
	if err := tx.QueryRow(ctx, "select to_regclass('pos.' || $1::text) is not null", name).Scan(&there); err != nil || there {
		return err
	}
	from, to := m.begin().Format(time.DateOnly), (m + 1).begin().Format(time.DateOnly)
	sql := strings.NewReplacer("NAME", name, "FROM", from+" 00:00:00+00", "TO", to+" 00:00:00+00").Replace(`
		create table pos.NAME (like pos.events including all);
		create unique index NAME_name on pos.NAME (journal, seq);
		create index NAME_time on pos.NAME (journal, at);
		alter table pos.events attach partition pos.NAME for values from ('FROM') to ('TO');`)
	_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
	return err
}
