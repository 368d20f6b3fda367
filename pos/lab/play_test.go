package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// player plays one shop: commands on a terminal, beside the model and the auditor.
type player struct {
	t     terminal
	m     *shop
	a     *audit
	rng   *rand.Rand
	steps int
	key   int

	log      map[uint64][32]byte // data of each event that was answered
	last     uint64              // of them
	durable  uint64              // last record that an answer promised
	soon     []unsynced          // steps behind it, which a kill may take
	seen     uint64              // last record that the auditor has taken
	sums     map[uint64][32]byte // of those
	done     []doneCall
	versions []version // that windows have seen
	counts   map[string]int
	trail    []string
	kills    int // of a thousand steps
	rests    int // of ten thousand
}

// unsynced is a step that a kill may take, and what was before it.
type unsynced struct {
	seq    uint64
	before snapshot
	done   int // len(player.done) before it
}

type doneCall struct {
	c      call
	body   []byte
	kind   string
	basket string
}

type version struct{ basket, version string }

func newPlayer(t terminal, m *shop, rng *rand.Rand) *player {
	m.saw(t.wall()) // its start
	return &player{kills: 10, rests: 5, t: t, m: m, a: newAudit(m.coin), rng: rng, log: map[uint64][32]byte{}, sums: map[uint64][32]byte{}, counts: map[string]int{}}
}

// play takes n steps, ends what is open, and then looks at everything once more.
func (p *player) play(n int) error {
	for p.steps = 1; p.steps <= n; p.steps++ {
		if err := p.step(); err != nil {
			return p.failed(err)
		}
	}
	p.m.look(p.t.wall())
	p.m.up = p.t.uptime()
	for len(p.m.baskets) > 0 {
		if err := p.end(p.m.baskets[0].id); err != nil {
			return p.failed(err)
		}
	}
	if err := p.restart(false); err != nil {
		return p.failed(err)
	}
	return nil
}

// end ends a basket, whatever was paid: the rest is paid in cash and it is completed, or
// all is taken back and it is void.
func (p *player) end(id string) error {
	b := p.m.find(id)
	to := func(path, members string, j judge) error {
		return p.run(call{path: "/v1/baskets/" + id + path, body: body(members)}, j)
	}
	if b.parked {
		if err := to("/recall", "", p.m.recall(id, "")); err != nil {
			return err
		}
	}
	s, _ := p.m.sumsOf(b.lines, b.offs, b.exclusive)
	if _, _, code := settle(s.total, b.approved(), p.m.coin); b.counting() && code != "" && len(b.tenders) < 20 {
		t := tender{kind: "cash", amount: s.total - b.paid()}
		t.amount += toCoin(t.amount, p.m.coin)
		pay := p.m.addTender(id, "", t)
		refused, _ := pay()
		if err := to("/tenders", t.request(), pay); err != nil {
			return err
		}
		b = p.m.find(id)
		if _, _, code := settle(s.total, b.approved(), p.m.coin); code != "" && refused != "return-invalid" { // which came back meanwhile
			return fmt.Errorf("basket %s cannot be paid: %s, total %d, tenders %+v", id, code, s.total, b.tenders)
		}
	}
	if b.counting() {
		if err := to("", member("age", 30), p.m.changeBasket(id, "", nil, nil, new(30), nil)); err != nil {
			return err
		}
		if err := to("/complete", text("operator", "7"), p.m.complete(id, "", "7")); err != nil || p.m.find(id) == nil {
			return err
		}
	}
	p.counts["taken back"]++
	for _, t := range b.approved() {
		if err := to("/tenders/"+t.id+"/reverse", "", p.m.reverse(id, "", t.id)); err != nil {
			return err
		}
	}
	if err := to("/void", "", p.m.voidBasket(id, "")); err != nil {
		return err
	}
	if p.m.find(id) != nil {
		return fmt.Errorf("basket %s cannot be ended", id)
	}
	return nil
}

func (p *player) failed(err error) error {
	return fmt.Errorf("step %d: %w\nthe last calls:\n%s", p.steps, err, strings.Join(p.trail[max(0, len(p.trail)-12):], "\n"))
}

func (p *player) note(format string, args ...any) {
	p.trail = append(p.trail, fmt.Sprintf(format, args...))
}

func (p *player) step() error {
	p.m.look(p.t.wall())
	p.m.up = p.t.uptime()
	if p.rng.IntN(10_000) < p.rests {
		return p.rest()
	}
	switch n := p.rng.IntN(1000) - p.kills; {
	case n < 0:
		return p.restart(true)
	case n < 6:
		return p.restart(false)
	case n < 14:
		if p.rng.IntN(4) == 0 {
			p.t.back(time.Duration(p.rng.IntN(40*60)) * time.Minute)
			p.counts["clock set back"]++
			return nil
		}
		p.t.pass(time.Duration(p.rng.IntN(20*60)) * time.Minute)
		return nil
	case n < 80:
		return p.repeat()
	case n < 100:
		return p.look()
	}
	c, j := p.command()
	return p.run(c, j)
}

// run makes a call that is new and compares.
func (p *player) run(c call, j judge) error {
	p.key++
	c.method, c.key = "POST", fmt.Sprintf("key-%d", p.key)
	code, does := j()
	p.note("%s %s %s %s, the model says %q", c.key, c.path, c.match, c.body, code)
	a, err := p.t.do(c)
	if err != nil {
		return err
	}
	p.note("  %d %s", a.status, a.body)
	if a.slug != code {
		return fmt.Errorf("%s: refused with %q, the model with %q\n%s", c.path, a.slug, code, a.body)
	}
	if code != "" {
		p.counts["refused "+code]++
		return nil
	}
	if a.status != 201 || a.replayed {
		return fmt.Errorf("%s: a new call was answered with %d, replayed %v", c.path, a.status, a.replayed)
	}
	return p.took(c, does, a.body)
}

// took has the model do what was answered.
func (p *player) took(c call, does effect, body []byte) error {
	e, err := answered(body)
	if err != nil {
		return err
	}
	p.counts[e.kind]++
	if isSoon(e.kind) {
		p.soon = append(p.soon, unsynced{e.seq, p.m.snapshot(), len(p.done)})
	}
	if err := does(e); err != nil {
		return err
	}
	p.m.saw(p.t.wall())
	if !isSoon(e.kind) {
		p.durable, p.soon = e.seq, nil
	}
	p.log[e.seq] = sha256.Sum256(e.raw)
	p.last = e.seq
	b := p.m.find(e.basket.Basket)
	if b != nil {
		b.keys = append(b.keys, c.key)
		p.versions = append(p.versions, version{b.id, b.version})
	}
	p.done = append(p.done, doneCall{c, body, e.kind, e.basket.Basket})
	if b != nil && p.rng.IntN(4) == 0 {
		return p.lookAt(b)
	}
	if e.sale.Sale != "" || p.rng.IntN(20) == 0 {
		return p.report()
	}
	return nil
}

// isSoon: these become durable within two seconds, all else before it is answered.
func isSoon(kind string) bool {
	return strings.HasPrefix(kind, "line.") || kind == "basket.changed" || kind == "basket.recalled"
}

// repeat sends an earlier call again: the same bytes, or others under its key.
func (p *player) repeat() error {
	if len(p.done) == 0 {
		return nil
	}
	d := p.done[len(p.done)-1-p.rng.IntN(min(len(p.done), 1+p.rng.IntN(100)))]
	want, code := p.remembered(&d)
	if !want && code == "" {
		return nil // it could be a new call
	}
	c := d.c
	if other := want && p.rng.IntN(4) == 0; other {
		c.body = strings.TrimSuffix(c.body, "}") + " }"
		code = "idempotency-key-reused"
	}
	p.note("%s %s again: %s", c.key, c.path, c.body)
	a, err := p.t.do(c)
	if err != nil {
		return err
	}
	p.note("  %d %s", a.status, a.body)
	p.counts["repeated"]++
	switch {
	case !want && a.status == 200 && a.replayed && bytes.Equal(a.body, d.body):
		// a key may be remembered for longer than it has to
	case a.slug != code:
		return fmt.Errorf("repeated %s: %q, the model says %q\n%s", c.path, a.slug, code, a.body)
	case code == "" && (a.status != 200 || !a.replayed || !bytes.Equal(a.body, d.body)):
		return fmt.Errorf("repeated %s: %d, replayed %v\n%s\nbut was\n%s", c.path, a.status, a.replayed, a.body, d.body)
	}
	return nil
}

// remembered says whether a repeated call is answered as it was, or with which refusal.
// A basket remembers the keys of its last eight steps; all other keys live as long as
// their records.
func (p *player) remembered(d *doneCall) (yes bool, code string) {
	step := strings.HasPrefix(d.kind, "line.") || strings.HasPrefix(d.kind, "tender.") || strings.HasPrefix(d.kind, "basket.") && d.kind != "basket.voided"
	if !step {
		return true, ""
	}
	b := p.m.find(d.basket)
	switch {
	case b == nil && d.kind != "basket.opened":
		return false, "basket-not-found"
	case b == nil:
		return false, ""
	}
	return slices.Contains(b.keys[max(0, len(b.keys)-8):], d.c.key), ""
}

// restart stops the terminal, or kills it, with a call on the way sometimes, and
// compares all that there is afterwards.
func (p *player) restart(kill bool) error {
	var pending call
	var j judge
	if kill && p.rng.IntN(2) == 0 { // its answer does not arrive
		for range 6 {
			pending, j = p.command()
			if code, _ := j(); code == "" {
				break // one that does something
			}
		}
		p.key++
		pending.method, pending.key = "POST", fmt.Sprintf("key-%d", p.key)
		p.note("%s %s %s %s, and no answer", pending.key, pending.path, pending.match, pending.body)
		if err := p.t.unheard(pending); err != nil {
			return err
		}
	}
	p.note("kill %v", kill)
	end := p.t.stop
	if kill {
		end = p.t.kill
	}
	if err := end(); err != nil {
		return err
	}
	p.counts[map[bool]string{true: "kills", false: "restarts"}[kill]]++
	if err := p.survived(kill, pending, j); err != nil {
		return err
	}
	if err := p.t.start(); err != nil {
		return fmt.Errorf("start after kill %v: %w", kill, err)
	}
	p.m.saw(p.t.wall())
	p.m.look(p.t.wall())
	p.m.scan, p.m.scans = scan{}, nil
	if j != nil {
		if err := p.again(pending, j); err != nil {
			return err
		}
	}
	return p.look()
}

// survived reads the journal as it is after the end, lets the auditor see what is new,
// and takes back in the model what a kill was allowed to take.
func (p *player) survived(kill bool, pending call, j judge) error {
	var last uint64
	var unanswered *made
	var rolled []*made // shifts that a call has begun and ended before it was killed
	err := p.t.records(func(seq uint64, payload []byte) error {
		if seq != last+1 {
			return fmt.Errorf("record %d follows %d", seq, last)
		}
		last = seq
		sum := sha256.Sum256(payload)
		if seq <= p.seen {
			if p.sums[seq] != sum {
				return fmt.Errorf("record %d has changed", seq)
			}
			return nil
		}
		p.sums[seq], p.seen = sum, seq
		if payload == nil {
			return nil
		}
		e, err := recorded(seq, payload)
		if err != nil {
			return err
		}
		if want, known := p.log[seq]; known && want != sha256.Sum256(e.raw) {
			return fmt.Errorf("record %d is not what was answered", seq)
		}
		if pending.key != "" && e.key == pending.key {
			unanswered = e
		}
		if seq > p.last && e.key == "" && e.shift.Implicit {
			rolled = append(rolled, e)
		}
		return p.a.see(e)
	})
	switch {
	case err != nil:
		return err
	case last < p.durable:
		return fmt.Errorf("record %d was acknowledged, the journal ends with %d", p.durable, last)
	case last < p.seen:
		return fmt.Errorf("record %d was durable, the journal ends with %d", p.seen, last)
	case !kill && len(p.soon) > 0 && last < p.soon[len(p.soon)-1].seq:
		return fmt.Errorf("an orderly stop lost record %d", p.soon[len(p.soon)-1].seq)
	}
	p.forget(last)
	for _, e := range rolled {
		if unanswered == nil {
			p.m.rolled(e)
		}
	}
	if unanswered != nil { // it took effect, though nobody was told
		code, does := j()
		if code != "" {
			return fmt.Errorf("%s took effect, the model refuses it with %q", pending.path, code)
		}
		if err := does(unanswered); err != nil {
			return err
		}
		p.m.saw(p.t.wall())
		p.log[unanswered.seq] = sha256.Sum256(unanswered.raw)
		p.last = unanswered.seq
		if b := p.m.find(unanswered.basket.Basket); b != nil {
			b.keys = append(b.keys, pending.key)
		}
		p.counts["unanswered"]++
	}
	return nil
}

// forget takes back the steps behind the last record that is left.
func (p *player) forget(last uint64) {
	for i, s := range p.soon {
		if s.seq > last {
			p.m.restore(s.before)
			for _, gone := range p.soon[i:] {
				delete(p.log, gone.seq)
			}
			p.counts["lost soon"] += len(p.soon) - i
			p.done = p.done[:s.done]
			p.note("steps from record %d on are lost", s.seq)
			break
		}
	}
	p.soon, p.durable = nil, max(p.durable, last)
}

// again repeats the call whose answer did not arrive.
func (p *player) again(c call, j judge) error {
	a, err := p.t.do(c)
	if err != nil {
		return err
	}
	p.note("%s again\n  %d %s", c.key, a.status, a.body)
	if a.status == 200 {
		e, err := answered(a.body)
		if err != nil {
			return err
		}
		if want, known := p.log[e.seq]; !known || want != sha256.Sum256(e.raw) {
			return fmt.Errorf("repeated %s names record %d, which is none of its own", c.path, e.seq)
		}
		return nil
	}
	if _, took := p.a.keys[c.key]; took {
		return fmt.Errorf("%s took effect before the kill, its repetition is answered with %d %s", c.path, a.status, a.body)
	}
	code, does := j()
	if a.slug != code {
		return fmt.Errorf("%s: refused with %q, the model with %q", c.path, a.slug, code)
	}
	if code != "" {
		return nil
	}
	return p.took(c, does, a.body)
}

// rest waits until the last steps have become durable by themselves.
func (p *player) rest() error {
	if len(p.soon) == 0 {
		return nil
	}
	want := p.soon[len(p.soon)-1].seq
	p.note("rest until record %d is durable", want)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		a, err := p.t.do(call{method: "GET", path: "/v1/status"})
		if err != nil {
			return err
		}
		var s struct{ Journal struct{ Floor uint64 } }
		if err := json.Unmarshal(a.body, &s); err != nil {
			return fmt.Errorf("%w: %s", err, a.body)
		}
		if s.Journal.Floor >= want {
			p.durable, p.soon = max(p.durable, want), nil
			p.counts["rests"]++
			return nil
		}
	}
	return fmt.Errorf("record %d does not become durable by itself", want)
}

// look compares all baskets and the X report.
func (p *player) look() error {
	a, err := p.t.do(call{method: "GET", path: "/v1/baskets"})
	if err != nil {
		return err
	}
	var list struct{ Baskets []struct{ Basket string } }
	if err := json.Unmarshal(a.body, &list); err != nil {
		return err
	}
	if len(list.Baskets) != len(p.m.baskets) {
		return fmt.Errorf("%d baskets, the model has %d: %s", len(list.Baskets), len(p.m.baskets), a.body)
	}
	for _, b := range p.m.baskets {
		if err := p.lookAt(b); err != nil {
			return err
		}
	}
	return p.report()
}

// report compares the X report.
func (p *player) report() error {
	a, err := p.t.do(call{method: "GET", path: "/v1/shift"})
	if err != nil {
		return err
	}
	var x struct {
		Shift, Last    uint64
		Z              uint64 `json:"last_z"`
		Open, Implicit bool
		Operator       string
		Date           string `json:"business_date"`
		Drawer         int64
		Declared       *int64
		Totals         totals
	}
	if err := json.Unmarshal(a.body, &x); err != nil {
		return fmt.Errorf("%w: %s", err, a.body)
	}
	m := p.m
	if x.Shift != m.shift || x.Z != m.z || x.Open != m.open || x.Implicit != m.implicit || x.Operator != m.operator || x.Date != m.date || x.Drawer != m.drawer() || (x.Declared != nil) != m.counted {
		return fmt.Errorf("X report %s\nthe model has shift %d, Z %d, open %v, implicit %v, operator %q, date %s, drawer %d", a.body, m.shift, m.z, m.open, m.implicit, m.operator, m.date, m.drawer())
	}
	return m.same(x.Totals)
}

// lookAt compares a whole basket.
func (p *player) lookAt(b *basket) error {
	a, err := p.t.do(call{method: "GET", path: "/v1/baskets/" + b.id})
	if err != nil {
		return err
	}
	var got struct {
		Basket struct {
			Version, Name, Prices, Customer, Note string
			Parked, Training                      bool
			Age, Last                             int
			Lines                                 []struct{ Line lineData }
			Discounts                             []offData
			Tenders                               []struct {
				Tender tenderData
				State  string
			}
			Total, Due int64
		}
		Taxes []taxRow
	}
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
		return fmt.Errorf("basket %s: %d %w: %s", b.id, a.status, err, a.body)
	}
	d, s := &got.Basket, sums{}
	s, _ = p.m.sumsOf(b.lines, b.offs, b.exclusive)
	bad := d.Version != b.version || d.Name != b.name || (d.Prices == "exclusive") != b.exclusive || d.Customer != b.customer || d.Note != b.note ||
		d.Parked != b.parked || d.Training != b.training || d.Age != b.age || d.Last != b.last || len(d.Lines) != len(b.lines) || len(d.Tenders) != len(b.tenders) ||
		d.Total != s.total || d.Due != s.total-b.paid() || !slices.Equal(got.Taxes, s.taxes) || len(d.Discounts) != len(b.offs)
	if bad {
		return fmt.Errorf("basket %s\nthe model has %+v, sums %+v", a.body, *b, s)
	}
	for i := range d.Lines {
		if err := b.lines[i].is(&d.Lines[i].Line); err != nil {
			return err
		}
	}
	for i, t := range d.Tenders {
		if w := b.tenders[i]; t.Tender != (tenderData{w.id, w.kind, w.ref, w.amount}) || t.State != w.state {
			return fmt.Errorf("tender %+v, the model has %+v", t, w)
		}
	}
	return nil
}
