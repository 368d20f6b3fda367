package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"posd/journal"
	"posd/pos/register"
)

// TestRealPosd plays the model on the real posd over HTTP. SIGKILL comes while a call is
// on its way and takes with it all that was not synced.
func TestRealPosd(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "posd")
	if out, err := exec.Command("go", "build", "-tags", "posdlab", "-o", bin, "posd/cmd/posd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := 1200
	if testing.Short() {
		n = 400
	}
	t.Run("no bug", func(t *testing.T) {
		counts, err := realShop(t, bin, "", max(1, *seed), n)
		t.Log(counts)
		if err != nil {
			t.Fatal(err)
		}
		if counts["kills"] < 5 || counts["unanswered"] == 0 || counts["sale.completed"] == 0 {
			t.Error("too little happened to prove anything")
		}
	})
	for _, bug := range []string{"early-ack", "tender-soon", "step-key"} {
		t.Run("planted "+bug, func(t *testing.T) {
			for seed := range uint64(6) {
				if _, err := realShop(t, bin, bug, seed+1, n); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("seen: seed %d: %s", seed+1, what)
					return
				}
			}
			t.Errorf("not seen in %d steps", 6*n)
		})
	}
}

func realShop(t *testing.T, bin, bug string, seed uint64, n int) (map[string]int, error) {
	rng := rand.New(rand.NewPCG(seed, 23))
	coin, perLine := []int64{1, 5}[rng.IntN(2)], rng.IntN(2) == 0
	d, err := newDaemon(t.TempDir(), bin, bug, coin, perLine, rng)
	if err != nil {
		t.Fatal(err)
	}
	defer d.end()
	p := newPlayer(d, newShop(coin, perLine), rng)
	p.kills, p.rests, p.m.repeat = 40, 15, 0
	return p.counts, p.play(n)
}

// daemon is a real posd.
type daemon struct {
	dir, bin, bug string
	addr          string
	rng           *rand.Rand
	cmd           *exec.Cmd
	log           bytes.Buffer
	client        *http.Client
	calls         sync.WaitGroup // that nobody hears
}

func newDaemon(dir, bin, bug string, coin int64, perLine bool, rng *rand.Rand) (*daemon, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, bin: bin, bug: bug, addr: ln.Addr().String(), rng: rng, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}}
	rounding := map[bool]string{true: "line", false: "document"}[perLine]
	conf := fmt.Sprintf("[terminal]\nstore = \"S1\"\nid = \"T1\"\ncurrency = \"EUR\"\ntime_zone = \"UTC\"\nday_start = \"00:00\"\nrounding = %q\ncash_rounding = %d\n[tax]\nA = \"19\"\nB = \"7\"\nE = \"0\"\n[http]\nlisten = %q\n[data]\ndir = %q\nsegment = \"256KiB\"\n",
		rounding, coin, d.addr, dir)
	tokens := fmt.Sprintf("till %x 2026-01-01T00:00:00Z\n", sha256.Sum256([]byte(token)))
	if err := errors.Join(ln.Close(), stock(filepath.Join(dir, "catalogue.db")), os.WriteFile(d.conf(), []byte(conf), 0o600), os.WriteFile(filepath.Join(dir, "tokens"), []byte(tokens), 0o600)); err != nil {
		return nil, err
	}
	if _, err := journal.Create(filepath.Join(dir, "journal"), journal.CreateOptions{
		Identity: journal.Identity{Store: "S1", Terminal: "T1"}, SegmentSize: segment, Opening: register.Opening(register.Start{Branch: 1}),
	}); err != nil {
		return nil, err
	}
	return d, d.start()
}

func (d *daemon) conf() string          { return filepath.Join(d.dir, "posd.toml") }
func (d *daemon) pass(_ time.Duration)  {}
func (d *daemon) back(_ time.Duration)  {}
func (d *daemon) uptime() time.Duration { return 0 }
func (d *daemon) wall() time.Time       { return time.Now().UTC() }

func (d *daemon) start() error {
	d.log.Reset()
	d.cmd = exec.Command(d.bin, "--config", d.conf(), "--no-daemon")
	d.cmd.Env = append(os.Environ(), "POSD_PLANTED_BUG="+d.bug)
	d.cmd.Stderr = &d.log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if res, err := d.client.Get("http://" + d.addr + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	d.end()
	return fmt.Errorf("posd is not ready: %s", d.log.String())
}

// end kills what runs still.
func (d *daemon) end() {
	if d.cmd != nil {
		d.cmd.Process.Kill()
		d.cmd.Wait()
		d.calls.Wait()
		d.client.CloseIdleConnections()
		d.cmd = nil
	}
}

func (d *daemon) kill() error { d.end(); return nil }

func (d *daemon) stop() error {
	d.cmd.Process.Signal(syscall.SIGTERM)
	err := d.cmd.Wait()
	d.client.CloseIdleConnections()
	d.cmd = nil
	if err != nil {
		return fmt.Errorf("posd ended: %w\n%s", err, d.log.String())
	}
	return nil
}

func (d *daemon) records(each func(seq uint64, payload []byte) error) error {
	return recordsOf(filepath.Join(d.dir, "journal"), each)
}

// unheard sends a call and waits for some part of the time that it takes.
func (d *daemon) unheard(c call) error {
	d.calls.Go(func() { d.do(c) })
	time.Sleep(time.Duration(d.rng.IntN(5000)) * time.Microsecond)
	return nil
}

func (d *daemon) do(c call) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, c.method, "http://"+d.addr+c.path, strings.NewReader(c.body))
	if err != nil {
		return answer{}, err
	}
	c.headers(r)
	res, err := d.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return read(res.StatusCode, res.Header, b), err
}
