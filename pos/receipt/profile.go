package receipt

import (
	"errors"
	"fmt"
	"strings"
)

// ErrProfile means that no such printer, paper or character set is known.
var ErrProfile = errors.New("unknown printer profile")

// Profile is what has to be known of a printer to write for it.
type Profile struct {
	columns int
	page    *page // nil: UTF-8
	qr      bool  // it draws QR codes itself
	live    bool  // DLE DC4: it opens the drawer whatever it is doing
	feedCut bool  // GS V 66: it knows how far the knife is from the head
	dots    int   // across the paper
}

// ProfileOf returns the profile of a kind of printer:
//
//	epson    QR codes and feeding to the knife by itself (TM series and most of today)
//	generic  the least that all clones understand: QR codes as pictures
//
// with 32, 42 or 48 columns, and a character set as it is named in its manual:
// cp437, cp850, cp852, cp858, cp866, wpc1252, or utf-8 for printers with that
// mode. Errors: ErrProfile.
func ProfileOf(kind string, columns int, set string) (Profile, error) {
	p := Profile{columns: columns}
	switch kind {
	case "epson":
		p.qr, p.feedCut, p.live = true, true, true
	case "generic":
	default:
		return Profile{}, fmt.Errorf("%w %q: give epson or generic", ErrProfile, kind)
	}
	if columns < leastColumns || columns > 64 {
		return Profile{}, fmt.Errorf("%w: %d columns; give 32, 42 or 48", ErrProfile, columns)
	}
	p.dots = columns * 12 // font A
	if set != utf8Page {
		if p.page = pageOf(set); p.page == nil {
			return Profile{}, fmt.Errorf("%w: character set %q; give one of %s", ErrProfile, set, strings.Join(Charsets(), ", "))
		}
	}
	return p, nil
}

// Columns are the characters in a line.
func (p Profile) Columns() int { return p.columns }

// Pulse opens the drawer of a printer that is not ready to print, nil if it cannot.
func (p Profile) Pulse() []byte {
	if !p.live {
		return nil
	}
	return []byte("\x10\x14\x01\x00\x01") // 100 ms, as in the stream
}
