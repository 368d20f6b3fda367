package main

import (
	"encoding/binary"
	"path/filepath"

	"go.etcd.io/bbolt"
)

var boltBucket = []byte("log")

type bolt struct {
	db     *bbolt.DB
	update func(func(*bbolt.Tx) error) error
}

// boltContender puts each record with Update, or with Batch, which joins
// concurrent callers.
func boltContender(name string, batch bool) contender {
	c := contender{name: name, how: "freelist as a map and not synced, keys in order, fill 0.9; a file with 16 MiB of written, free pages",
		procs: bothProcs, atLeast: 1, data: `\.db$`, warm: warmBolt, count: countBolt}
	if batch {
		c.how = "the same with Batch; MaxBatchSize is the number of writers, because Batch would else wait for its 10 ms"
	}
	c.open = func(dir string, writers int) (store, error) { return openBolt(dir, batch, writers) }
	return c
}

func boltDB(dir string) (*bbolt.DB, error) {
	return bbolt.Open(filepath.Join(dir, "log.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
}

func openBolt(dir string, batch bool, writers int) (store, error) {
	db, err := boltDB(dir)
	if err != nil {
		return nil, err
	}
	db.MaxBatchSize = writers
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(boltBucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	if batch {
		return &bolt{db, db.Batch}, nil
	}
	return &bolt{db, db.Update}, nil
}

func (s *bolt) commit(r *record) error {
	return s.update(func(tx *bbolt.Tx) error { return boltPut(tx.Bucket(boltBucket), r) })
}

func boltPut(b *bbolt.Bucket, r *record) error {
	b.FillPercent = 0.9
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, seq), r[:])
}

func (s *bolt) close() error { return s.db.Close() }

// warmBolt gives the file pages that are written and free: else each commit
// would also pay for the file's growth.
func warmBolt(st store) error {
	db, r, filler := st.(*bolt).db, newRecord(0), []byte("filler")
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(filler)
		for i := 0; err == nil && i < 16<<20/len(r); i++ {
			err = boltPut(b, r)
		}
		return err
	})
	if err != nil {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(filler) })
}

func countBolt(dir string) (n int, err error) {
	db, err := boltDB(dir)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return n, db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(boltBucket).Stats().KeyN
		return nil
	})
}
