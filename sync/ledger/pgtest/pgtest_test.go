package pgtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// TestServer: what was committed is there after each way to end, what was not is not,
// and the server syncs.
func TestServer(t *testing.T) {
	s := Start(t)
	url := s.Database(t)
	conn := connect(t, url)
	var fsync string
	if err := conn.QueryRow(t.Context(), "show fsync").Scan(&fsync); err != nil || fsync != "on" {
		t.Errorf("fsync is %q, %v", fsync, err)
	}
	if _, err := conn.Exec(t.Context(), "create table x (n int)"); err != nil {
		t.Fatal(err)
	}
	for i, end := range []func() error{s.Stop, s.Crash, s.Kill} {
		conn := connect(t, url)
		_, err := conn.Exec(t.Context(), "insert into x values ($1)", i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "begin"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "insert into x values (99)"); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); conn.Ping(t.Context()) == nil; { // a killed server's children take a moment to see it
			if time.Now().After(deadline) {
				t.Fatal("an ended server answers")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		var n, top int
		if err := connect(t, url).QueryRow(t.Context(), "select count(*), max(n) from x").Scan(&n, &top); err != nil || n != i+1 || top != i {
			t.Errorf("after end %d: %d rows up to %d, %v", i, n, top, err)
		}
	}
	if out, err := s.Run(t.Context(), "psql", "-Atc", "select 41+1"); err != nil || string(out) != "42\n" {
		t.Errorf("psql says %q, %v", out, err)
	}
}

func TestDatabasesAreFresh(t *testing.T) {
	for range 2 {
		conn := connect(t, Shared(t).Database(t))
		if _, err := conn.Exec(t.Context(), "create table x (n int)"); err != nil {
			t.Error(err)
		}
	}
}

// TestNothingIsLeft: an ended server leaves neither a folder nor a process.
func TestNothingIsLeft(t *testing.T) {
	s, err := New()
	missing(t, err)
	ended := s.ended
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	default:
		t.Error("the process was not waited for")
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
}
