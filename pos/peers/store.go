package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"zombiezen.com/go/sqlite"

	"posd/pos"
	"posd/pos/event"
)

var errReused = errors.New("the key belongs to another body")

// sale is one on its way into the database.
type sale struct {
	key      string
	hash     [32]byte
	e        event.SaleCompleted
	answer   []byte
	replayed bool
	done     chan error
}

// store is the database and its one writer: SQLite has one at a time anyway, and so no
// sale meets SQLITE_BUSY.
type store struct {
	c         *sqlite.Conn
	most      int // sales in one transaction
	queue     chan *sale
	ended     chan struct{}
	last      uint64
	perpetual pos.Money
	body      []byte

	begin, commit, rollback                       *sqlite.Stmt
	find, again, sale, line, tender, used, outbox *sqlite.Stmt
}

// pragmas: durable at each commit, as an acknowledged sale has to be; all else as fast
// as it can be. The WAL is checkpointed at sixteen times its usual size: of 1000, 4000 and
// 16000 pages that was the fastest.
var pragmas = []string{
	"PRAGMA journal_mode=WAL",
	"PRAGMA synchronous=FULL",
	"PRAGMA locking_mode=EXCLUSIVE", // no shared memory, no file locks
	"PRAGMA wal_autocheckpoint=16000",
	"PRAGMA cache_size=-16000",
	"PRAGMA temp_store=MEMORY",
}

var schema = []string{
	`CREATE TABLE sale (number INTEGER PRIMARY KEY, receipt TEXT NOT NULL, shift INTEGER NOT NULL, day TEXT NOT NULL,
		operator TEXT NOT NULL, total INTEGER NOT NULL, change INTEGER NOT NULL, perpetual INTEGER NOT NULL, made INTEGER NOT NULL)`,
	`CREATE TABLE line (sale INTEGER NOT NULL, n INTEGER NOT NULL, item TEXT NOT NULL, description TEXT NOT NULL, quantity INTEGER NOT NULL,
		unit TEXT NOT NULL, price INTEGER NOT NULL, amount INTEGER NOT NULL, tax TEXT NOT NULL, rate INTEGER NOT NULL, PRIMARY KEY (sale, n)) WITHOUT ROWID`,
	`CREATE TABLE tender (sale INTEGER NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, amount INTEGER NOT NULL, reference TEXT NOT NULL,
		PRIMARY KEY (sale, n)) WITHOUT ROWID`,
	`CREATE TABLE used (key TEXT PRIMARY KEY, hash BLOB NOT NULL, sale INTEGER NOT NULL) WITHOUT ROWID`,
	`CREATE TABLE outbox (id INTEGER PRIMARY KEY, body BLOB NOT NULL)`,
}

func openStore(path string, most int) (*store, error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return nil, err
	}
	s := &store{c: c, most: most, queue: make(chan *sale, 256), ended: make(chan struct{})}
	for _, text := range append(pragmas, schema...) {
		if err := s.exec(text); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for st, text := range map[**sqlite.Stmt]string{
		&s.begin: "BEGIN IMMEDIATE", &s.commit: "COMMIT", &s.rollback: "ROLLBACK",
		&s.find:   "SELECT sale, hash FROM used WHERE key = ?",
		&s.again:  "SELECT body FROM outbox WHERE id = ?",
		&s.sale:   "INSERT INTO sale VALUES (?,?,?,?,?,?,?,?,?)",
		&s.line:   "INSERT INTO line VALUES (?,?,?,?,?,?,?,?,?,?)",
		&s.tender: "INSERT INTO tender VALUES (?,?,?,?,?)",
		&s.used:   "INSERT INTO used VALUES (?,?,?)",
		&s.outbox: "INSERT INTO outbox VALUES (?,?)",
	} {
		if *st, err = c.Prepare(text); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	go s.write()
	return s, nil
}

func (s *store) exec(text string) error {
	st, _, err := s.c.PrepareTransient(text)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	for more := true; more && err == nil; {
		more, err = st.Step()
	}
	return errors.Join(err, st.Finalize())
}

// close waits for the writer; nobody may call keep any more.
func (s *store) close() error {
	close(s.queue)
	<-s.ended
	return s.c.Close()
}

// keep returns when the sale is durable.
func (s *store) keep(ctx context.Context, x *sale) error {
	x.done = make(chan error, 1)
	select {
	case s.queue <- x:
		return <-x.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write takes the sales that wait into one transaction, most of them at a time.
func (s *store) write() {
	defer close(s.ended)
	var batch []*sale
	for x := range s.queue {
		batch = append(batch[:0], x)
		for more := true; more && len(batch) < s.most; {
			select {
			case x, ok := <-s.queue:
				if ok {
					batch = append(batch, x)
				}
				more = ok
			default:
				more = false
			}
		}
		s.transaction(batch)
	}
}

func (s *store) transaction(batch []*sale) {
	last, perpetual := s.last, s.perpetual
	errs := make([]error, len(batch))
	err := done(s.begin)
	for i, x := range batch {
		if err == nil {
			errs[i], err = s.insert(x)
		}
	}
	if err == nil {
		err = done(s.commit)
	}
	if err != nil {
		s.last, s.perpetual = last, perpetual
		err = errors.Join(err, done(s.rollback))
	}
	for i, x := range batch {
		x.done <- errors.Join(err, errs[i])
	}
}

// insert makes one sale, or finds the one that its key has made. refused is that sale's
// alone, err ends the transaction.
func (s *store) insert(x *sale) (refused, err error) {
	if known, refused, err := s.replay(x); known || err != nil {
		return refused, err
	}
	s.last++
	e := &x.e
	e.Number, e.Store, e.Terminal, e.Shift, e.BusinessDate = s.last, "s1", "t1", 1, "2026-11-21"
	e.Receipt = "t1-1-" + strconv.FormatUint(e.Number, 10)
	e.Sale = "00000000-" + strconv.FormatUint(e.Number, 10)
	e.Currency = pos.Currency{Code: "EUR", Exponent: 2}
	s.perpetual += e.Total
	e.Perpetual = s.perpetual
	s.body = e.AppendData(s.body[:0])
	x.answer = appendAnswer(nil, e.Number, s.body)
	return nil, s.rows(x)
}

// replay looks for a sale of the same key.
func (s *store) replay(x *sale) (known bool, refused, err error) {
	s.find.BindText(1, x.key)
	known, err = s.find.Step()
	if err != nil || !known {
		return false, nil, errors.Join(err, s.find.Reset())
	}
	number, hash := s.find.ColumnInt64(0), make([]byte, 32)
	s.find.ColumnBytes(1, hash)
	if err := s.find.Reset(); err != nil {
		return true, nil, err
	}
	if [32]byte(hash) != x.hash {
		return true, errReused, nil
	}
	s.again.BindInt64(1, number)
	if _, err := s.again.Step(); err != nil {
		return true, nil, err
	}
	body := make([]byte, s.again.ColumnLen(0))
	s.again.ColumnBytes(0, body)
	x.answer, x.replayed = appendAnswer(nil, uint64(number), body), true
	return true, nil, s.again.Reset()
}

func (s *store) rows(x *sale) error {
	e, number := &x.e, int64(x.e.Number)
	err := done(s.sale, number, e.Receipt, int64(e.Shift), e.BusinessDate, e.Operator, int64(e.Total), int64(e.Change), int64(e.Perpetual), time.Now().UnixMilli())
	for i := range e.Lines {
		l := &e.Lines[i]
		if err == nil {
			err = done(s.line, number, int64(i+1), l.Item, l.Description, int64(l.Qty), l.Unit, int64(l.Price), int64(l.Amount), l.Tax, int64(l.Rate))
		}
	}
	for i := range e.Tenders {
		t := &e.Tenders[i]
		if err == nil {
			err = done(s.tender, number, int64(i+1), string(t.Kind), int64(t.Amount), t.Reference)
		}
	}
	if err == nil {
		err = done(s.used, x.key, x.hash[:], number)
	}
	if err == nil {
		err = done(s.outbox, number, s.body)
	}
	return err
}

// done runs a statement that gives no row.
func done(st *sqlite.Stmt, values ...any) error {
	for i, v := range values {
		switch v := v.(type) {
		case int64:
			st.BindInt64(i+1, v)
		case string:
			st.BindText(i+1, v)
		case []byte:
			st.BindBytes(i+1, v)
		}
	}
	if _, err := st.Step(); err != nil {
		return errors.Join(err, st.Reset())
	}
	return st.Reset()
}

// count opens the database of a peer that has ended.
func count(path string) (n int, err error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	st, _, err := c.PrepareTransient("SELECT count(*) FROM sale")
	if err != nil {
		return 0, err
	}
	defer st.Finalize()
	if _, err := st.Step(); err != nil {
		return 0, err
	}
	return st.ColumnInt(0), nil
}
