package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/register"
	"posd/pos/till"
)

// action is one thing that a front end may ask for by POST. Path has * where a name
// stands. Needs is the permission it asks for; what a body asks for beside it,
// [step.wants] tells. Members are those of its body.
type action struct {
	path    string
	needs   operator.Permission
	members string // separated by blanks; operator and reason are in all of them
	run     func(*Server, context.Context, *step) (register.Outcome, error)
}

// actions are all of them but the checkout.
var actions = []action{
	{"/v1/baskets", operator.Sale, "name prices training", (*Server).openBasket},
	{"/v1/baskets/*", operator.Sale, "customer note age discounts", (*Server).changeBasket},
	{"/v1/baskets/*/lines", operator.Sale, "item description department tax unit quantity price amount note discounts return again", (*Server).addLine},
	{"/v1/baskets/*/lines/*", operator.Sale, "quantity price note discounts", (*Server).changeLine},
	{"/v1/baskets/*/lines/*/void", operator.LineVoid, "", (*Server).voidLine},
	{"/v1/baskets/*/park", operator.Sale, "name", (*Server).park},
	{"/v1/baskets/*/recall", operator.Sale, "", (*Server).recall},
	{"/v1/baskets/*/void", operator.BasketVoid, "", (*Server).voidBasket},
	{"/v1/baskets/*/tenders", operator.Sale, "kind amount reference", (*Server).addTender},
	{"/v1/baskets/*/tenders/*/reverse", operator.TenderReverse, "reference", (*Server).reverseTender},
	{"/v1/baskets/*/tenders/*/resolve", operator.CardResolve, "outcome reference amount", (*Server).resolveTender},
	{"/v1/baskets/*/complete", operator.Sale, "print", (*Server).complete},
	{"/v1/sales/*/void", operator.SaleVoid, "tenders print", (*Server).voidSale},
	{"/v1/sales/*/paper", operator.Sale, "as columns", (*Server).giveReceipt}, // a copy: ReceiptCopy
	{"/v1/reports/*/paper", operator.ShiftReport, "", (*Server).printReport},
	{"/v1/shift/paper", operator.ShiftReport, "blind", (*Server).printShift},
	{"/v1/cash/*/paper", operator.Sale, "", (*Server).printSlip},
	{"/v1/shift/open", operator.ShiftOpen, "float", (*Server).openShift},
	{"/v1/shift/close", operator.ShiftClose, "", (*Server).closeShift},
	{"/v1/shift/hand", operator.ShiftHand, "to", (*Server).handShift},
	{"/v1/cash/in", operator.CashIn, "amount", (*Server).moveCash},
	{"/v1/cash/out", operator.CashOut, "amount", (*Server).moveCash},
	{"/v1/cash/drop", operator.CashDrop, "amount", (*Server).moveCash},
	{"/v1/cash/open", operator.DrawerOpen, "", (*Server).moveCash},
	{"/v1/cash/declare", operator.CashDeclare, "amount counts", (*Server).moveCash},
	{unlockPath, operator.OperatorUnlock, "", (*Server).unlock},
	{"/v1/card/forwarded", operator.CardResolve, "amount", (*Server).writeOff},
}

// match returns the action of a path and what stands in the places of its names.
func match(path string) (*action, [2]string) {
	for i := range actions {
		if names, ok := matches(actions[i].path, path); ok {
			return &actions[i], names
		}
	}
	return nil, [2]string{}
}

func matches(pattern, path string) (names [2]string, ok bool) {
	n := 0
	for pattern != "" && path != "" {
		want, rest, _ := strings.Cut(pattern[1:], "/")
		got, left, _ := strings.Cut(path[1:], "/")
		switch {
		case want == "*" && got != "" && n < len(names):
			names[n] = got
			n++
		case want != got:
			return names, false
		}
		if pattern = ""; rest != "" {
			pattern = "/" + rest
		}
		if path = strings.TrimPrefix(path[1:], got); left == "" && path != "" {
			return names, false // a slash at the end
		}
	}
	return names, pattern == "" && path == ""
}

// step is one request for an action.
type step struct {
	action *action
	names  [2]string
	call   register.Call
	of     till.Step
	body   stepBody
	came   time.Duration // by Register.Uptime
	named  string        // operator, by the body
	slip   bool          // a card payment is typed that the till's payment terminal would tell
	blind  bool          // who makes it may not see what should be in the drawer

	paper func(x *exchange, out register.Outcome) *problem // appends what was printed to the answer
	until context.Context                                  // how long the front end waits for the paper; nil: not at all
	place func()                                           // gives back the place among large requests that the step has; nil: it has none
	keeps bool                                             // that place, until its answer is made
	may   func() *problem                                  // of what makes no event
}

// stepBody is what the bodies of all actions may hold. Which of it a body does hold is
// the action's to say.
type stepBody struct {
	given     map[string]bool
	name      string
	prices    string
	training  bool
	customer  string
	note      string
	age       int
	discounts []pos.Discount
	line      requestLine
	back      register.Goods
	again     bool
	tender    pos.Tender
	tenders   []pos.Tender
	float     pos.Money
	amount    pos.Money
	counts    []event.Count
	to        string
	outcome   string
	print     bool
	blind     bool
	as        string
	columns   int
}

// act answers a POST that is no checkout.
func (s *Server) act(w http.ResponseWriter, r *http.Request, front string) int {
	came := s.o.Register.Uptime()
	a, names := match(r.URL.Path)
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	x := s.exchange()
	defer s.done(x)
	key, release, bad := s.received(ctx, w, r, x, false)
	if bad != nil {
		return s.refused(w, bad)
	}
	p := &step{action: a, names: names, came: came}
	if p.place = sync.OnceFunc(release); !x.large {
		p.place = nil
	}
	defer p.leave()
	done := sync.OnceFunc(selling(r))
	defer done()
	p.of = till.Step{Basket: names[0], Version: versionOf(r), Operator: s.o.Terminal.Operator}
	if strings.HasPrefix(a.path, basketsPath+"/") {
		p.of.Operator = "" // the basket's
	}
	p.call = register.Call{Key: key, Hash: hashOf(r, p.of.Version, x.body.Bytes()), Front: front, Trace: traceOf(r)}
	if bad := x.dec.decodeStep(x.body.Bytes(), p); bad != nil {
		return s.refused(w, bad)
	}
	c, bad := s.stepCaller(r, p)
	if bad != nil {
		return s.refused(w, bad)
	}
	out, err := a.run(s, ctx, p)
	for errors.Is(err, register.ErrSettings) { // head office has just changed them, or a day has begun
		out, err = a.run(s, ctx, p)
	}
	s.noSpace.Store(errors.Is(err, journal.ErrNoSpace))
	if err != nil {
		bad = s.became(ctx, s.problemOf(err), p.of.Basket)
		c.release(bad)
		return s.refused(w, bad)
	}
	c.spend()
	if waitOf(r) > 0 { // for a customer, or a printer: it may be cut for a sale
		if !p.keeps {
			p.leave()
		}
		done()
	}
	if p.paper != nil {
		return s.answerPaper(w, r, x, out, p)
	}
	return s.answerStep(w, x, s.settled(w, r, out))
}

// enter takes a place among large requests for what the step is going to read or make,
// unless its body has one: two that wait for a second place would wait for each other.
func (p *step) enter(ctx context.Context, take func(context.Context) (func(), *problem)) *problem {
	if p.place != nil {
		return nil
	}
	release, bad := take(ctx)
	if bad == nil {
		p.place = sync.OnceFunc(release)
	}
	return bad
}

// leave gives the place back.
func (p *step) leave() {
	if p.place != nil {
		p.place()
	}
}

// returning takes a place where the sales have to be read of which the basket gives
// something back. Memory that is short is no reason to keep a basket from ending.
func (s *Server) returning(ctx context.Context, p *step) *problem {
	gives := false
	s.o.Register.Look(func(t *till.State) {
		b := t.Find(p.of.Basket)
		gives = b != nil && len(b.Returns()) > 0
	})
	if !gives {
		return nil
	}
	return p.enter(ctx, s.seat)
}

// hashOf binds a key to what was asked: the path, the version seen, and the body.
func hashOf(r *http.Request, version string, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(r.URL.Path + "\n" + version + "\n"))
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// versionOf reads If-Match: a version as ETag gives it. An empty one is none that a basket
// has: whoever has lost it must not go on as if nothing had been asked.
func versionOf(r *http.Request) string {
	v := strings.Trim(r.Header.Get("If-Match"), `" `)
	if v == "" && r.Header["If-Match"] != nil {
		return "none"
	}
	return v
}

// answerStep answers with the event, a sale's as a checkout is answered.
func (s *Server) answerStep(w http.ResponseWriter, x *exchange, out register.Outcome) int {
	kind, data, bad := s.made(out)
	if bad != nil {
		return s.refused(w, bad)
	}
	x.out = append(appendMade(x.out, out.Journal, out.Seq, kind, data), "}\n"...)
	if isSale(kind) {
		return s.answerSale(w, x.out, register.Answer{Seq: out.Seq, Sale: event.SaleID(out.Journal, out.Seq), Replayed: out.Replayed})
	}
	status := http.StatusCreated
	if out.Replayed {
		status = s.replayed(w)
	}
	if kind == event.TypeTenderPending || kind == event.TypeTenderReversing { // the basket tells how it ends
		status = http.StatusAccepted
	}
	if basket, version, ok := event.PeekBasket(data); ok && len(version) > 0 {
		w.Header().Set("ETag", `"`+string(version)+`"`)
		w.Header().Set("Location", "/v1/baskets/"+string(basket))
	}
	return writeJSON(w, status, x.out)
}

// made returns the type and the data of an event that was just made, or in a call before.
func (s *Server) made(out register.Outcome) (kind string, data []byte, bad *problem) {
	e, err := event.Peek(out.Event)
	if err != nil {
		s.o.Log.Error("an event that was made cannot be read", "seq", out.Seq, "error", err)
		return "", nil, refuse("internal", "the event cannot be read, see posd's log")
	}
	return string(e.Type), e.Data, nil
}

func isSale(kind string) bool {
	return kind == event.TypeSaleCompleted || kind == event.TypeTraining
}

// appendMade begins an answer with the place and the data of its event.
func appendMade(dst []byte, journal chain.ID, seq uint64, kind string, data []byte) []byte {
	dst = hex.AppendEncode(append(dst, `{"event":{"journal":"`...), journal[:])
	dst = strconv.AppendUint(append(dst, `","seq":`...), seq, 10)
	if isSale(kind) {
		dst = append(dst, `},"sale":`...)
	} else {
		dst = append(event.AppendString(append(dst, `,"type":`...), kind), `},"data":`...)
	}
	return append(dst, data...)
}

// decodeStep fills p from body; an empty body is an empty object.
func (d *decoder) decodeStep(body []byte, p *step) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	p.body.given = map[string]bool{}
	return d.document(body, func(name []byte) bool {
		known := string(name)
		p.body.given[known] = true
		switch known {
		case "operator":
			p.named = d.text(maxShort)
			p.of.Operator = p.named
			return true
		case "reason":
			p.of.Reason = d.text(maxText)
			return true
		}
		for word := range strings.FieldsSeq(p.action.members) {
			if word == known {
				return d.stepMember(p, known)
			}
		}
		return false
	})
}

func (d *decoder) stepMember(p *step, name string) bool {
	b := &p.body
	switch name {
	case "name":
		b.name = d.text(maxCode)
	case "prices":
		b.prices = d.text(maxShort)
	case "training":
		b.training = d.flag()
	case "again":
		b.again = d.flag()
	case "customer":
		b.customer = d.noCard(d.clearable(maxCode))
	case "note":
		b.note = d.clearable(maxText)
	case "age":
		b.age = d.count(150)
	case "discounts":
		b.discounts = d.discounts()
	case "return":
		d.object(func(name []byte) bool { return d.back(&b.back, name) })
	case "kind":
		b.tender.Kind = tenderKind(d.raw('"', maxShort))
	case "amount":
		if p.action.path == "/v1/baskets/*/lines" {
			return d.line(&b.line, []byte(name))
		}
		b.amount = d.signed()
		b.tender.Amount = b.amount
	case "reference":
		b.tender.Reference = d.text(maxCode)
	case "tenders":
		b.tenders = d.tenders(nil, (*decoder).signed)
	case "float":
		b.float = d.money()
	case "counts":
		d.array(func() {
			if len(b.counts) == maxCounts {
				d.fail("value-invalid", "there are no more than "+strconv.Itoa(maxCounts)+" coins and notes")
				return
			}
			b.counts = append(b.counts, d.counted())
		})
	case "to":
		b.to = d.text(maxShort)
	case "outcome":
		b.outcome = d.text(maxShort)
	case "print":
		b.print = d.flag()
	case "blind":
		b.blind = d.flag()
	case "as":
		b.as = d.text(maxShort)
	case "columns":
		b.columns = d.count(mostColumns)
	default:
		return d.line(&b.line, []byte(name))
	}
	return true
}

const (
	maxCounts    = 40
	maxDiscounts = 10
)

func (d *decoder) back(g *register.Goods, name []byte) bool {
	switch string(name) {
	case "sale":
		g.Sale = d.text(maxText)
	case "receipt":
		g.Receipt = d.text(maxText)
	case "line":
		g.Line = d.count(till.MostLines)
	default:
		return false
	}
	return true
}

func (d *decoder) discounts() (list []pos.Discount) {
	list = []pos.Discount{}
	d.array(func() {
		if len(list) == maxDiscounts {
			d.fail("discount-invalid", "a line, and a sale, has at most "+strconv.Itoa(maxDiscounts)+" discounts")
			return
		}
		var off pos.Discount
		amount := false
		d.object(func(name []byte) bool {
			switch string(name) {
			case "percent":
				off.Percent = d.percent()
			case "amount":
				off.Amount, amount = d.money(), true
			case "reason":
				off.Reason = d.text(maxText)
			default:
				return false
			}
			return true
		})
		if d.bad == nil && amount == (off.Percent != 0) {
			d.fail("discount-invalid", "give either percent, above \"0\", or amount")
		}
		list = append(list, off)
	})
	return list
}

// percent reads a decimal string.
func (d *decoder) percent() pos.Rate {
	v := d.raw('"', maxShort)
	if d.bad != nil {
		return 0
	}
	rate, err := pos.ParseRate(string(v))
	if err != nil || rate > 1_000_000 {
		d.fail("discount-invalid", "percent is a decimal string from \"0\" to \"100\", such as \"7.5\"")
	}
	return rate
}

func (d *decoder) counted() (c event.Count) {
	d.object(func(name []byte) bool {
		switch string(name) {
		case "value":
			c.Value = d.money()
		case "pieces":
			c.Pieces = d.count(1_000_000)
		default:
			return false
		}
		return true
	})
	return c
}

func (s *Server) do(ctx context.Context, p *step, d register.Decision) (register.Outcome, error) {
	return s.o.Register.Do(ctx, p.call, d)
}

// basket has the loop take a step of a basket.
func (s *Server) basket(ctx context.Context, p *step, d func(t *register.Turn) (*event.Basket, error)) (register.Outcome, error) {
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) { return register.Made(d(t)) })
}

func (s *Server) openBasket(ctx context.Context, p *step) (register.Outcome, error) {
	prices := s.o.Register.Settings().Prices
	if p.body.prices != "" {
		var err error
		if prices, err = pos.ParsePriceMode(p.body.prices); err != nil {
			return register.Outcome{}, refuse("value-invalid", err.Error()).at("/prices")
		}
	}
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		return t.State.Open(p.of, t.Rules, p.body.name, prices, p.body.training, t.Now)
	})
}

func (s *Server) changeBasket(ctx context.Context, p *step) (register.Outcome, error) {
	b := &p.body
	var a till.About
	if b.given["customer"] {
		a.Customer = &b.customer
	}
	if b.given["note"] {
		a.Note = &b.note
	}
	if b.given["age"] {
		a.Age = &b.age
	}
	if b.given["discounts"] {
		a.Discounts = &b.discounts
	}
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) { return t.State.ChangeBasket(p.of, t.Rules, a) })
}

func (s *Server) addLine(ctx context.Context, p *step) (register.Outcome, error) {
	b := &p.body
	if g := b.back; g.Sale != "" || g.Receipt != "" && g.Line > 0 {
		if g.Qty = b.line.qty; !b.line.counted {
			g.Qty = 1000
		}
		return s.o.Register.AddReturn(ctx, p.call, p.of, g)
	}
	if b.given["return"] {
		if err := s.blind(ctx, p); err != nil {
			return s.do(ctx, p, func(*register.Turn) (register.Appender, error) { return nil, err })
		}
	}
	b.line.back = b.given["return"]
	set := s.terms()
	var l pos.Line
	if bad := s.line(&l, &b.line, 0, &set); bad != nil {
		bad.pointer = strings.TrimPrefix(bad.pointer, "/lines/0")
		bad.detail = strings.TrimPrefix(bad.detail, "line 1: ")
		if said, numbered := strings.CutPrefix(bad.detail, "line 1 "); numbered { // it has no number yet
			bad.detail = "the line " + said
		}
		// A repeated call is answered as the first one was, whatever the catalogue says now.
		return s.do(ctx, p, func(*register.Turn) (register.Appender, error) { return nil, bad })
	}
	l.Note, l.Discounts = b.note, b.discounts
	if b.given["return"] { // of another till's receipt, or of none
		l.Return = &pos.Return{Receipt: b.back.Receipt, Reason: p.of.Reason}
		l.Qty = -l.Qty
		if l.Fixed {
			l.Price = -l.Price
		}
	}
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		if !set.hold(t) {
			return nil, register.ErrSettings
		}
		if n, again := t.Scanned(p.of.Basket, p.scanned(), p.came); again && !b.again {
			return t.State.Repeated(p.of, t.Rules, n)
		}
		return t.State.AddLine(p.of, t.Rules, l, b.line.minAge)
	})
}

// scanned is the code of a body that says nothing else, as a scanner's does; empty: it is
// none.
func (p *step) scanned() string {
	for name := range p.body.given {
		if name != "item" && name != "operator" && name != "again" {
			return ""
		}
	}
	return p.body.line.item
}

// blind refuses goods without their sale where that is known here, and without a reason.
func (s *Server) blind(ctx context.Context, p *step) error {
	if p.of.Reason == "" {
		return refuse("return-invalid", "goods that come back without their sale need a reason").at("/reason")
	}
	if p.body.back.Receipt == "" {
		return nil
	}
	sold, err := s.o.Register.Sold(ctx, "", p.body.back.Receipt)
	switch {
	case errors.Is(err, register.ErrNoSale):
		return nil
	case err != nil:
		return err
	}
	return refuse("return-invalid", "receipt "+p.body.back.Receipt+" is of this till, which knows its "+strconv.Itoa(len(sold.Sale.Lines))+" lines; name the line that comes back").at("/return/line")
}

// number reads what a path or a query counts, as it is printed: 1, but neither 01 nor +1,
// so that a line has one name; 0 is none.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(n) != s {
		return 0
	}
	return n
}

func (s *Server) changeLine(ctx context.Context, p *step) (register.Outcome, error) {
	b := &p.body
	var c till.Change
	if b.line.counted {
		c.Qty = &b.line.qty
	}
	if b.line.priced {
		c.Price = &b.line.price
	}
	if b.given["discounts"] {
		c.Discounts = &b.discounts
	}
	if b.given["note"] {
		c.Note = &b.note
	}
	bad := s.takesNot(p)
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		e, err := t.State.ChangeLine(p.of, t.Rules, number(p.names[1]), c)
		if err == nil && bad != nil {
			return nil, bad
		}
		return e, err
	})
}

// takesNot refuses a quantity with more decimals than the line's item is sold with, and
// another one than its label says; what the catalogue does not have any more may have any.
func (s *Server) takesNot(p *step) (bad *problem) {
	if !p.body.line.counted {
		return nil
	}
	var l pos.Line
	qty := p.body.line.qty
	s.o.Register.Look(func(t *till.State) {
		if b := t.Find(p.of.Basket); b != nil {
			for i := range b.Lines {
				if b.Lines[i].N == number(p.names[1]) {
					l = b.Lines[i].Line
				}
			}
		}
	})
	if l.Item == "" || qty == l.Qty {
		return nil
	}
	if set := s.terms(); l.Code != "" {
		if f, bad := s.scan(l.Code, &set); bad == nil && f.fills() {
			return refuse(till.CodeLabel, "the label of "+strconv.Quote(l.Item)+" says how much it is; add another piece by scanning it, or void the line").at("/quantity")
		}
	}
	item, ok, err := s.o.Catalogue.Lookup(l.Item)
	if err != nil || !ok || item.Takes(qty) {
		return nil
	}
	return refuse(till.CodeQuantity, "item "+strconv.Quote(l.Item)+" is sold with at most "+strconv.Itoa(int(item.Decimals))+" decimals, not "+qty.String()).at("/quantity")
}

func (s *Server) voidLine(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		return t.State.VoidLine(p.of, t.Rules, number(p.names[1]))
	})
}

func (s *Server) park(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) { return t.State.Park(p.of, t.Rules, p.body.name) })
}

func (s *Server) recall(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) { return t.State.Recall(p.of, t.Rules) })
}

func (s *Server) voidBasket(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) { return t.State.Void(p.of, t.Rules) })
}

func (s *Server) complete(ctx context.Context, p *step) (register.Outcome, error) {
	if s.o.Selling != nil {
		s.o.Selling()
	}
	if bad := s.returning(ctx, p); bad != nil {
		return register.Outcome{}, bad
	}
	p.of.Print = s.prints(p.body.given["print"], p.body.print)
	return s.o.Register.Complete(ctx, p.call, p.of)
}

func (s *Server) voidSale(ctx context.Context, p *step) (register.Outcome, error) {
	sale := p.of.Basket
	p.of.Basket = ""
	p.of.Print = s.prints(p.body.given["print"], p.body.print)
	return s.o.Register.VoidSale(ctx, p.call, p.of, sale, p.body.tenders)
}

func (s *Server) openShift(ctx context.Context, p *step) (register.Outcome, error) {
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.OpenShift(p.of.Operator, t.Date, t.Currency, p.body.float))
	})
}

func (s *Server) closeShift(ctx context.Context, p *step) (register.Outcome, error) {
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.CloseShift(p.of.Operator, p.of.Approved))
	})
}

func (s *Server) handShift(ctx context.Context, p *step) (register.Outcome, error) {
	if p.body.to == "" {
		return register.Outcome{}, refuse("value-invalid", "say to whom").at("/to")
	}
	on := s.desk.Book().On()
	_, known := s.desk.Book().Find(p.body.to)
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		e, err := t.State.HandShift(p.body.to)
		if on && err == nil {
			if !known {
				return nil, refuse("operator-not-found", "there is no operator "+strconv.Quote(p.body.to)).at("/to")
			}
			e.Operator = p.of.Operator
		}
		return register.Made(e, err)
	})
}

// cashTypes are the events of the last words of the paths.
var cashTypes = map[string]string{
	"in": event.TypeCashIn, "out": event.TypeCashOut, "drop": event.TypeCashDropped, "open": event.TypeDrawerOpened, "declare": event.TypeCashDeclared,
}

func (s *Server) moveCash(ctx context.Context, p *step) (register.Outcome, error) {
	e := event.Cash{
		Type:     cashTypes[p.action.path[strings.LastIndexByte(p.action.path, '/')+1:]],
		Operator: p.of.Operator, Approved: p.of.Approved, Reason: p.of.Reason, Amount: p.body.amount, Counts: p.body.counts,
	}
	if e.Type == event.TypeCashDeclared && !p.body.given["amount"] { // nothing said is not nothing there
		return register.Outcome{}, refuse("value-invalid", "say what was counted; an empty drawer is amount 0").at("/amount")
	}
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		if err := till.CheckCash(&e); err != nil {
			return nil, err
		}
		if err := t.Begun(e.Operator); err != nil {
			return nil, err
		}
		return register.Made(t.State.MoveCash(e, p.blind))
	})
}
