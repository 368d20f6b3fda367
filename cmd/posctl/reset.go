package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"posd/durable"
	"posd/journal"
	"posd/pos/config"
	"posd/pos/operator"
)

// resetFolder is the journal of a terminal whose reset has been decided: one rename
// makes it so, after all checks. Before it the terminal is as it was; after it there
// is no journal, and whoever finds the folder (reset, init) takes away the rest.
const resetFolder = "journal.reset"

// reset makes the data folder empty, as it was before posctl init.
func (t *tool) reset(args []string) error {
	flags := t.flags("reset")
	yes := flags.Bool("yes", false, "do it: the journal, the keys and the tokens are gone afterwards")
	if _, err := t.parse(flags, args); err != nil {
		return err
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	if !*yes {
		return fmt.Errorf("%w: reset empties %s: journal, signing key, tokens, catalogue; give -yes to do it", errUsage, c.Data.Dir)
	}
	begun, err := t.finishReset(c.Data.Dir)
	if err != nil {
		return err
	}
	if !begun {
		if err := t.beginReset(c.Data.Dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "%s is empty\n", c.Data.Dir)
	for _, name := range t.foreign(c.Data.Dir) {
		fmt.Fprintf(t.out, "left         %s: not posd's\n", name)
	}
	for _, dir := range credentialFolders {
		found, _ := filepath.Glob(filepath.Join(dir, "posd.*"))
		for _, path := range found {
			fmt.Fprintf(t.out, "left         %s: provisioned with the system, remove it if the board is handed on\n", path)
		}
	}
	fmt.Fprintln(t.out, "next         posctl init, posctl token add NAME, posctl catalogue import FILE; or hand the board on")
	return nil
}

// beginReset checks under the lock, so that no sale comes in between, and decides.
func (t *tool) beginReset(data string) error {
	dir := filepath.Join(data, "journal")
	info, err := os.Lstat(dir)
	none := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !none:
		return err
	case !none && !info.IsDir(): // what it leads to would stay, without its key
		return fmt.Errorf("%s is not a folder but leads elsewhere: put the journal itself there first, or remove both by hand when posctl unsettled ends with 0; nothing was changed", dir)
	case !none && emptyFolder(dir): // a partition that is not mounted: not even a lock belongs there
		return fmt.Errorf("%w in %s: is the data partition mounted?; nothing was changed", journal.ErrNoJournal, dir)
	case !none:
		lock, err := lockJournal(dir)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	switch u, err := findUnsettled(t.ctx, data); {
	case err != nil: // no journal among it: what is on a disk that is not mounted, nobody can tell
		return fmt.Errorf("%w; nothing was changed", err)
	case !u.clean():
		u.print(t)
		return fmt.Errorf("%w: nothing was changed", errUnsettled)
	}
	mark := filepath.Join(data, resetFolder)
	if none {
		err = os.Mkdir(mark, 0o750)
	} else {
		err = os.Rename(dir, mark)
	}
	if err == nil {
		err = durable.SyncDir(data)
	}
	if err != nil {
		return fmt.Errorf("begin the reset: %w", err)
	}
	return t.removeAll(data)
}

// finishReset ends a reset that was interrupted after it had been decided. A journal
// that stands there again came later, and is left alone.
func (t *tool) finishReset(data string) (begun bool, err error) {
	mark := filepath.Join(data, resetFolder)
	if _, err := os.Lstat(mark); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	lock, err := lockJournal(mark)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if _, err := os.Lstat(filepath.Join(data, "journal")); err == nil {
		fmt.Fprintf(t.out, "removing %s, which an earlier reset left\n", mark)
		return false, errors.Join(os.RemoveAll(mark), durable.SyncDir(data))
	}
	fmt.Fprintln(t.out, "finishing a reset that was interrupted")
	return true, t.removeAll(data)
}

// removeAll removes what is posd's, the mark last.
func (t *tool) removeAll(data string) error {
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ours(e) && e.Name() != resetFolder {
			if err := os.RemoveAll(filepath.Join(data, e.Name())); err != nil {
				return fmt.Errorf("%w; the reset is half done: run it again", err)
			}
		}
	}
	if err := durable.SyncDir(data); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(data, resetFolder)), durable.SyncDir(data))
}

// ours says whether a name in the data folder is one that posd or posctl makes: a
// wrong data.dir must not cost anybody his files.
func ours(e fs.DirEntry) bool {
	name := e.Name()
	if e.IsDir() {
		return name == "journal" || name == config.ExportsFolder || name == catalogueFile+".chunks" || strings.HasPrefix(name, "journal-") || strings.HasPrefix(name, "journal.")
	}
	for _, base := range []string{config.KeyFile, tokenFile, ownToken, operator.File, operator.KeyFile, "catalogue.db", "view.db", "uplink.state", "downlink.state", "successor.wanted",
		config.EnrolledCreds, config.EnrolledCA, config.EnrolledAs, config.EnrollSeed,
		"removed", "purge-allowed"} { // the last two are the package's
		if name == base || strings.HasPrefix(name, base+".") || strings.HasPrefix(name, base+"-") {
			return true
		}
	}
	return strings.HasPrefix(name, "journal") && strings.HasSuffix(name, ".report.json")
}

func (t *tool) foreign(data string) (names []string) {
	entries, _ := os.ReadDir(data)
	for _, e := range entries {
		if !ours(e) && e.Name() != "lost+found" {
			names = append(names, filepath.Join(data, e.Name()))
		}
	}
	return names
}

// lockJournal takes a journal's lock as posd does, so that neither runs beside the other.
func lockJournal(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: posd, or another posctl, is at work on %s: stop it first (systemctl stop posd.socket posd); nothing was changed", journal.ErrLocked, dir)
		}
		return nil, err
	}
	return f, nil
}
