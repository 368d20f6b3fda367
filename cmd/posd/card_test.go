package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"posd/pos/card/simulator"
)

// Where posd is killed, and what the payment terminal does meanwhile.
var (
	paySteps     = []string{"pending", "sent", "answered", "ended", "status-answered"}
	payModes     = []string{"approve", "decline", "offline", "offline-all", "hang", "act-hang", "late", "drop", "act-drop", "forget", "drop-forget", "other-amount", "garbage", "other", "slow"}
	payAgain     = []string{"", "ended", "status-answered", "", "sent"}
	reverseSteps = []string{"reversing", "sent", "reverse-answered", "ended"}
	reverseAgain = []string{"", "ended", "reverse-answered", "", "reversing", "sent"}
	reverseModes = []string{"approve", "hang", "act-hang", "late", "drop", "act-drop", "forget", "drop-forget", "garbage", "other", "keep"}
)

// TestCardSaga kills posd at each step of a card payment and of its reversal, in a
// binary whose memory goes with it as in a power cut, while the payment terminal breaks
// down in each way that it knows. Then the simulated acquirer's ledger is compared with
// posd's journal. Each planted bug must be seen.
func TestCardSaga(t *testing.T) {
	t.Parallel()
	t.Run("no bug", func(t *testing.T) {
		c := newCardRun(t, "")
		n := 0
		for _, s := range cardScenes(testing.Short()) {
			if err := c.play(s); err != nil {
				t.Fatalf("%+v: %v\n%s", s, err, c.log.String())
			}
			n++
		}
		if err := c.compare(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d scenes, %d kills where they were wanted, %d payments ended by hand, %d charges at the acquirer", n, c.kills, c.byHand, c.charges)
		if c.kills < n/3 || c.byHand == 0 {
			t.Error("too little happened to prove anything")
		}
	})
	for _, p := range []struct {
		bug   string
		scene cardScene
		says  string
	}{
		{"card-again", cardScene{step: "none", mode: "act-drop"}, "the acquirer has taken 2000 for the basket, 1000 counts"},
		{"card-declined", cardScene{step: "none", mode: "act-drop"}, "is declined, the acquirer has charged 1000"},
		{"card-restart", cardScene{step: "answered", mode: "approve"}, "is declined, the acquirer has charged 1000"},
		{"card-any-memory", cardScene{step: "none", mode: "forget"}, "is declined, the acquirer has charged 1000"},
		{"card-early", cardScene{step: "early", mode: "approve", cash: true}, "the acquirer has taken 1000 for the basket, 0 counts"},
		{"card-kept", cardScene{step: "none", mode: "keep", reverse: true}, "is reversed, the acquirer has charged 1000"},
	} {
		t.Run("planted "+p.bug, func(t *testing.T) {
			if err := newCardRun(t, "").play(p.scene); err != nil {
				t.Fatalf("without it: %v", err)
			}
			var err error
			for range 5 { // on a busy machine the question that is to go wrong may time out instead
				if err = newCardRun(t, p.bug).play(p.scene); err != nil && strings.Contains(err.Error(), p.says) {
					t.Log("seen:", err)
					return
				}
			}
			t.Fatalf("not seen: %v", err)
		})
	}
}

// cardScene is one payment. Cash: nobody sends the request again after the kill, the
// customer pays in cash.
type cardScene struct {
	step, mode    string
	again         string // where the life after the first kill is killed too
	reverse, cash bool
}

func cardScenes(short bool) (list []cardScene) {
	for i, mode := range payModes {
		for j, step := range paySteps {
			list = append(list, cardScene{step: step, mode: mode, cash: (i+j)%2 == 0, again: payAgain[(i+2*j)%len(payAgain)]})
		}
	}
	for i, mode := range reverseModes {
		for j, step := range reverseSteps {
			list = append(list, cardScene{step: step, mode: mode, reverse: true, again: reverseAgain[(i+2*j)%len(reverseAgain)]})
		}
	}
	if short {
		some := list[:0]
		for i, s := range list {
			if i%5 == 0 || strings.Contains(s.mode, "forget") && i%2 == 0 {
				some = append(some, s)
			}
		}
		list = some
	}
	return list
}

// cardRun is a terminal with a simulated payment terminal.
type cardRun struct {
	*killRun
	address, control       string // of the payment terminal
	ledger                 string
	card                   *exec.Cmd
	next                   int
	kills, byHand, charges int
}

func newCardRun(t *testing.T, bug string) *cardRun {
	t.Helper()
	c := &cardRun{killRun: newKillRun(t, bug)}
	c.ledger = filepath.Join(c.dir, "acquirer")
	if err := c.startCard("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.killCard)
	text, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf("[card]\naddress = %q\ntimeout = \"1s\"\noffline_sale = 1000\noffline_terminal = 100000\noffline_day = 100000\n", c.address)
	if err := os.WriteFile(c.config, append(text, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// startCard starts the payment terminal and its acquirer.
func (c *cardRun) startCard(address, control string) error {
	c.card = exec.Command(program(c.t, "poscard"), "-listen", address, "-control", strings.TrimPrefix(control, "http://"), "-ledger", c.ledger)
	out, err := c.card.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.card.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	words := strings.Fields(strings.ReplaceAll(line, ",", " "))
	if err != nil || len(words) < 12 {
		return fmt.Errorf("poscard says %q: %v", line, err)
	}
	c.address, c.control = words[5], words[11]
	return nil
}

func (c *cardRun) killCard() {
	c.card.Process.Kill()
	c.card.Wait()
}

// crashing starts a posd that kills itself at this step of a payment, if it is not "".
func (c *cardRun) crashing(step string) error { return c.start("POSD_CRASH_AT=card:" + step) }

// died says whether posd has killed itself.
func (c *cardRun) died() bool {
	select {
	case err := <-c.ended:
		c.ended <- err
		return true
	default:
		return false
	}
}

func (c *cardRun) set(mode string, times int) error {
	resp, err := http.Post(fmt.Sprintf("%s/mode/%s?times=%d", c.control, mode, times), "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

var errGone = errors.New("no answer")

// call makes one request and returns its status and body; errGone if posd is.
func (c *cardRun) call(method, path, key, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if method == "POST" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %v", errGone, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %v", errGone, err)
	}
	return resp.StatusCode, b, nil
}

// done makes a request that must go well, and returns the data of its event.
func (c *cardRun) done(path, body string) (data struct{ Basket string }, err error) {
	c.next++
	code, b, err := c.call("POST", path, fmt.Sprint("step-", c.next), body)
	if err != nil {
		return data, err
	}
	if code/100 != 2 {
		return data, fmt.Errorf("POST %s: %d %s", path, code, b)
	}
	var answer struct{ Data json.RawMessage }
	if err := json.Unmarshal(b, &answer); err != nil || answer.Data == nil {
		return data, err // a sale
	}
	return data, json.Unmarshal(answer.Data, &data)
}

// play is one scene, from the basket to the sale.
func (c *cardRun) play(s cardScene) error {
	err := c.scene(s)
	for tries := 0; errors.Is(err, errBusyMachine) && tries < 5; tries++ {
		c.kill()
		err = c.scene(s)
	}
	return err
}

func (c *cardRun) scene(s cardScene) error {
	first := s.step
	if s.reverse {
		first = "" // the payment is made in a life of its own
	}
	if err := c.crashing(first); err != nil {
		return err
	}
	basket, err := c.done("/v1/baskets", "{}")
	if err != nil {
		return err
	}
	b := "/v1/baskets/" + basket.Basket
	if _, err := c.done(b+"/lines", `{"description":"x","tax":"A","price":1000}`); err != nil {
		return err
	}
	if err := c.durable(); err != nil {
		return err
	}
	c.next++
	key, path, body := fmt.Sprint("card-", c.next), b+"/tenders", `{"kind":"card","amount":1000}`
	if s.reverse {
		if err := c.approved(b, s.step); err != nil {
			return err
		}
		path, body = b+"/tenders/1/reverse", `{"reason":"changed their mind"}`
	}
	if err := c.set(s.mode, 1); err != nil {
		return err
	}
	code, answer, err := c.call("POST", path, key, body)
	if err == nil && code != http.StatusAccepted {
		return fmt.Errorf("POST %s: %d %s", path, code, answer)
	}
	if err := c.await(b, true); err != nil {
		return err
	}
	if !c.died() { // what was shown need not be durable yet
		if err := c.durable(); err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	c.kill()
	if err := c.set("approve", -1); err != nil {
		return err
	}
	if s.again != "" {
		err := c.crashing(s.again)
		if c.died() { // before anybody could ask it
			c.kills++
		} else if err := errors.Join(err, c.await(b, true)); err != nil {
			return err
		}
		c.kill()
	}
	if err := c.start(); err != nil {
		return err
	}
	if !s.cash {
		if code, answer, err := c.call("POST", path, key, body); err != nil || code/100 != 2 {
			return fmt.Errorf("sent again: %d %s %v", code, answer, err)
		}
	}
	if err := c.await(b, false); err != nil {
		return err
	}
	if list, _, err := c.tenders(b); err != nil || len(list) > 1 {
		return fmt.Errorf("one payment was asked for, the basket has %d: %v", len(list), err)
	}
	if err := c.end(b, basket.Basket); err != nil {
		return err
	}
	c.kill()
	return nil
}

// durable has all that was recorded so far survive a kill: a line may be lost within two
// seconds, which is not what this test is about.
func (c *cardRun) durable() error {
	other, err := c.done("/v1/baskets", "{}")
	if err == nil {
		_, err = c.done("/v1/baskets/"+other.Basket+"/void", "{}")
	}
	return err
}

// approved has a payment made that is to be reversed in another life.
func (c *cardRun) approved(b, step string) error {
	if err := c.set("approve", -1); err != nil {
		return err
	}
	if _, err := c.done(b+"/tenders", `{"kind":"card","amount":1000}`); err != nil {
		return err
	}
	if err := c.await(b, false); err != nil {
		return err
	}
	if list, _, err := c.tenders(b); err != nil || len(list) != 1 || list[0].State != "approved" {
		return fmt.Errorf("%w: %+v %v", errBusyMachine, list, err)
	}
	if err := c.durable(); err != nil { // else the next life has to ask first what became of it
		return err
	}
	c.kill()
	return c.crashing(step)
}

// errBusyMachine: a payment that was to go well took longer than the second that posd
// waits here, and was found not to have been made.
var errBusyMachine = errors.New("the payment that is to be reversed was not made")

type cardTender struct {
	Tender struct {
		ID     string
		Amount int64
		Card   *struct{ Offline bool }
	}
	State string
}

func (c *cardRun) tenders(b string) (list []cardTender, due int64, err error) {
	code, body, err := c.call("GET", b, "", "")
	if err != nil || code != http.StatusOK {
		return nil, 0, errors.Join(err, fmt.Errorf("GET %s: %d %s", b, code, body))
	}
	var answer struct {
		Basket struct {
			Tenders []cardTender
			Due     int64
		}
	}
	err = json.Unmarshal(body, &answer)
	return answer.Basket.Tenders, answer.Basket.Due, err
}

// await returns when the basket's payment is known, or is one of those that only a
// person can tell; with mayDie also when posd has died.
func (c *cardRun) await(b string, mayDie bool) error {
	last := []byte(nil)
	for by := time.Now().Add(30 * time.Second); time.Now().Before(by); time.Sleep(5 * time.Millisecond) {
		if mayDie && c.died() {
			c.kills++
			return nil
		}
		code, body, err := c.call("GET", "/v1/status", "", "")
		if err != nil || code != http.StatusOK {
			continue
		}
		last = body
		var status struct {
			Card struct {
				Unsettled []struct {
					NeedsPerson bool `json:"needs_person"`
				}
			}
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return err
		}
		waits := false
		for _, open := range status.Card.Unsettled {
			waits = waits || !open.NeedsPerson
		}
		if !waits {
			return nil
		}
	}
	return fmt.Errorf("what became of the payment was not found out, nor shown, in 30 s: %s", last)
}

// end compares the basket with the acquirer's ledger and makes it a sale.
func (c *cardRun) end(b, id string) error { return c.endOf(b, id, 1000) }

func (c *cardRun) endOf(b, id string, total int64) error {
	tenders, _, err := c.tenders(b)
	if err != nil {
		return err
	}
	entries, err := simulator.ReadLedger(c.ledger)
	if err != nil {
		return err
	}
	sum, times := simulator.Balance(entries)
	taken, counted := int64(0), int64(0)
	for ref, n := range sum {
		if strings.HasPrefix(ref, id+"-") {
			taken += n
			c.charges += times[ref]
			if times[ref] > 1 {
				return fmt.Errorf("payment %s was charged %d times", ref, times[ref])
			}
		}
	}
	for _, t := range tenders {
		charged := sum[id+"-"+t.Tender.ID]
		switch t.State {
		case "approved":
			counted += t.Tender.Amount
			if t.Tender.Card == nil {
				return fmt.Errorf("tender %s is approved, and nothing is known of its card", t.Tender.ID)
			}
			if charged != t.Tender.Amount {
				return fmt.Errorf("tender %s is approved, the acquirer has %d of it", t.Tender.ID, charged)
			}
		case "declined", "reversed":
			if charged != 0 {
				return fmt.Errorf("tender %s is %s, the acquirer has charged %d", t.Tender.ID, t.State, charged)
			}
		case "unknown", "reversing":
			if err := c.resolve(b, t, charged); err != nil {
				return err
			}
			if charged != 0 {
				counted += t.Tender.Amount
			}
		default:
			return fmt.Errorf("tender %s is %s", t.Tender.ID, t.State)
		}
	}
	if taken != counted {
		return fmt.Errorf("the acquirer has taken %d for the basket, %d counts", taken, counted)
	}
	if counted != total {
		if _, err := c.done(b+"/tenders", fmt.Sprintf(`{"kind":"cash","amount":%d}`, total-counted)); err != nil {
			return err
		}
	}
	_, err = c.done(b+"/complete", "{}")
	return err
}

// resolve is the person who looks at the acquirer's report.
func (c *cardRun) resolve(b string, t cardTender, charged int64) error {
	c.next++
	code, body, err := c.call("POST", b+"/complete", fmt.Sprint("early-", c.next), "{}")
	if err != nil || code != http.StatusConflict {
		return fmt.Errorf("goods without a known payment: %d %s %v", code, body, err)
	}
	outcome := `"not-paid"`
	if charged != 0 {
		outcome = `"paid","reference":"report 7"`
	}
	_, err = c.done(b+"/tenders/"+t.Tender.ID+"/resolve", `{"reason":"looked at the acquirer's report","outcome":`+outcome+`}`)
	c.byHand++
	return err
}

// compare holds the whole journal against the whole ledger.
func (c *cardRun) compare() error {
	counts := map[string]int64{} // in sales, by reference
	sales := 0
	err := c.dumped(func(line []byte) error {
		var l struct {
			Event struct {
				Type string
				Data struct {
					Basket  string
					Total   int64
					Tenders []struct {
						ID, Kind string
						Amount   int64
					}
				}
			}
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if l.Event.Type != "sale.completed" {
			return nil
		}
		sales++
		paid := int64(0)
		for _, t := range l.Event.Data.Tenders {
			paid += t.Amount
			if t.Kind == "card" {
				counts[l.Event.Data.Basket+"-"+t.ID] += t.Amount
			}
		}
		if paid != l.Event.Data.Total {
			return fmt.Errorf("basket %s: %d paid for %d", l.Event.Data.Basket, paid, l.Event.Data.Total)
		}
		return nil
	})
	if err != nil {
		return err
	}
	entries, err := simulator.ReadLedger(c.ledger)
	if err != nil {
		return err
	}
	sum, _ := simulator.Balance(entries)
	for ref, n := range sum {
		if counts[ref] != n {
			return fmt.Errorf("payment %s: the acquirer has %d, sales have %d", ref, n, counts[ref])
		}
	}
	for ref, n := range counts {
		if sum[ref] != n {
			return fmt.Errorf("payment %s: sales have %d, the acquirer %d", ref, n, sum[ref])
		}
	}
	if sales == 0 {
		return errors.New("no sale was made")
	}
	return nil
}

// TestCardStorm makes payments, reversals and refunds while both sides are killed at
// random moments and the payment terminal is in a random mode; then it compares as
// TestCardSaga does. CARD_ROUNDS sets how many baskets (25), LAB_SEED repeats a run, as
// far as the processes' own time lets it.
func TestCardStorm(t *testing.T) {
	t.Parallel()
	rounds, seed := 25, uint64(time.Now().UnixNano())
	for name, set := range map[string]func(int){
		"CARD_ROUNDS": func(n int) { rounds = n },
		"LAB_SEED":    func(n int) { seed = uint64(n) },
	} {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(name, err)
			}
			set(n)
		}
	}
	t.Log("seed", seed)
	c := newCardRun(t, "")
	rng := rand.New(rand.NewPCG(seed, 1))
	for n := range rounds {
		if err := c.storm(rng); err != nil {
			t.Fatalf("basket %d: %v\n%s", n, err, c.log.String())
		}
	}
	if err := c.compare(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d baskets, %d kills, %d payments ended by hand, %d charges and refunds at the acquirer", rounds, c.kills, c.byHand, c.charges)
}

// storm is one basket.
func (c *cardRun) storm(rng *rand.Rand) error {
	c.log.Reset()
	if err := errors.Join(c.set("approve", -1), c.start()); err != nil {
		return err
	}
	basket, err := c.done("/v1/baskets", "{}")
	if err != nil {
		return err
	}
	b, sign := "/v1/baskets/"+basket.Basket, int64(1)
	line := `{"description":"x","tax":"A","price":1000}`
	if rng.IntN(4) == 0 {
		line, sign = `{"description":"x","tax":"A","price":1000,"return":{},"reason":"sour"}`, -1
	}
	if _, err := c.done(b+"/lines", line); err != nil {
		return err
	}
	if err := c.durable(); err != nil {
		return err
	}
	for range 1 + rng.IntN(4) {
		if err := c.gust(rng, b, sign); err != nil {
			return err
		}
	}
	c.kill()
	c.killCard()
	if err := errors.Join(c.startCard(c.address, c.control), c.start(), c.await(b, false)); err != nil {
		return err
	}
	err = c.endOf(b, basket.Basket, sign*1000)
	c.kill()
	return err
}

// gust asks for something in a mode, and kills one side or both meanwhile, or none.
func (c *cardRun) gust(rng *rand.Rand, b string, sign int64) error {
	modes := slices.Concat(payModes, reverseModes, []string{"offline", "offline-drop", "offline-drop"})
	if err := c.set(modes[rng.IntN(len(modes))], 1+rng.IntN(2)); err != nil {
		return err
	}
	c.next++
	key, path, body := fmt.Sprint("card-", c.next), b+"/tenders", fmt.Sprintf(`{"kind":"card","amount":%d}`, sign*(100+rng.Int64N(400)))
	if rng.IntN(3) == 0 {
		path, body = fmt.Sprintf("%s/tenders/%d/reverse", b, 1+rng.IntN(3)), `{"reason":"r"}`
	}
	kill, delay := rng.IntN(4), time.Duration(rng.IntN(40))*time.Millisecond
	called := make(chan error, 1)
	go func() {
		code, answer, err := c.call("POST", path, key, body)
		if err == nil && code/100 == 5 && code != http.StatusServiceUnavailable {
			err = fmt.Errorf("POST %s: %d %s", path, code, answer)
		}
		called <- err
	}()
	if kill > 0 {
		time.Sleep(delay)
	}
	if kill&1 != 0 {
		c.kill()
		c.kills++
	}
	if kill&2 != 0 {
		c.killCard()
		c.kills++
	}
	if err := <-called; err != nil && !errors.Is(err, errGone) {
		return err
	}
	if kill&2 != 0 {
		if err := c.startCard(c.address, c.control); err != nil {
			return err
		}
	}
	if kill&1 != 0 {
		if err := c.start(); err != nil {
			return err
		}
	}
	if rng.IntN(2) == 0 { // what was not answered is sent again
		if code, answer, err := c.call("POST", path, key, body); err != nil || code/100 == 5 && code != http.StatusServiceUnavailable {
			return fmt.Errorf("sent again: %d %s %v", code, answer, err)
		}
	}
	return c.await(b, false)
}
