package main

import (
	"database/sql"
	"net/url"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver
)

type sqlite struct {
	db     *sql.DB
	insert *sql.Stmt
}

// sqliteContender inserts each record in a transaction of its own.
func sqliteContender() contender {
	return contender{name: "sqlite-wal-full", how: "modernc.org/sqlite; journal_mode WAL, synchronous FULL, one connection, prepared insert; WAL file already grown to its full size",
		procs: bothProcs, atLeast: 1, data: `\.db(-wal)?$`, open: openSQLite, warm: warmSQLite, count: countSQLite}
}

func sqliteDB(dir string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: filepath.Join(dir, "log.db"),
		RawQuery: "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err == nil {
		// SQLite has one writer at a time; more connections would only meet
		// SQLITE_BUSY.
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func openSQLite(dir string, _ int) (store, error) {
	db, err := sqliteDB(dir)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec("CREATE TABLE log (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)"); err != nil {
		db.Close()
		return nil, err
	}
	insert, err := db.Prepare("INSERT INTO log (body) VALUES (?)")
	if err != nil {
		db.Close()
		return nil, err
	}
	return &sqlite{db, insert}, nil
}

func (s *sqlite) commit(r *record) error {
	_, err := s.insert.Exec(r[:])
	return err
}

func (s *sqlite) close() error {
	s.insert.Close()
	return s.db.Close()
}

// warmSQLite makes the WAL pass the 1000 pages after which SQLite checkpoints
// it and begins again at its start, in blocks that are already written.
func warmSQLite(st store) error {
	s, r := st.(*sqlite), newRecord(0)
	for range 12 {
		tx, err := s.db.Begin()
		if err != nil {
			return err
		}
		for range 1000 {
			if _, err := tx.Stmt(s.insert).Exec(r[:]); err != nil {
				tx.Rollback()
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func countSQLite(dir string) (n int, err error) {
	db, err := sqliteDB(dir)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return n, db.QueryRow("SELECT count(*) FROM log").Scan(&n)
}
