package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"posd/packaging/lab/guest"
)

// shell types commands into the guest's console.
type shell struct {
	m *guest.Machine
	n int
}

// patience is how long anything may take: the machine may be shared and is emulated.
const patience = 8 * time.Minute

// newShell waits for the root shell of posd.lab.
func newShell(ctx context.Context, m *guest.Machine) (*shell, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := m.Wait(ctx, `bash-[0-9.]+# $`); err != nil {
		return nil, err
	}
	s := &shell{m: m}
	// No echo: what was typed is not to be mistaken for what came of it.
	if err := m.Send("stty -echo; PS1=; PS2=\n"); err != nil {
		return nil, err
	}
	_, _, err := s.try(ctx, "true")
	return s, err
}

// try runs a command to its end and gives its output and exit code.
func (s *shell) try(ctx context.Context, command string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.n++
	// Each line stands between two marks: others are the kernel's or systemd's, and the
	// second says that the line is whole. The guest puts the marks together, so that an
	// echo of the command does not look like its output.
	first, last := fmt.Sprintf("@%d@", s.n), fmt.Sprintf("@%d~", s.n)
	line := fmt.Sprintf("M=@%d; { %s\n} 2>&1 </dev/null | sed \"s/^/$M@ /; s/$/$M~/\"; echo \"$M@=${PIPESTATUS[0]}$M~\"\n", s.n, command)
	if len(line) > 4000 {
		return "", 0, errors.New("the command is longer than a console's line")
	}
	if err := s.m.Send(line); err != nil {
		return "", 0, err
	}
	var out strings.Builder
	for {
		got, err := s.m.Wait(ctx, regexp.QuoteMeta(first)+".*"+regexp.QuoteMeta(last))
		if err != nil {
			return out.String(), 0, fmt.Errorf("%s: %w", command, err)
		}
		_, got, _ = strings.Cut(got, first)
		got, _, _ = strings.Cut(got, last)
		if code, ok := strings.CutPrefix(got, "="); ok {
			n, err := strconv.Atoi(code)
			return strings.TrimSpace(out.String()), n, err
		}
		out.WriteString(strings.TrimPrefix(got, " ") + "\n")
	}
}

// run is try for a command that must end well.
func (s *shell) run(ctx context.Context, command string) (string, error) {
	out, code, err := s.try(ctx, command)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: ended with code %d: %s", command, code, out)
	}
	return out, err
}
