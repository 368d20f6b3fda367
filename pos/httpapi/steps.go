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

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// action is one thing that a front end may ask for by POST. Path has * where a name
// stands. Members are those of its body.
type action struct {
	path    string
	members string // separated by blanks; operator and reason are in all of them
	run     func(*Server, context.Context, *step) (register.Outcome, error)
}

// actions are all of them but the checkout.
var actions = []action{
	{"/v1/baskets", "name prices training", (*Server).openBasket},
	{"/v1/baskets/*", "customer note age discounts", (*Server).changeBasket},
	{"/v1/baskets/*/lines", "item description department tax unit quantity price amount note discounts return", (*Server).addLine},
	{"/v1/baskets/*/lines/*", "quantity price note discounts", (*Server).changeLine},
	{"/v1/baskets/*/lines/*/void", "", (*Server).voidLine},
	{"/v1/baskets/*/park", "name", (*Server).park},
	{"/v1/baskets/*/recall", "", (*Server).recall},
	{"/v1/baskets/*/void", "", (*Server).voidBasket},
	{"/v1/baskets/*/tenders", "kind amount reference", (*Server).addTender},
	{"/v1/baskets/*/tenders/*/reverse", "reference", (*Server).reverseTender},
	{"/v1/baskets/*/complete", "", (*Server).complete},
	{"/v1/sales/*/void", "tenders", (*Server).voidSale},
	{"/v1/shift/open", "float", (*Server).openShift},
	{"/v1/shift/close", "", (*Server).closeShift},
	{"/v1/shift/hand", "to", (*Server).handShift},
	{"/v1/cash/in", "amount", (*Server).moveCash},
	{"/v1/cash/out", "amount", (*Server).moveCash},
	{"/v1/cash/drop", "amount", (*Server).moveCash},
	{"/v1/cash/open", "", (*Server).moveCash},
	{"/v1/cash/declare", "amount counts", (*Server).moveCash},
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
	tender    pos.Tender
	tenders   []pos.Tender
	float     pos.Money
	amount    pos.Money
	counts    []event.Count
	to        string
}

// act answers a POST that is no checkout.
func (s *Server) act(w http.ResponseWriter, r *http.Request, front string) int {
	a, names := match(r.URL.Path)
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	x := s.exchange()
	defer s.done(x)
	key, release, bad := s.received(ctx, w, r, x, false)
	if bad != nil {
		return s.refused(w, bad)
	}
	defer release()
	defer selling(r)()
	p := &step{action: a, names: names}
	p.of = till.Step{Basket: names[0], Version: versionOf(r), Operator: s.o.Terminal.Operator}
	p.call = register.Call{Key: key, Hash: hashOf(r, p.of.Version, x.body.Bytes()), Front: front, Trace: traceOf(r)}
	if bad := x.dec.decodeStep(x.body.Bytes(), p); bad != nil {
		return s.refused(w, bad)
	}
	out, err := a.run(s, ctx, p)
	for errors.Is(err, register.ErrSettings) { // head office has just changed them
		out, err = a.run(s, ctx, p)
	}
	s.noSpace.Store(errors.Is(err, journal.ErrNoSpace))
	if err != nil {
		return s.refused(w, s.problemOf(err))
	}
	return s.answerStep(w, x, out)
}

// hashOf binds a key to what was asked: the path, the version seen, and the body.
func hashOf(r *http.Request, version string, body []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(r.URL.Path + "\n" + version + "\n"))
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// versionOf reads If-Match: a version as ETag gives it.
func versionOf(r *http.Request) string { return strings.Trim(r.Header.Get("If-Match"), `" `) }

// answerStep answers with the event, a sale's as a checkout is answered.
func (s *Server) answerStep(w http.ResponseWriter, x *exchange, out register.Outcome) int {
	h, data, err := event.Parse(out.Event)
	if err != nil {
		s.o.Log.Error("an event that was made cannot be read", "seq", out.Seq, "error", err)
		return s.refused(w, refuse("internal", "the event cannot be read, see posd's log"))
	}
	if h.Type == event.TypeSaleCompleted || h.Type == event.TypeTraining {
		x.out = append(appendPlace(x.out, out.Journal, out.Seq, ""), `,"sale":`...)
		x.out = append(append(x.out, data...), "}\n"...)
		return s.answerSale(w, x.out, register.Answer{Seq: out.Seq, Sale: event.SaleID(out.Journal, out.Seq), Replayed: out.Replayed})
	}
	x.out = append(appendPlace(x.out, out.Journal, out.Seq, h.Type), `,"data":`...)
	x.out = append(append(x.out, data...), "}\n"...)
	status := http.StatusCreated
	if out.Replayed {
		status = http.StatusOK
		w.Header().Set("Idempotency-Replayed", "true")
		s.meters.replays.Inc()
	}
	if e, err := event.ParseBasket(h.Type, data); err == nil && e.Version != "" {
		w.Header().Set("ETag", `"`+e.Version+`"`)
		w.Header().Set("Location", "/v1/baskets/"+e.Basket)
	}
	return writeJSON(w, status, x.out)
}

// appendPlace begins an answer with the place of its event.
func appendPlace(dst []byte, journal chain.ID, seq uint64, kind string) []byte {
	dst = hex.AppendEncode(append(dst, `{"event":{"journal":"`...), journal[:])
	dst = strconv.AppendUint(append(dst, `","seq":`...), seq, 10)
	if kind != "" {
		dst = event.AppendString(append(dst, `,"type":`...), kind)
	}
	return append(dst, '}')
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
			p.of.Operator = d.text(maxShort)
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
	case "customer":
		b.customer = d.clearable(maxCode)
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
	set := s.o.Register.Settings()
	var l pos.Line
	if bad := s.line(&l, &b.line, 0, set); bad != nil {
		bad.pointer = strings.TrimPrefix(bad.pointer, "/lines/0")
		bad.detail = strings.TrimPrefix(bad.detail, "line 1: ")
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
		if t.Settings != set {
			return nil, register.ErrSettings
		}
		return t.State.AddLine(p.of, t.Rules, l, b.line.minAge)
	})
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

// number reads the name of a line.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // which no line has
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
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		return t.State.ChangeLine(p.of, t.Rules, number(p.names[1]), c)
	})
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

func (s *Server) addTender(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		return t.State.AddTender(p.of, t.Rules, p.body.tender)
	})
}

func (s *Server) reverseTender(ctx context.Context, p *step) (register.Outcome, error) {
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		var learned *pos.Tender
		if p.body.given["reference"] {
			learned = &p.body.tender
		}
		return t.State.EndTender(p.of, t.Rules, p.names[1], event.TypeTenderReversed, learned)
	})
}

func (s *Server) complete(ctx context.Context, p *step) (register.Outcome, error) {
	if s.o.Selling != nil {
		s.o.Selling()
	}
	return s.o.Register.Complete(ctx, p.call, p.of)
}

func (s *Server) voidSale(ctx context.Context, p *step) (register.Outcome, error) {
	sale := p.of.Basket
	p.of.Basket = ""
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
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.HandShift(p.body.to))
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
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		if err := till.CheckCash(&e); err != nil {
			return nil, err
		}
		if err := t.Shift(e.Operator); err != nil {
			return nil, err
		}
		return register.Made(t.State.MoveCash(e))
	})
}
