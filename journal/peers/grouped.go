package main

import (
	"runtime"
	"sync"
)

// batchLog is a log that takes several records with one sync, from one caller
// at a time.
type batchLog interface {
	append(recs []*record) error
	close() error
}

// locked puts a mutex around a log: one record, one sync.
type locked struct {
	mu  sync.Mutex
	log batchLog
}

func newLocked(l batchLog) store { return &locked{log: l} }

func (s *locked) commit(r *record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.append([]*record{r})
}

func (s *locked) close() error { return s.log.close() }

// grouped collects what arrives while a sync is running and gives it to the log
// as one batch: the least that a user would write to get group commit.
type grouped struct {
	mu      sync.Mutex // guards open
	open    *batch
	syncing sync.Mutex // held by the leader of a batch
	log     batchLog
}

type batch struct {
	recs []*record
	done bool // guarded by syncing, like err
	err  error
}

func newGrouped(l batchLog) store { return &grouped{open: &batch{}, log: l} }

func (s *grouped) commit(r *record) error {
	s.mu.Lock()
	b := s.open
	b.recs = append(b.recs, r)
	s.mu.Unlock()

	s.syncing.Lock()
	defer s.syncing.Unlock()
	if b.done { // by another of the same batch
		return b.err
	}
	runtime.Gosched() // whom the last sync woke may join: else half of them miss each batch
	s.mu.Lock()
	s.open = &batch{}
	s.mu.Unlock()
	b.done, b.err = true, s.log.append(b.recs)
	return b.err
}

func (s *grouped) close() error { return s.log.close() }
