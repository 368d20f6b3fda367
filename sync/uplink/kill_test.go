package uplink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"posd/sync/hub"
)

// TestMain can also be a hub, for a test that kills it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("UPLINK_TEST_HUB"); dir != "" {
		h, err := hub.Open(hub.Options{Dir: dir, NATSListen: os.Getenv("UPLINK_TEST_NATS"), Pulse: 50 * time.Millisecond})
		if err == nil {
			err = h.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestHubKilled kills the whole hub, NATS server and ledger, with SIGKILL at
// random moments while the till sells.
func TestHubKilled(t *testing.T) {
	s := newHub(t)
	s.start()
	s.close() // the tokens are there
	exe, err := os.Executable()
	must(t, err)
	var tills []*till
	for i := range 2 {
		tills = append(tills, newTill(t, fmt.Sprintf("t%d", i)).link(s.addr, s.tokenFile(), noBug))
	}
	for range cuts(t, 10) {
		c := exec.Command(exe)
		c.Env = append(os.Environ(), "UPLINK_TEST_HUB="+s.dir, "UPLINK_TEST_NATS="+s.addr)
		c.Stderr = os.Stderr
		must(t, c.Start())
		before := tills[0].u.Status().Parcels
		for _, tl := range tills {
			tl.sell(150, 300)
		}
		// Not before it has taken something in, else nothing was interrupted.
		eventually(t, "the hub takes parcels in", func() bool { return tills[0].u.Status().Parcels > before })
		for end := time.Now().Add(time.Duration(rand.IntN(60)) * time.Millisecond); time.Now().Before(end); {
			for _, tl := range tills {
				tl.sell(3, 100)
			}
		}
		must(t, c.Process.Kill())
		c.Wait() // "signal: killed"
	}
	s.start()
	for _, tl := range tills {
		tl.waitSettled()
		must(t, s.inLedger(tl))
		must(t, s.streamOnce(tl.j.ID(), tl.floor()))
		if st := tl.u.Status(); st.Holes != 0 || st.Fork != "" {
			t.Errorf("status %+v", st)
		}
	}
}
