package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/journal/chain"
	"posd/packaging/lab/freeport"
	"posd/pos/event"
)

// ext4 mounts a small real file system, which needs root and a loop device.
func ext4(t *testing.T, mib int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: a full disk needs a file system of its own")
	}
	img, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, args := range [][]string{
		{"truncate", "-s", fmt.Sprintf("%dM", mib), img},
		{"mkfs.ext4", "-q", "-m", "0", img},
		{"mount", "-o", "loop", img, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop-mounted ext4 here: %v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// post makes a sale of some KiB.
func (r *running) post(key string) (int, string, error) {
	body := strings.Replace(sale, `"x"`, `"`+strings.Repeat("y", 200)+`"`, 1)
	body = strings.Replace(body, `"lines":[`, `"lines":[`+strings.Repeat(`{"description":"`+strings.Repeat("z", 200)+`","tax":"A","price":0},`, 20), 1)
	req, err := http.NewRequest("POST", "http://"+r.addr+"/v1/checkout", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	req, _ := http.NewRequest("GET", "http://"+r.addr+path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// inJournal counts the sales by key, proving the whole journal on the way.
func (s *site) inJournal() map[string]int {
	s.t.Helper()
	keys := map[string]int{}
	_, err := journal.Verify(s.t.Context(), filepath.Join(s.dir, "journal"), journal.VerifyOptions{
		Each: func(rec chain.Record, _ chain.Head) error {
			if rec.Type == event.RecordType {
				h, _, err := event.Parse(rec.Payload)
				if err != nil {
					return err
				}
				if h.Type == event.TypeSaleCompleted {
					keys[h.Key]++
				}
			}
			return nil
		}})
	if err != nil {
		s.t.Fatal(err)
	}
	return keys
}

// TestDiskFull: a sale that does not fit is refused before anything happens;
// posd goes on, also over a kill, and sells again when there is room.
func TestDiskFull(t *testing.T) {
	mnt := ext4(t, 36)
	ballast := filepath.Join(mnt, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 14<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSiteIn(t, filepath.Join(mnt, "site"))
	r := s.start()
	acked := map[string]string{}
	sellUntilFull := func() {
		t.Helper()
		for i := range 20000 {
			key := fmt.Sprintf("k%d-%d", len(acked), i)
			code, body, err := r.post(key)
			if err != nil {
				t.Fatal(err)
			}
			if code == http.StatusServiceUnavailable {
				if !strings.Contains(body, "no-space") || !strings.Contains(body, "free space") {
					t.Fatalf("refused, but does not say why and what to do: %s", body)
				}
				return
			}
			if code != http.StatusCreated {
				t.Fatalf("%d %s", code, body)
			}
			acked[key] = body
		}
		t.Fatal("the disk did not fill")
	}
	sellUntilFull()
	if len(acked) < 500 {
		t.Fatalf("only %d sales fitted", len(acked))
	}
	if code, body := r.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("readyz on a full disk: %d %s", code, body)
	}
	for key, first := range acked { // what was sold can still be asked for
		if code, again, err := r.post(key); err != nil || code != http.StatusOK || again != first {
			t.Fatalf("repeated call on a full disk: %d %v\n%s\n%s", code, err, again, first)
		}
		break
	}
	r.stop(syscall.SIGKILL)
	r = s.start() // a start without room
	if code, body, err := r.post("after the kill"); err != nil || code != http.StatusServiceUnavailable {
		t.Fatalf("%d %s %v", code, body, err)
	}
	if code, body := r.get("/v1/status"); code != http.StatusOK {
		t.Fatalf("status: %d %s", code, body)
	}
	if err := os.Remove(ballast); err != nil { // room comes back
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		code, body, err := r.post("with room again")
		if err == nil && (code == http.StatusCreated || code == http.StatusOK) {
			acked["with room again"] = body
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after room came back: %d %s %v", code, body, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d: %s", code, r.log)
	}
	keys := s.inJournal()
	for key := range acked {
		if keys[key] != 1 {
			t.Fatalf("sale %s stands in the journal %d times", key, keys[key])
		}
	}
	if len(keys) != len(acked) {
		t.Errorf("%d sales in the journal, %d acknowledged", len(keys), len(acked))
	}
}

// TestSyncFails: when the device does not take a sale, nobody is told that it
// did, posd ends with its own code, and the next start has all that was told.
func TestSyncFails(t *testing.T) {
	s := newSite(t)
	s.configure(freeport.For(t), "T1")
	cmd := exec.Command(program(t, "posd"), "--config", s.conf)
	cmd.Env = append(os.Environ(), "POSD_PLANTED_BUG=sync-fails")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, addr: s.listen()}
	var acked []string
	deadline := time.Now().Add(time.Minute)
	for i := 0; time.Now().Before(deadline); i++ {
		key := fmt.Sprint("k", i)
		code, _, err := r.post(key)
		if err != nil && len(acked) == 0 {
			time.Sleep(5 * time.Millisecond) // not up yet
			continue
		}
		if err != nil || code >= 500 {
			break
		}
		acked = append(acked, key)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitSync {
		t.Fatalf("want exit %d, got %v: %s", exitSync, err, log.String())
	}
	if len(acked) == 0 || !strings.Contains(log.String(), "input/output error") {
		t.Fatalf("%d sales, log: %s", len(acked), log.String())
	}
	again := s.start()
	for _, key := range acked {
		if code, body, err := again.post(key); err != nil || code != http.StatusOK {
			t.Fatalf("%s was acknowledged and is gone: %d %s %v", key, code, body, err)
		}
	}
}

// TestReadOnlyStart: on a file system that the kernel has turned read-only, posd
// starts, says so, finds what was sold, and refuses to sell.
func TestReadOnlyStart(t *testing.T) {
	mnt := ext4(t, 36)
	s := newSiteIn(t, filepath.Join(mnt, "site"))
	r := s.start()
	_, sold := r.sell("k1")
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	if err := unix.Mount("", mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r = s.start()
	if code, body := r.sell("k2"); code != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("read-only")) {
		t.Errorf("selling: %d %s", code, body)
	}
	if code, body := r.sell("k1"); code != http.StatusOK || !bytes.Equal(body, sold) {
		t.Errorf("a call that was answered: %d %s", code, body)
	}
	if code, body := r.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := r.get("/v1/status"); code != http.StatusOK || !strings.Contains(body, `"read_only":true`) {
		t.Errorf("status: %d %s", code, body)
	}
	if code := r.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d: %s", code, r.log)
	}
}
