package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotInstalled says what is to be installed.
var ErrNotInstalled = errors.New("PostgreSQL is not installed here: run packaging/tools/need.sh postgres, or apt-get install postgresql")

var errInUse = errors.New("processes of the server before it are still there")

const (
	superuser    = "postgres"
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// Server is one PostgreSQL server with a folder of its own.
type Server struct {
	bin      string // folder of the programs
	dir      string // socket, log, and the folder data
	settings []string
	owner    *syscall.Credential // nil: this process's user

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has been waited for
	count atomic.Int64  // of databases made
}

// New makes a folder in the system's place for temporary files and starts a server in it.
// Settings are as in postgresql.conf: "max_connections=20". The caller closes it.
func New(settings ...string) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if os.Geteuid() == 0 {
		if s.owner, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) begin() error {
	if s.owner != nil {
		if err := os.Chown(s.dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := s.command(ctx, "initdb", "--pgdata="+s.data(), "--username="+superuser, "--auth=trust",
		"--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.Start()
}

// programs is the folder of the newest server programs.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	slices.SortFunc(found, func(a, b string) int { return release(b) - release(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path)
		}
	}
	for _, path := range found {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "initdb")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", ErrNotInstalled
}

func release(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// unprivileged is a user that the server may run as.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

// Dir is the folder with the socket. Programs run by [Server.Run] may write to it.
func (s *Server) Dir() string { return s.dir }

// command is a program of the server's release, run as the server's user.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC", "PGHOST=" + s.dir, "PGUSER=" + superuser}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}

// Run runs a program such as pg_dump against the server.
func (s *Server) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := s.command(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	return out, nil
}

// Start starts the server again, after Stop, Crash or Kill, and waits until it answers. The
// children of a killed server take a moment to see that it is gone; meanwhile no other starts.
func (s *Server) Start() error {
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := s.start()
		if !errors.Is(err, errInUse) || time.Now().After(end) {
			return err
		}
	}
}

func (s *Server) start() error {
	f, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	args := []string{"-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.dir}
	for _, v := range s.settings {
		args = append(args, "-c", v)
	}
	cmd := s.command(context.Background(), "postgres", args...)
	cmd.Stdout, cmd.Stderr = f, f
	// A group of its own: a signal to that of the test is not for it. No server outlives its test.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.cmd, s.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) { // ends with the server; end waits for it
		defer close(ended)
		cmd.Wait()
	}(s.ended)
	return s.wait()
}

// wait returns when the server answers.
func (s *Server) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL(superuser))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			said := s.lastLog()
			if strings.Contains(said, "pre-existing shared memory block") {
				err = errInUse
			}
			return fmt.Errorf("postgres did not start: %w\n%s", err, said)
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w\n%s", err, s.lastLog())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastLog is the end of what the server had to say.
func (s *Server) lastLog() string {
	f, err := os.Open(s.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, end-4096), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// URL is where a database of the server is reached.
func (s *Server) URL(database string) string {
	return "postgres://" + superuser + "@/" + database + "?host=" + s.dir
}

// Create makes a fresh, empty database.
func (s *Server) Create(ctx context.Context) (url string, err error) {
	name := fmt.Sprintf("test%d", s.count.Add(1))
	return s.URL(name), s.Exec(ctx, "create database "+name)
}

// Exec runs one statement in the server's own database: create a role, alter system.
func (s *Server) Exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// Stop ends the server in good order: it writes all out.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Crash ends the server at once, as pg_ctl stop -m immediate does: connections break,
// nothing is written out, and the next start has to recover from the log.
func (s *Server) Crash() error { return s.end(syscall.SIGQUIT) }

// Kill ends the server with SIGKILL; its children see it, and end.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	pid := s.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		pid = -pid
	}
	err := syscall.Kill(pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		err = errors.Join(err, fmt.Errorf("postgres did not end by %s within %s", sig, stopTimeout))
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	}
	s.cmd = nil
	return err
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	return errors.Join(s.end(syscall.SIGQUIT), os.RemoveAll(s.dir))
}
