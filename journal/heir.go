package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// Copies hands records of a former journal to add, oldest first, each with the
// head after it. They keep their names: see chain.Copy.
type Copies func(add func(chain.ID, chain.Record, chain.Head) error) error

type copyEncoder struct {
	id   chain.ID
	rec  chain.Record
	head chain.Head
}

func (c *copyEncoder) AppendRecord(dst []byte, _ uint64) ([]byte, error) {
	if c.rec.Type == chain.TypeCopy { // its name is in it
		return append(dst, c.rec.Payload...), nil
	}
	return chain.AppendCopy(dst, c.id, c.rec, c.head), nil
}

// copyInto appends the copies to the new journal in dir.
func copyInto(dir string, o CreateOptions) (err error) {
	j, err := Open(dir, Options{SegmentSize: o.SegmentSize, MaxBytes: 1 << 50, Opening: o.Opening, ScrubEvery: -1})
	if err != nil {
		return err
	}
	err = o.Copies(func(id chain.ID, rec chain.Record, head chain.Head) error {
		_, err := j.Append(chain.TypeCopy, Soon, len(rec.Payload)+chain.CopyHeader, &copyEncoder{id, rec, head})
		return err
	})
	return errors.Join(err, j.Close())
}

// heirSuffix names the folder of a journal that is to take the place of another.
const heirSuffix = ".next"

// Succeed makes a new journal that continues the one in dir, and lets it take its
// place in one step: a cut leaves the one or the other. The former journal stays
// beside it, complete and unchanged, in the folder that is returned. o.Parent says
// where it ended. What an interrupted call left is put in order first. Errors:
// ErrLocked, ErrNoJournal, ErrNoSpace, what Copies says; the journal in dir is then
// as it was.
func Succeed(dir string, o CreateOptions) (id chain.ID, former string, err error) {
	lock, err := disk.AcquireLock(dir)
	if err != nil {
		return id, "", err
	}
	defer lock.Release()
	if former, err = putInOrder(dir); err != nil {
		return id, former, err
	}
	if o.Copies == nil {
		o.Copies = func(func(chain.ID, chain.Record, chain.Head) error) error { return nil }
	}
	next := dir + heirSuffix
	if id, err = Create(next, o); err != nil {
		return id, "", err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, next, unix.RENAME_EXCHANGE); err != nil {
		return id, "", fmt.Errorf("exchange %s and %s: %w", dir, next, err)
	}
	if err := syncParent(dir); err != nil {
		return id, next, err
	}
	former, err = putAside(dir, next)
	return id, former, err
}

// FinishSuccession puts in order what an interrupted Succeed left beside dir. It
// returns the folder of a journal that was put aside, if there was one. The journal
// in dir can be used whatever it says, but for ErrLocked.
func FinishSuccession(dir string) (former string, err error) {
	left := func(name string) bool { _, err := os.Lstat(name); return !errors.Is(err, fs.ErrNotExist) }
	if !left(dir) || !left(dir+heirSuffix) && !left(dir+heirSuffix+creatingSuffix) {
		return "", nil
	}
	lock, err := disk.AcquireLock(dir)
	if err != nil {
		return "", err
	}
	defer lock.Release()
	return putInOrder(dir)
}

// putInOrder needs the lock of dir: what stands beside it may be in the making.
func putInOrder(dir string) (former string, err error) {
	next := dir + heirSuffix
	if err := os.RemoveAll(next + creatingSuffix); err != nil {
		return "", err
	}
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if neverUsed(dir, next) {
		// Under a name that nobody reads: half of a journal must not look like one.
		if err := os.Rename(next, next+creatingSuffix); err != nil {
			return "", err
		}
		return "", errors.Join(syncParent(dir), os.RemoveAll(next+creatingSuffix), syncParent(dir))
	}
	return putAside(dir, next)
}

// lastUnused is the incarnation of a journal that was made and filled with copies,
// and not opened again.
const lastUnused = 2

// neverUsed: only what says that it continues the journal in dir, and was never
// opened to sell, can be thrown away.
func neverUsed(dir, next string) bool {
	b, err := ReadBirth(next)
	if err != nil || b.Parent == nil {
		return false
	}
	id, err := Identify(dir)
	if err != nil || b.Parent.Journal != id.String() {
		return false
	}
	own, err := chain.ParseID(b.Journal)
	if err != nil {
		return false
	}
	pages, err := notesIn(disk.ReadOnly{Path: next})
	n := pages.of(own)
	return err == nil && n.gen > 0 && n.incarnation <= lastUnused
}

// putAside gives a former journal a name of its own.
func putAside(dir, next string) (former string, err error) {
	name := dir + "-unreadable"
	if id, err := Identify(next); err == nil {
		name = fmt.Sprintf("%s-%s", dir, id.String()[:8])
	}
	former = name
	for n := 2; ; n++ {
		err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, former, unix.RENAME_NOREPLACE)
		if err == nil {
			return former, syncParent(dir)
		}
		if !errors.Is(err, unix.EEXIST) {
			return next, fmt.Errorf("put the former journal aside as %s: %w", former, err)
		}
		former = fmt.Sprintf("%s-%d", name, n)
	}
}

// machineTag is what page 0 keeps of a machine id, so that a disk that was copied
// to another board is noticed: the first 16 bytes of its SHA-256, or zeros.
func machineTag(machine string) (tag [16]byte) {
	if machine != "" {
		sum := sha256.Sum256([]byte(machine))
		copy(tag[:], sum[:])
	}
	return tag
}

// OtherMachine says whether the journal in dir was made on another machine than
// this one. Where one of the two is not known it was not.
func OtherMachine(dir, machine string) (bool, error) {
	if machine == "" {
		return false, nil
	}
	j := looker(disk.ReadOnly{Path: dir}, nil)
	if err := j.survey(); err != nil {
		return false, err
	}
	tag := j.segs[len(j.segs)-1].machine
	return tag != [16]byte{} && tag != machineTag(machine), nil
}
