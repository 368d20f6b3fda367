package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a program on this machine; its output goes to a file.
type Process struct {
	Name, Log string
	Cmd       *exec.Cmd
	Done      chan struct{} // closed when it has ended
	Err       error         // valid then
}

// Begin starts a program that dies with this one.
func Begin(name, log string, env []string, args ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	p := &Process{Name: name, Log: log, Cmd: exec.Command(args[0], args[1:]...), Done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = f, f
	p.Cmd.Env = append(os.Environ(), env...)
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.Done)
		p.Err = p.Cmd.Wait()
	}()
	return p, nil
}

// Stop asks it to end, and makes it after 15 s.
func (p *Process) Stop() error {
	p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
		return nil
	case <-time.After(15 * time.Second):
		return errors.Join(fmt.Errorf("%s does not stop; its log is %s", p.Name, p.Log), p.Kill())
	}
}

// Kill is SIGKILL, and returns when it is gone.
func (p *Process) Kill() error {
	err := p.Cmd.Process.Kill()
	<-p.Done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Wait polls until ask succeeds, the Process ends, or ctx does.
func (p *Process) Wait(ctx context.Context, what string, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done:
			return fmt.Errorf("%s ended while %s was waited for: %w%s", p.Name, what, p.Err, tail(p.Log))
		case <-ctx.Done():
			return fmt.Errorf("%s, %s: %w: %w%s", p.Name, what, context.Cause(ctx), err, tail(p.Log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail is the end of a log, for an error.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return "\n  " + string(bytes.Join(lines[max(0, len(lines)-8):], []byte("\n  ")))
}

// Output runs a program to its end and gives what it printed.
func Output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// Get fetches a page with a token, "" for none.
func Get(ctx context.Context, c *http.Client, url, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.500s", url, res.Status, b)
	}
	return b, err
}
