package lab

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"posd/pos"
	"posd/pos/operator"
	"posd/pos/tradeday"
)

var whichDay = flag.String("day", "2017-12-23", `day of the real data, or "all"`)

// dataDir is where the real data is, or "".
func dataDir() string {
	dir := os.Getenv("POSD_DATA")
	if dir == "" {
		dir = "../../../shared/data/groceries"
	}
	if _, err := os.Stat(filepath.Join(dir, "transactions.csv.gz")); err != nil {
		return ""
	}
	return dir
}

// realOr are the real baskets, or drawn ones where the data is not here.
func realOr(t *testing.T, drawn int) iter.Seq2[tradeday.Basket, error] {
	if dir := dataDir(); dir != "" {
		return tradeday.Real(dir)
	}
	t.Logf("the real data is not here (set POSD_DATA to its folder): %d drawn baskets", drawn)
	return tradeday.Synthetic(1, drawn)
}

// TestRealDay sells a day of real baskets step by step: opened, scanned, some of them
// parked and taken up by the other operator, with lines and baskets that are voided,
// goods that come back, sales that are taken back, two shifts with their cash, a restart
// and a kill, by operators who sign in with PINs. X and Z reports must be what the input makes, summed up here.
func TestRealDay(t *testing.T) {
	d := newDay(t)
	d.operators()
	var baskets []tradeday.Basket
	for b, err := range realOr(t, 300) {
		if err != nil {
			t.Fatal(err)
		}
		if *whichDay == "all" || dataDir() == "" || b.Time.Format("2006-01-02") == *whichDay {
			baskets = append(baskets, b)
		}
	}
	if len(baskets) < 50 {
		t.Fatalf("%d baskets on %s", len(baskets), *whichDay)
	}
	for shift, half := range slices.Collect(slices.Chunk(baskets, (len(baskets)+1)/2)) {
		d.shift(shift, half)
	}
	t.Logf("%d baskets in %d calls; %v", len(baskets), d.calls, d.did)
	for _, what := range []string{"parked", "line voided", "basket voided", "returned", "sale voided"} {
		if d.did[what] == 0 {
			t.Errorf("%s: never", what)
		}
	}
}

type day struct {
	t     *testing.T
	term  *inside
	calls int
	did   map[string]int
	want  figures // what the input makes of this shift
	perp  int64
	back  int64
	model *shop // for its arithmetic

	sessions map[string]string // by operator
	op       string            // whose hands are on the till
}

// operators are given PINs, and sign in.
func (d *day) operators() {
	k := operator.NewKey()
	var list []operator.Entry
	for _, name := range []string{"7", "8"} {
		list = operator.Set(list, operator.Entry{Name: name, Role: "manager", Check: k.Check(name, []byte("4711"))}, time.Now())
	}
	all, err := operator.ParseGrants([]string{"*"})
	if err == nil {
		err = errors.Join(d.term.stop(), os.WriteFile(filepath.Join(d.term.dir, operator.File), operator.Format(list), 0o600),
			os.WriteFile(filepath.Join(d.term.dir, operator.KeyFile), k.Append(nil), 0o600))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.term.operators = operator.Rules{Roles: map[string]operator.Grants{"manager": all}, Idle: time.Hour, Attempts: 5}
	if err := d.term.start(); err != nil {
		d.t.Fatal(err)
	}
	d.signIn()
}

func (d *day) signIn() {
	d.sessions = map[string]string{}
	for _, name := range []string{"7", "8"} {
		a, err := d.term.do(call{method: "POST", path: "/v1/operators/sign-in", body: fmt.Sprintf(`{"operator":%q,"pin":"4711"}`, name)})
		var in struct{ Session string }
		if err != nil || json.Unmarshal(a.body, &in) != nil || in.Session == "" {
			d.t.Fatalf("%s signs in: %s %v", name, a.body, err)
		}
		d.sessions[name] = in.Session
	}
}

var named = regexp.MustCompile(`"operator":"(\d)"`)

func newDay(t *testing.T) *day {
	term, err := newInside(t.TempDir(), 1, false, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.stop() })
	return &day{t: t, term: term, did: map[string]int{}, model: newShop(1, false)}
}

// post makes a call that must be taken, and returns its event.
func (d *day) post(path, body string) *made {
	d.t.Helper()
	d.calls++
	if m := named.FindStringSubmatch(body); m != nil {
		d.op = m[1] // and goes on with what names nobody
	}
	a, err := d.term.do(call{method: "POST", path: path, body: body, key: fmt.Sprint("day-", d.calls), session: d.sessions[d.op]})
	if err != nil || a.status != 201 {
		d.t.Fatalf("%s %s: %d %s %v", path, body, a.status, a.body, err)
	}
	e, err := answered(a.body)
	if err != nil {
		d.t.Fatal(err)
	}
	return e
}

// shift sells some baskets between an opening and a Z report.
func (d *day) shift(number int, baskets []tradeday.Basket) {
	d.want = figures{totals: map[string]int64{"float": 20000, "in": 5000, "out": 1250, "dropped": 10000, "drawer_opened": 1, "perpetual": d.perp, "perpetual_refunds": d.back}}
	ops := []string{"7", "8"}
	d.post("/v1/shift/open", fmt.Sprintf(`{"operator":%q,"float":20000}`, ops[number%2]))
	d.post("/v1/cash/in", `{"amount":5000,"reason":"change"}`)
	d.post("/v1/cash/out", `{"amount":1250,"reason":"window cleaner"}`)
	d.post("/v1/cash/open", `{}`)
	for i := range baskets {
		d.sell(i, &baskets[i], ops[i%2], ops[(i+1)%2])
		switch i {
		case len(baskets) / 3:
			d.again(d.term.stop)
		case len(baskets) / 2:
			d.again(d.term.kill)
			d.post("/v1/shift/hand", fmt.Sprintf(`{"operator":%[1]q,"to":%[1]q}`, ops[(number+1)%2]))
		}
	}
	d.post("/v1/cash/drop", `{"amount":10000}`)
	drawer := d.want.totals["float"] + d.want.totals["cash"] + 5000 - 1250 - 10000
	a, err := d.term.do(call{method: "GET", path: "/v1/shift", session: d.sessions["8"]})
	var x struct {
		Drawer int64
		Totals totals
	}
	if err != nil || json.Unmarshal(a.body, &x) != nil || x.Drawer != drawer {
		d.t.Fatalf("X %s, %v; the drawer should hold %d", a.body, err, drawer)
	}
	d.same("X", x.Totals)
	d.post("/v1/cash/declare", fmt.Sprintf(`{"amount":%d}`, drawer-37))
	z := d.post("/v1/shift/close", `{"operator":"8"}`).shift
	if z.Z != uint64(number+1) || z.Expected != drawer || *z.Declared != drawer-37 {
		d.t.Errorf("Z %+v; expected should be %d", z, drawer)
	}
	d.same("Z", z.Totals)
	d.perp, d.back = d.want.totals["perpetual"], d.want.totals["perpetual_refunds"]
}

func (d *day) again(end func() error) {
	d.t.Helper()
	if err := end(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.term.start(); err != nil {
		d.t.Fatal(err)
	}
	d.signIn() // the end of posd signs everybody out
}

func (d *day) same(name string, got totals) {
	d.t.Helper()
	slices.SortFunc(got.taxes, func(a, b taxRow) int { return strings.Compare(a.Code, b.Code) })
	slices.SortFunc(d.want.taxes, func(a, b taxRow) int { return strings.Compare(a.Code, b.Code) })
	m := &shop{figures: d.want}
	if err := m.same(got); err != nil {
		d.t.Errorf("%s: %v", name, err)
	}
	if !reflect.DeepEqual(got.taxes, d.want.taxes) {
		d.t.Errorf("%s: taxes %+v, the input makes %+v", name, got.taxes, d.want.taxes)
	}
}

// sell sells one basket, by a rule of its number with something beside it.
func (d *day) sell(i int, b *tradeday.Basket, op, other string) {
	at := d.open(op)
	for k, l := range b.Lines {
		d.post(at+"/lines", lineRequest(&l))
		if k == 0 && i%7 == 3 { // a slip of the hand
			d.post(at+"/lines", `{"description":"twice","tax":"S","price":499}`)
			d.post(at+"/lines/2/void", `{"reason":"scanned twice"}`)
			d.count("line voided", "lines_voided", 1)
			d.want.totals["lines_voided_sum"] += 499
		}
		if k == 0 && i%5 == 2 { // the customer has forgotten something
			d.post(at+"/park", fmt.Sprintf(`{"operator":%q}`, op))
			d.post(at+"/recall", fmt.Sprintf(`{"operator":%q}`, other))
			d.did["parked"]++
		}
	}
	if i%11 == 5 { // somebody leaves without paying; another buys the same
		d.post(at+"/void", `{"reason":"left"}`)
		d.count("basket voided", "baskets_voided", 1)
		d.want.totals["baskets_voided_sum"] += int64(b.Totals.Total)
		at = d.open(other)
		for _, l := range b.Lines {
			d.post(at+"/lines", lineRequest(&l))
		}
	}
	for _, t := range b.Tenders {
		d.post(at+"/tenders", tenderRequest(t.Kind, int64(t.Amount), t.Reference))
	}
	e := d.post(at+"/complete", fmt.Sprintf(`{"operator":%q}`, op))
	lines := inputLines(b.Lines)
	sum, _ := d.model.sumsOf(lines, nil, false)
	if e.sale.Total != sum.total || e.sale.Operator != op {
		d.t.Errorf("basket %s: %d by %s, the input makes %d", b.ID, e.sale.Total, e.sale.Operator, sum.total)
	}
	kind := "cash"
	if len(b.Tenders) > 0 {
		kind = string(b.Tenders[0].Kind)
	}
	d.add(lines, kind)
	switch {
	case i%13 == 4:
		d.giveBack(e, lines, op)
	case i%17 == 6:
		d.post("/v1/sales/"+e.sale.Sale+"/void", `{"reason":"wrong customer"}`)
		d.count("sale voided", "post_voids", 1)
		d.comesBack(negative(lines), kind)
	}
}

func (d *day) open(op string) string {
	return "/v1/baskets/" + d.post("/v1/baskets", fmt.Sprintf(`{"operator":%q}`, op)).basket.Basket
}

// giveBack takes the first line back that has cost something, paid out in cash.
func (d *day) giveBack(e *made, lines []line, op string) {
	n := slices.IndexFunc(lines, func(l line) bool { return l.price > 0 && l.qty > 0 })
	if n < 0 {
		return
	}
	amount, _, _ := lines[n].own()
	at := d.open(op)
	d.post(at+"/lines", fmt.Sprintf(`{"quantity":%s,"reason":"sour","return":{"receipt":%q,"line":%d}}`, quantity(lines[n].qty), e.sale.Receipt, n+1))
	d.post(at+"/tenders", tenderRequest(pos.Cash, -amount, ""))
	d.post(at+"/complete", `{}`)
	d.did["returned"]++
	d.comesBack(negative(lines[n:n+1]), "cash")
}

func (d *day) comesBack(lines []line, kind string) {
	for _, l := range lines {
		d.want.totals["lines_returned"]++
		d.want.totals["lines_returned_sum"] -= l.price
	}
	d.add(lines, kind)
}

func (d *day) count(did, figure string, n int64) {
	d.did[did]++
	d.want.totals[figure] += n
}

// add puts a sale of the input into the figures: all that this till is told, summed by
// the model's arithmetic.
func (d *day) add(lines []line, kind string) {
	s, _ := d.model.sumsOf(lines, nil, false)
	t := d.want.totals
	t["sales"]++
	t["gross"] += s.total
	t["perpetual"] += s.total
	t[kind] += s.total
	if s.total < 0 {
		t["refunds"]++
		t["refunded"] -= s.total
		t["perpetual_refunds"] -= s.total
	}
	m := shop{figures: d.want}
	for _, row := range s.taxes {
		m.tax(row)
	}
	d.want.taxes = m.figures.taxes
}

func inputLines(from []pos.Line) (lines []line) {
	for _, l := range from {
		lines = append(lines, line{qty: int64(l.Qty), price: int64(l.Price), fixed: l.Fixed, tax: l.Tax})
	}
	return lines
}

func negative(lines []line) (list []line) {
	for _, l := range lines {
		amount, _, _ := l.own()
		list = append(list, line{qty: -l.qty, price: -amount, fixed: true, tax: l.tax})
	}
	return list
}

func lineRequest(l *pos.Line) string {
	price := member("price", int64(l.Price))
	if l.Fixed {
		price = member("amount", int64(l.Price))
	}
	return body(text("description", l.Description), text("department", l.Department), text("unit", l.Unit), text("tax", l.Tax), price, member("quantity", quantity(int64(l.Qty))))
}

func tenderRequest(kind pos.TenderKind, amount int64, reference string) string {
	return body(text("kind", string(kind)), member("amount", amount), text("reference", reference))
}

// TestRealMoney puts every real basket, its zero and huge quantities too, through the
// sums in all modes, with and without discounts, and compares them with the model's.
func TestRealMoney(t *testing.T) {
	n, compared := 0, 0
	for b, err := range realOr(t, 3000) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		for mode := range 16 {
			if err := sameMoney(b.Lines, mode, n); err != nil {
				t.Fatalf("basket %s, mode %d: %v", b.ID, mode, err)
			}
			compared++
		}
	}
	if t.Logf("%d baskets in %d sums", n, compared); dataDir() != "" && n != 47243 {
		t.Errorf("%d baskets", n)
	}
}

// sameMoney takes one basket's sums: exclusive, per line, with discounts, in coins, by
// the bits of mode.
func sameMoney(from []pos.Line, mode, n int) error {
	lines, mine := slices.Clone(from), inputLines(from)
	o := pos.ComputeOptions{Prices: pos.PriceMode(mode & 1), Rounding: pos.Rounding(mode >> 1 & 1)}
	m := newShop([]int64{1, 5}[mode>>3&1], mode>>1&1 == 1)
	var offs []off
	if mode>>2&1 == 1 {
		lines[0].Discounts, mine[0].offs = []pos.Discount{{Percent: 75000}}, []off{{percent: 75000}}
		offs = []off{{percent: int64(n%40) * 5000}, {percent: 1}}
		o.Discounts = []pos.Discount{{Percent: pos.Rate(n%40) * 5000}, {Percent: 1}}
	}
	got, err := pos.Compute(lines, o)
	want, ok := m.sumsOf(mine, offs, mode&1 == 1)
	if err != nil || !ok || int64(got.Total) != want.total {
		return fmt.Errorf("%+v, %v; the model has %+v", got, err, want)
	}
	var sum pos.Money
	for i, r := range got.Taxes {
		sum += r.Gross
		if w := want.taxes[i]; r.Net+r.Tax != r.Gross || int64(r.Net) != w.Net || int64(r.Tax) != w.Tax || r.Code != w.Code {
			return fmt.Errorf("row %+v, the model has %+v", r, w)
		}
	}
	for i, l := range lines {
		if int64(l.Amount) != want.amounts[i] {
			return fmt.Errorf("line %d is %d, the model has %d", i+1, l.Amount, want.amounts[i])
		}
	}
	paid := got.Total/5*5 + 10
	s, err := pos.CheckTenders(got.Total, []pos.Tender{{Kind: pos.Cash, Amount: paid}}, pos.Money(m.coin))
	change, rounding, code := settle(want.total, []tender{{kind: "cash", amount: int64(paid)}}, m.coin)
	if err != nil || code != "" || int64(s.Change) != change || int64(s.Rounding) != rounding || sum != got.Total || paid-s.Change != got.Total+s.Rounding {
		return fmt.Errorf("%+v, %v; the model has change %d, rounding %d, %s", s, err, change, rounding, code)
	}
	return nil
}
