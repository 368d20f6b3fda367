package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"posd/sync/ledger/pgtest"
)

// bench is what all histories share.
type bench struct {
	bin      string // folder of the programs
	work     string // folder for what is running
	keep     string // folder for what failed
	out      io.Writer
	hubFlags []string
	begin    time.Time
	mu       sync.Mutex
	base     *pgtest.Server // nil until a database is asked for
}

// database makes an empty one; the server is started when the first is asked for.
func (b *bench) database(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.base == nil {
		s, err := pgtest.New()
		if err != nil {
			return "", err
		}
		b.base = s
	}
	return b.base.Create(ctx)
}

// close ends the database server.
func (b *bench) close() error {
	if b.base == nil {
		return nil
	}
	return b.base.Close()
}

// Builds. Those of the lab have the tag posdlab: bugs can be planted in them, and a
// posd that is killed loses with it all that was not synced, as in a power cut.
const (
	posdNow, posdLab = "posd", "posd-lab"
	hubNow, hubLab   = "poshub", "poshub-lab"
)

func (b *bench) path(program string) string { return filepath.Join(b.bin, program) }

func (b *bench) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.out, "%6.1f  "+format+"\n", append([]any{time.Since(b.begin).Seconds()}, args...)...)
}

// prepare builds all programs from the module that this one belongs to.
func prepare(ctx context.Context, folder string) (*bench, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	b := &bench{bin: filepath.Join(folder, "bin"), work: filepath.Join(folder, "work"), keep: filepath.Join(folder, "failed"), out: os.Stdout, begin: time.Now()}
	if err := os.RemoveAll(b.work); err != nil {
		return nil, err
	}
	for _, dir := range []string{b.bin, b.work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		{"-o", b.bin, "posd/cmd/posd", "posd/cmd/posctl", "posd/cmd/poshub", "github.com/nats-io/nats-server/v2"},
		{"-tags", "posdlab", "-o", b.path(posdLab), "posd/cmd/posd"},
		{"-tags", "posdlab", "-o", b.path(hubLab), "posd/cmd/poshub"},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %v: %w\n%s", args, err, out)
		}
	}
	return b, nil
}

// room makes a folder for one history.
func (b *bench) room(name string) (string, error) {
	dir := filepath.Join(b.work, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// clear removes a history's folder, or keeps it if something was wrong with it.
func (b *bench) clear(dir string, wrong error) error {
	if wrong == nil {
		return os.RemoveAll(dir)
	}
	if err := os.MkdirAll(b.keep, 0o755); err != nil {
		return err
	}
	to := filepath.Join(b.keep, time.Now().Format("150405-")+filepath.Base(dir))
	os.WriteFile(filepath.Join(dir, "WHY"), []byte(wrong.Error()+"\n"), 0o644)
	b.say("kept: %s", to)
	return os.Rename(dir, to)
}
