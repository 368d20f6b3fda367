// Package hook lets journal/lab play the journal's own code: on a file system of
// the lab, step by step, with planted bugs. Nothing in a release sets it.
package hook

import "posd/journal/internal/disk"

// Lab is what a lab gives to Create, Open and Verify, and what Open gives back.
type Lab struct {
	FS       disk.FS    // nil: the real one below the folder
	Boot     string     // boot id of the kernel; "" = the real one's if FS is nil
	Before   disk.Owner // what the lock file says of the last owner, where FS is set
	Page     int        // page size of the machine, 0 = this one's
	Bug      Bug
	ReadOnly bool // the file system is
	Manual   bool // no goroutine is started: the lab drives

	Drive Drive // set by Open
}

// Drive does by hand what the journal's goroutines do.
type Drive struct {
	Commit  func()       // seals and syncs what is open, one group after the other
	Prepare func() error // makes, recycles and frees segments
	Note    func()       // writes a floor note if no group is open
	Rolling func() bool  // a new segment is being begun
	Tail    func() Tail
}

// Tail is the active segment.
type Tail struct {
	File       string
	Align, End int // of its groups
	Fill       int // end of the open group
	Size       int
}

// Bug is a planted mistake: a test that would not see it proves nothing.
type Bug uint8

const (
	EarlyAck    Bug = 1 + iota // acknowledge before the sync
	EarlySeal                  // seal while the previous group is being synced
	EarlyPage0                 // store the next page 0 before the last sync
	NoDirSync                  // no directory sync after a new segment
	RetrySync                  // try a failed sync again
	TruncateAny                // take any damage for a torn tail
	NoNote                     // the floor note never moves
	CachedRead                 // recovery believes the page cache
	NoStartSync                // a start believes names that a killed process left
	Unaligned                  // groups share a page
	bugs
)

// Bugs lists all of them.
func Bugs() []Bug {
	var all []Bug
	for b := Bug(1); b < bugs; b++ {
		all = append(all, b)
	}
	return all
}

func (b Bug) String() string {
	return [...]string{"none", "acknowledge before the sync", "seal before the previous sync",
		"next page 0 too early", "no directory sync", "retry a failed sync", "truncate on any error",
		"floor note stuck", "recover from the page cache", "believe names that were not synced",
		"groups share a page"}[b]
}
