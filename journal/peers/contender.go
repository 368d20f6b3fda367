package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
)

// record is what every contender makes durable: 300 bytes that do not compress.
type record [300]byte

// newRecord returns the record of one writer, who numbers it before each commit.
func newRecord(writer int) *record {
	rng := rand.New(rand.NewPCG(uint64(writer), 300))
	var r record
	for i := range r {
		r[i] = byte(rng.Uint32())
	}
	return &r
}

func (r *record) number(n uint64) { binary.LittleEndian.PutUint64(r[:], n) }

// AppendRecord makes a record an encoder of our journal.
func (r *record) AppendRecord(dst []byte, _ uint64) ([]byte, error) { return append(dst, r[:]...), nil }

// store is a contender that runs.
type store interface {
	// commit returns when r would survive a power cut. Safe for concurrent use;
	// r may be changed afterwards.
	commit(r *record) error
	close() error
}

// contender is one way to make records durable.
type contender struct {
	name    string
	how     string   // its settings, for the document
	procs   []int    // values of GOMAXPROCS to try
	env     []string // more of its environment
	atLeast int      // writers that it makes sense for
	data    string   // regular expression: the files that hold acknowledged records
	open    func(dir string, writers int) (store, error)
	// warm brings the store to the state in which it spends its life; nil: the
	// few commits that precede every measurement do.
	warm  func(store) error
	count func(dir string) (int, error) // records in a closed store
}

// The board has one core. GOMAXPROCS=1 is Go's default there; more of them let
// Go run something while a system call blocks, so each peer may have both.
var (
	bothProcs = []int{1, 2}
	oneProc   = []int{1}
)

// oursName is the row that all ratios are taken against.
const oursName = "posd"

func contenders() []contender {
	list := []contender{oursContender(oursName, 2), oursContender("posd-procs1", 1)}
	list = append(list, logContenders("floor", "page of 4096 bytes, pwrite and fdatasync, in a file of 4 MiB that was written with zeros", `^floor$`, oneProc, openFloor, countFloor)...)
	list = append(list, sqliteContender(), boltContender("bbolt-update", false), boltContender("bbolt-batch", true))
	list = append(list, logContenders("tidwall-wal", "default options (sync after each write)", `^\d+$`, bothProcs, openTidwall, countTidwall)...)
	list = append(list, logContenders("raft-wal", "default options (64 MiB segments, preallocated)", `\.wal$`, bothProcs, openRaftWAL, countRaftWAL)...)
	list = append(list, logContenders("etcd-wal", "default options (64 MB segments, preallocated)", `\.wal$`, bothProcs, openEtcdWAL, countEtcdWAL)...)
	return append(list, pebbleContender(), jetStreamContender())
}

// logContenders are a log that has no group commit of its own, behind the mutex
// that its users need and, from two writers on, behind a batching front.
func logContenders(name, how, data string, procs []int, open func(string) (batchLog, error), count func(string) (int, error)) []contender {
	plain := contender{name: name, how: how + "; a mutex around it", procs: procs, atLeast: 1, data: data, count: count,
		open: func(dir string, _ int) (store, error) { return wrap(dir, open, newLocked) }}
	batched := plain
	batched.name, batched.how, batched.atLeast = name+"-batched", "the same behind a batching front (grouped.go)", 2
	batched.open = func(dir string, _ int) (store, error) { return wrap(dir, open, newGrouped) }
	return []contender{plain, batched}
}

func wrap(dir string, open func(string) (batchLog, error), front func(batchLog) store) (store, error) {
	l, err := open(dir)
	if err != nil {
		return nil, err
	}
	return front(l), nil
}

func find(name string) (contender, error) {
	for _, c := range contenders() {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("no contender is called %q", name)
}

// chosen are the contenders whose names match only, and always ours.
func chosen(only *regexp.Regexp) (list []contender) {
	for _, c := range contenders() {
		if c.name == oursName || only.MatchString(c.name) {
			list = append(list, c)
		}
	}
	return list
}
