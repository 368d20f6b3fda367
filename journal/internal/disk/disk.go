// Package disk is what the journal asks of a file system, and its real
// implementation on Linux. The power-cut lab has another implementation with a
// durable shadow behind every page, so that the same journal code meets every
// state that a cut can leave.
package disk

// FS is one journal folder. Its methods are safe for concurrent use.
type FS interface {
	// Names lists the files of the folder, in no order.
	Names() ([]string, error)
	// Create makes a file of size bytes whose blocks are written with zeros and
	// synced: no hole and no unwritten extent is left, so that a later store to
	// the map can neither run out of space nor need a metadata commit. The
	// folder is not synced. pause is called now and then to let others at the
	// device; a failed Create leaves no file behind.
	Create(name string, size int64, pause func()) error
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
	// Free returns the bytes that the file system could still give.
	Free() (uint64, error)
}

// File is one open file of the folder.
type File interface {
	// Size in bytes, as the file system tells it now.
	Size() (int64, error)
	// Map maps the whole file shared, once. write false maps it for reading.
	Map(write bool) ([]byte, error)
	// Populate makes whole pages of the map zero and writable ahead of stores, so
	// that a page fault neither reads from the device, nor stalls the only
	// processor, nor becomes a signal.
	Populate(off, n int) error
	// SyncRange writes the mapped range to the device and waits (msync).
	// off and n are multiples of the page size.
	SyncRange(off, n int) error
	// Fetch has a range read from the device into the page cache, in large reads
	// instead of one for each page. It does not wait, and it is advice: what cannot
	// be read shows when it is touched. Not for a range that will be stored to.
	Fetch(off, n int)
	// Near waits until a range is in the map, so that touching it faults no more:
	// a system call gives Go's processor to others meanwhile, a fault does not. It
	// is advice too.
	Near(off, n int)
	// Behind takes a range of whole pages out of the map, and out of the page cache as
	// far as the device has it. It can be touched again, at the cost of reading it again.
	Behind(off, n int)
	// WriteAt writes through the file, not the map. Used where nothing is mapped.
	WriteAt(p []byte, off int64) (int, error)
	// ReadAt reads through the page cache.
	ReadAt(p []byte, off int64) (int, error)
	// ReadCold reads from the device, past the page cache. p and off are
	// multiples of 4096; p comes from Buffer.
	ReadCold(p []byte, off int64) (int, error)
	// Cold says whether ReadCold really reads the device: an error where it cannot
	// and the page cache still holds pages of the file, which somebody has mapped.
	Cold() error
	// Datasync makes all of the file durable (fdatasync).
	Datasync() error
	// DropCache asks the kernel to forget its cached pages of the file.
	DropCache()
	// Close unmaps and closes.
	Close() error
}
