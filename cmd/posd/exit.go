package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"posd/journal"
	"posd/pos/config"
	"posd/pos/register"
)

// Exit codes, after sysexits.h. They are part of the interface: units and
// scripts decide by them.
const (
	exitOK         = 0
	exitUsage      = 64
	exitNoJournal  = 66
	exitInternal   = 70
	exitSync       = 74
	exitTemporary  = 75
	exitCorrupt    = 76
	exitPermission = 77
	exitConfig     = 78
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "stopped in order"},
	{exitUsage, "wrong command line"},
	{exitNoJournal, "no journal in the data folder: is the data partition mounted? (posctl init makes a new terminal)"},
	{exitInternal, "error inside posd: see the log"},
	{exitSync, "the storage device failed while a sale was written: check the device before the next start"},
	{exitTemporary, "try again: another posd holds the journal, the port is taken, the stop took too long, a new journal is to be begun, or head office is reached another way"},
	{exitCorrupt, "the journal is damaged: copy the data folder away, then posctl verify and posctl salvage on the copy"},
	{exitPermission, "a file or folder may not be used: check owner and mode"},
	{exitConfig, "the configuration is wrong, or does not fit the journal"},
}

func writeExitCodes(w io.Writer) {
	for _, c := range exitCodes {
		fmt.Fprintf(w, "  %2d  %s\n", c.code, c.meaning)
	}
}

// exitCode sorts an error into one of the codes.
func exitCode(err error) int {
	var corrupt *journal.CorruptError
	var settings *config.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &corrupt):
		return exitCorrupt
	case errors.Is(err, journal.ErrFailed):
		return exitSync
	case errors.Is(err, journal.ErrNoJournal):
		return exitNoJournal
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case errors.As(err, &settings), errors.Is(err, errConfig),
		errors.Is(err, journal.ErrForeign), errors.Is(err, journal.ErrNewer), errors.Is(err, register.ErrCurrency):
		return exitConfig
	case errors.Is(err, journal.ErrLocked), errors.Is(err, journal.ErrNoSpace), errors.Is(err, errSlowStop),
		errors.Is(err, errSuccessor), errors.Is(err, errAnotherWay),
		errors.Is(err, syscall.EADDRINUSE):
		return exitTemporary
	}
	return exitInternal
}

// remedy says what to do about an error whose text does not.
func remedy(err error) string {
	switch {
	case errors.Is(err, journal.ErrLocked):
		return "; stop the other posd first (systemctl status posd)"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; stop what listens there, or change http.listen (ss -ltnp shows it)"
	case errors.Is(err, journal.ErrForeign):
		return "; correct terminal.store and terminal.id, or data.dir, or mount the right disk"
	case errors.Is(err, journal.ErrNewer):
		return "; install the release that wrote it, or a newer one"
	case errors.Is(err, fs.ErrPermission):
		return "; posd runs as its own user, who must own the data folder"
	case errors.Is(err, journal.ErrNoSpace):
		return "; free space on the data partition"
	}
	return ""
}
