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
// where it ended. What an interrupted call left is put in order first.
// Errors: ErrLocked, ErrNoJournal, what Create and Copies say.
func Succeed(dir string, o CreateOptions) (id chain.ID, former string, err error) {
	if former, err = FinishSuccession(dir); err != nil {
		return id, former, err
	}
	lock, err := disk.AcquireLock(dir)
	if err != nil {
		return id, "", err
	}
	defer lock.Release()
	if id, err = Create(dir+heirSuffix, o); err != nil {
		return id, "", err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, dir+heirSuffix, unix.RENAME_EXCHANGE); err != nil {
		return id, "", fmt.Errorf("exchange %s and %s: %w", dir, dir+heirSuffix, err)
	}
	if err := syncParent(dir); err != nil {
		return id, "", err
	}
	former, err = finish(dir)
	return id, former, err
}

// FinishSuccession puts in order what an interrupted Succeed left beside dir. It
// returns the folder of the former journal if there was something to finish.
func FinishSuccession(dir string) (former string, err error) {
	if _, err := os.Stat(dir + heirSuffix); errors.Is(err, fs.ErrNotExist) {
		return "", os.RemoveAll(dir + heirSuffix + creatingSuffix)
	}
	lock, err := disk.AcquireLock(dir)
	if err != nil {
		return "", err
	}
	defer lock.Release()
	return finish(dir)
}

func finish(dir string) (former string, err error) {
	next := dir + heirSuffix
	if err := os.RemoveAll(next + creatingSuffix); err != nil {
		return "", err
	}
	other, err := Identify(next)
	if errors.Is(err, ErrNoJournal) || errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", next, err)
	}
	if b, err := ReadBirth(next); err == nil && b.Parent != nil {
		if id, err := Identify(dir); err == nil && b.Parent.Journal == id.String() {
			return "", errors.Join(os.RemoveAll(next), syncParent(dir)) // it was never in use
		}
	}
	former = fmt.Sprintf("%s-%s", dir, other.String()[:8])
	if err := os.Rename(next, former); err != nil {
		return "", fmt.Errorf("put the former journal aside: %w", err)
	}
	return former, syncParent(dir)
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
	j := looker(disk.ReadOnly{Path: dir}, nil)
	if err := j.survey(); err != nil {
		return false, err
	}
	tag := j.segs[len(j.segs)-1].machine
	return machine != "" && tag != [16]byte{} && tag != machineTag(machine), nil
}
