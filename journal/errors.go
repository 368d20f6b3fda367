package journal

import (
	"errors"
	"fmt"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

var (
	// ErrNoJournal: the folder holds no journal. One is made by Create only,
	// never because a mount was missing.
	ErrNoJournal = errors.New("no journal")
	// ErrExists: Create found a journal.
	ErrExists = errors.New("a journal exists already")
	// ErrLocked: another living process owns the journal.
	ErrLocked = disk.ErrLocked
	// ErrForeign: the journal belongs to another terminal.
	ErrForeign = errors.New("journal of another terminal")
	// ErrNewer: the journal was written by a newer release.
	ErrNewer = chain.ErrNewer
	// ErrNoSpace: no room for the record. Nothing happened.
	ErrNoSpace = errors.New("no space left for the journal")
	// ErrReadOnly: the file system is mounted read-only. What is held can be read
	// and shipped.
	ErrReadOnly = errors.New("the journal's file system is read-only")
	// ErrTooLarge: a record beyond chain.MaxRecord. Nothing happened.
	ErrTooLarge = errors.New("record too large")
	// ErrFailed: a sync failed or the map is gone. What was not durable before
	// must be taken as lost, and the process must end.
	ErrFailed = errors.New("journal storage failed")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrFreed: the record is no longer held on this terminal.
	ErrFreed = errors.New("record is no longer held")
	// ErrBeyond: the record is not durable yet, or does not exist.
	ErrBeyond = errors.New("record lies beyond the journal's end")
)

// CorruptError says that records which had been acknowledged are damaged.
// Nothing was changed on the disk.
type CorruptError struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	File    string // within the journal's folder
	Segment uint32 // 0 if unknown
	Offset  int64  // of the first damaged byte range, in the file
	First   uint64 // first sequence number in doubt, 0 if unknown
	Last    uint64 // last sequence number known to have been durable, 0 if unknown
	Witness string // what proves that these records had been durable
	Err     error  // what is wrong at Offset, may be nil
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("journal is damaged: %s at offset %d", e.File, e.Offset)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.First != 0 && e.Last >= e.First {
		s += fmt.Sprintf("; records %d to %d are in doubt", e.First, e.Last)
	} else if e.First != 0 {
		s += fmt.Sprintf("; records from %d are in doubt", e.First)
	}
	return s + "; proof that they had been durable: " + e.Witness +
		"; nothing was changed: copy the folder away, then run posctl verify and posctl salvage on the copy"
}

func (e *CorruptError) Unwrap() error { return e.Err }
