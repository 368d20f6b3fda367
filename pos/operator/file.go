package operator

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Names of the files in the data folder.
const (
	File    = "operators"
	KeyFile = "pin.key"
)

// Bounds of the operators file.
const (
	mostOperators = 200
	mostName      = 32
	mostFile      = 64 << 10
)

// Entry is one operator: a line of the file, without blanks within its parts.
//
//	7 cashier 9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab 2026-11-21T10:15:30Z
type Entry struct {
	Name, Role string
	Check      Check
	Changed    string // when, for people
}

// ErrLine names a line of the file that is none.
var ErrLine = errors.New("a line is an operator, a role, the PIN's check of 64 hexadecimal digits, and a time")

// Parse returns the good lines, and an error for the others. Of two lines of one
// operator the first counts.
func Parse(r io.Reader) (list []Entry, err error) {
	sc := bufio.NewScanner(io.LimitReader(r, mostFile))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		e, ok := parseLine(line)
		switch {
		case !ok:
			err = errors.Join(err, fmt.Errorf("line %d: %w", n, ErrLine))
		case find(list, e.Name) >= 0:
			err = errors.Join(err, fmt.Errorf("line %d: operator %s is there twice", n, e.Name))
		case len(list) == mostOperators:
			return list, errors.Join(err, fmt.Errorf("line %d: there are more than %d operators", n, mostOperators))
		default:
			list = append(list, e)
		}
	}
	return list, errors.Join(err, sc.Err())
}

func parseLine(line string) (e Entry, ok bool) {
	f := strings.Fields(line)
	if len(f) != 4 || !ValidName(f[0]) || !ValidName(f[1]) || len(f[2]) != 2*len(e.Check) || len(f[3]) > mostName {
		return e, false
	}
	if _, err := hex.Decode(e.Check[:], []byte(f[2])); err != nil {
		return e, false
	}
	e.Name, e.Role, e.Changed = f[0], f[1], f[3]
	return e, true
}

func find(list []Entry, name string) int {
	for i := range list {
		if list[i].Name == name {
			return i
		}
	}
	return -1
}

// ValidName says whether an operator, or a role, may have that name: 1 to 32 of
// A-Z a-z 0-9 _ -.
func ValidName(s string) bool {
	if s == "" || len(s) > mostName {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Format is the file that Parse reads.
func Format(list []Entry) []byte {
	var b bytes.Buffer
	b.WriteString("# operator role pin changed; made by posctl operator\n")
	for i := range list {
		e := &list[i]
		fmt.Fprintf(&b, "%s %s %x %s\n", e.Name, e.Role, e.Check[:], e.Changed)
	}
	return b.Bytes()
}

// Set returns list with e in it, in the place of an entry of its name.
func Set(list []Entry, e Entry, now time.Time) []Entry {
	e.Changed = now.UTC().Format(time.RFC3339)
	if i := find(list, e.Name); i >= 0 {
		list[i] = e
		return list
	}
	return append(list, e)
}
