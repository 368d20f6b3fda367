package main

import (
	"encoding/binary"
	"io"
	"log"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

type pebbleStore struct {
	db   *pebble.DB
	next atomic.Uint64
}

// pebbleContender sets each record with Sync; pebble groups by itself.
func pebbleContender() contender {
	return contender{name: "pebble-sync", how: "Set with Sync, newest format, default options; a write-ahead log file that is being recycled",
		procs: bothProcs, atLeast: 1, data: `\.log$`, open: openPebble, warm: warmPebble, count: countPebble}
}

// quiet keeps pebble's messages out of the table.
type quiet struct{ *log.Logger }

func (quiet) Infof(string, ...any)        {}
func (q quiet) Errorf(f string, a ...any) { q.Printf(f, a...) }

func pebbleDB(dir string) (*pebble.DB, error) {
	return pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{log.New(io.Discard, "", 0)}})
}

func openPebble(dir string, _ int) (store, error) {
	db, err := pebbleDB(dir)
	if err != nil {
		return nil, err
	}
	return &pebbleStore{db: db}, nil
}

func (s *pebbleStore) set(r *record, o *pebble.WriteOptions) error {
	return s.db.Set(binary.BigEndian.AppendUint64(nil, s.next.Add(1)), r[:], o)
}

func (s *pebbleStore) commit(r *record) error { return s.set(r, pebble.Sync) }

func (s *pebbleStore) close() error { return s.db.Close() }

// warmPebble fills three memtables, so that the next log file is an old one.
func warmPebble(st store) error {
	s, r := st.(*pebbleStore), newRecord(0)
	for range 3 * 4 << 20 / len(r) {
		if err := s.set(r, pebble.NoSync); err != nil {
			return err
		}
	}
	return s.db.Flush()
}

func countPebble(dir string) (n int, err error) {
	db, err := pebbleDB(dir)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n, it.Error()
}
