package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	tidwall "github.com/tidwall/wal"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

type tidwallLog struct {
	log  *tidwall.Log
	next uint64
}

func openTidwall(dir string) (batchLog, error) {
	l, err := tidwall.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	return &tidwallLog{l, 1}, nil
}

func (l *tidwallLog) append(recs []*record) error {
	var b tidwall.Batch
	for _, r := range recs {
		b.Write(l.next, r[:])
		l.next++
	}
	return l.log.WriteBatch(&b)
}

func (l *tidwallLog) close() error { return l.log.Close() }

func countTidwall(dir string) (int, error) {
	l, err := tidwall.Open(dir, nil)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	n, err := l.LastIndex()
	return int(n), err
}

type raftLog struct {
	wal  *raftwal.WAL
	next uint64
}

func openRaftWAL(dir string) (batchLog, error) {
	w, err := raftwal.Open(dir, raftwal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, err
	}
	return &raftLog{w, 1}, nil
}

func (l *raftLog) append(recs []*record) error {
	logs := make([]*raft.Log, len(recs))
	for i, r := range recs {
		logs[i] = &raft.Log{Index: l.next, Term: 1, Data: r[:]}
		l.next++
	}
	return l.wal.StoreLogs(logs)
}

func (l *raftLog) close() error { return l.wal.Close() }

func countRaftWAL(dir string) (int, error) {
	w, err := raftwal.Open(dir, raftwal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return 0, err
	}
	defer w.Close()
	n, err := w.LastIndex()
	return int(n), err
}

type etcdLog struct {
	wal   *etcdwal.WAL
	next  uint64
	state raftpb.HardState
}

func openEtcdWAL(dir string) (batchLog, error) {
	w, err := etcdwal.Create(zap.NewNop(), dir+"/etcd", nil)
	if err != nil {
		return nil, err
	}
	term := uint64(1)
	return &etcdLog{wal: w, next: 1, state: raftpb.HardState{Term: &term, Vote: &term, Commit: new(uint64)}}, nil
}

// append saves no new state: an entry alone makes Save sync, and the state
// would be a second record.
func (l *etcdLog) append(recs []*record) error {
	entries := make([]*raftpb.Entry, len(recs))
	for i, r := range recs {
		entries[i] = &raftpb.Entry{Term: l.state.Term, Index: new(l.next), Data: r[:]}
		l.next++
	}
	return l.wal.Save(&l.state, entries)
}

func (l *etcdLog) close() error { return l.wal.Close() }

func countEtcdWAL(dir string) (int, error) {
	w, err := etcdwal.Open(zap.NewNop(), dir+"/etcd", &walpb.Snapshot{})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	_, _, entries, err := w.ReadAll()
	return len(entries), err
}
