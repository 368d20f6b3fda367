package httpapi

import (
	"math/bits"
	"net/http"
	"slices"
	"strings"

	"posd/pos"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/register"
	"posd/pos/till"
)

// Headers of a terminal whose operators sign in.
const (
	sessionHeader  = "Posd-Session"
	approvalHeader = "Posd-Approval"
)

// want is a permission that a call asks for, and how far it has to reach: minor units,
// or a pos.Rate.
type want struct {
	operator.Permission
	amount int64
}

// caller is who makes a call, where operators sign in.
type caller struct {
	s        *Server
	on       bool // whether they do
	front    string
	name     string
	grants   operator.Grants
	role     string
	approval string // that the call brings; empty: none
	call     string // its key and its hash: an approval is for one call; empty: it takes none

	to string // who takes the shift over, and has to approve that; empty: nobody else does

	by     string          // who gave that approval, once it is claimed
	theirs operator.Grants // what it allows
}

// caller finds the operator of a request's session. A call that does something renews it.
func (s *Server) caller(r *http.Request, front, call string, renew bool) (c caller, bad *problem) {
	c = caller{s: s, front: front, call: call}
	if !s.desk.Book().On() {
		return c, nil
	}
	c.on = true
	token := r.Header.Get(sessionHeader)
	if token == "" {
		return c, refuse("session-required", "the operators of this terminal sign in: POST /v1/operators/sign-in, then send its session as "+sessionHeader+"; a repeated call keeps its key")
	}
	rules := s.operatorRules()
	e, _, err := s.desk.Who(rules, front, token, renew)
	if err != nil {
		return c, refuse("session-required", err.Error()+"; sign in again, then repeat the call with the same key")
	}
	c.name, c.role, c.grants = e.Name, e.Role, rules.Roles[e.Role]
	c.approval = r.Header.Get(approvalHeader)
	return c, nil
}

func (s *Server) operatorRules() *operator.Rules { return &s.o.Register.Settings().Operators }

// may refuses a request that reads what the operator may not see. An approval is spent
// by it.
func (s *Server) may(r *http.Request, front string, p operator.Permission) *problem {
	return s.mayCall(r, front, "", p)
}

// mayCall is the same for a call that is none of the actions and that takes effect once.
func (s *Server) mayCall(r *http.Request, front, call string, p operator.Permission) *problem {
	c, bad := s.caller(r, front, call+"\x00"+r.URL.Path, call != "")
	if bad != nil || !c.on {
		return bad
	}
	if _, bad = c.permit([]want{{p, 0}}); bad == nil && call == "" && c.by != "" {
		s.desk.Spend(c.approval)
	}
	return bad
}

// callOf names a call by its key and what it asks for.
func callOf(key string, hash [32]byte) string { return key + "\x00" + string(hash[:]) }

// is refuses a body that names somebody else.
func (c *caller) is(named string) *problem {
	if named != "" && named != c.name {
		return refuse("other-operator", "the session is operator "+c.name+"'s; leave operator out, or let the other one sign in").at("/operator")
	}
	return nil
}

// permit says who approved what the operator may not do alone, empty if nobody had to.
func (c *caller) permit(list []want) (approved string, bad *problem) {
	missing := slices.DeleteFunc(list, func(w want) bool {
		return c.grants.Allow(w.Permission, w.amount) && (c.to == "" || w.Permission != operator.ShiftHand)
	})
	if len(missing) == 0 {
		return c.by, nil
	}
	if c.approval != "" && c.by == "" && c.call != "" {
		by, g, err := c.s.desk.Claim(c.front, c.name, c.approval, c.call)
		if err != nil {
			return "", c.lacks(missing, err.Error())
		}
		c.by, c.theirs = by, g
	}
	for _, w := range missing {
		if c.by == "" || c.to != "" && c.by != c.to || !c.theirs.Allow(w.Permission, w.amount) {
			return "", c.lacks(missing, "")
		}
	}
	return c.by, nil
}

// lacks names what is missing, as it is asked for in an approval.
func (c *caller) lacks(missing []want, why string) *problem {
	var words []string
	for _, w := range missing {
		if !slices.Contains(words, string(w.Permission)) {
			words = append(words, string(w.Permission))
		}
	}
	all := strings.Join(words, " ")
	detail := "role " + c.role + " does not allow " + all
	if len(missing) == 1 {
		if g, ok := c.grants.Of(missing[0].Permission); ok {
			detail = "role " + c.role + " allows no more than " + g.String()
		}
	}
	if c.to != "" {
		detail = c.to + " takes the shift over, and has to approve " + all
	} else if c.by != "" {
		detail += ", nor does " + c.by + "'s approval reach so far"
	} else if why != "" {
		detail += "; " + why
	}
	p := refuse("permission-required", detail+"; an operator who may can approve it: POST /v1/operators/approve")
	p.permission = all
	return p
}

// release gives an approval back, unless its call may have come to something.
func (c *caller) release(why *problem) {
	switch why.kind.slug {
	case "outcome-unknown", "journal-failed", "internal":
		return
	}
	if c.by != "" {
		c.s.desk.Release(c.approval, c.call)
	}
}

// spend takes away an approval whose call has been made. The key of a basket's step is
// forgotten one day, and the same call would be another one then.
func (c *caller) spend() {
	if c.by != "" {
		c.s.desk.Spend(c.approval)
	}
}

// allow is the register's question before and behind the decision about a step.
func (c *caller) allow(p *step) func(*register.Turn, register.Appender) error {
	if !c.on {
		return nil
	}
	return func(t *register.Turn, e register.Appender) error {
		if p.body.given["operator"] {
			if bad := c.is(p.named); bad != nil {
				return bad
			}
		}
		if h, ok := e.(*event.ShiftHanded); ok && h.To != c.name {
			c.to = h.To
		}
		by, bad := c.permit(p.wants(t, e))
		if bad != nil {
			return bad
		}
		setApproved(e, by)
		return nil
	}
}

// stepCaller finds out who makes a step, and has the register ask whether they may.
func (s *Server) stepCaller(r *http.Request, p *step) (c *caller, bad *problem) {
	found, bad := caller{s: s}, (*problem)(nil)
	if p.action.path == unlockPath && p.call.Front == posctlFront && r.Header.Get(sessionHeader) == "" {
		p.of.Operator = posctlFront
	} else if found, bad = s.caller(r, p.call.Front, callOf(p.call.Key, p.call.Hash), true); found.on && bad == nil {
		p.of.Operator = found.name
	}
	p.blind = found.on && !found.grants.Allow(operator.ShiftReport, 0)
	p.call.Allow = found.allow(p)
	p.slip = s.slip(&p.body.tender) || s.slips(p.body.tenders)
	p.may = func() *problem {
		if !found.on {
			return nil
		}
		bad := found.is(p.named)
		if bad == nil {
			_, bad = found.permit([]want{{p.action.needs, 0}})
		}
		return bad
	}
	return &found, bad
}

// setApproved names the second operator in an event.
func setApproved(e register.Appender, by string) {
	if by == "" {
		return
	}
	switch e := e.(type) {
	case *event.Basket:
		e.Approved = by
		if e.Type == event.TypeLineAdded || e.Type == event.TypeLineChanged {
			e.Line.Approved = by
		}
	case *event.SaleCompleted:
		e.Approved = by
	case *event.Cash:
		e.Approved = by
	case *event.ShiftOpened:
		e.Approved = by
	case *event.ShiftClosed:
		e.Approved = by
	case *event.ShiftHanded:
		e.Approved = by
	case *event.Operator:
		if e.Type == event.TypeOperatorUnlocked { // who did it stands there
			e.For = e.Approved
		}
		e.Approved = by
	case *event.CardForwarded:
		e.Approved = by
	}
}

// wants are the permissions that a step asks for. e is what it comes to, nil before that
// is known: then limits that depend on it are not looked at.
func (p *step) wants(t *register.Turn, e register.Appender) []want {
	b := t.State.Find(p.names[0])
	switch {
	case p.body.training, b != nil && b.Training:
		return []want{{operator.Training, 0}} // nothing of it is real
	}
	w := want{p.action.needs, 0}
	if w.Permission == "" {
		w.Permission = "(" + operator.Permission(p.action.path) + ")" // that a later release may name: "*" alone has it
	}
	list := []want{w}
	if t.Other > 0 {
		list = also(list, operator.ReturnOther, int64(t.Other))
	}
	switch p.action.path {
	case "/v1/baskets":
		if p.body.prices != "" && p.body.prices != t.Settings.Prices.String() {
			list = also(list, operator.PriceChange, 0)
		}
	case "/v1/baskets/*/tenders":
		if p.slip {
			list = also(list, operator.CardResolve, 0)
		}
	case "/v1/shift/hand":
		if e, ok := e.(*event.ShiftHanded); ok && e.From != e.Operator {
			list = append(list, want{operator.ShiftClose, 0})
		}
	case "/v1/cash/in", "/v1/cash/out", "/v1/cash/drop":
		list[0].amount = int64(p.body.amount)
	case "/v1/baskets/*/tenders/*/reverse":
		if list[0].amount = tenderAmount(b, p.names[1]); b != nil && b.Waits(p.names[1]) {
			list[0] = want{operator.Sale, 0} // no money is known to have been taken: a customer changes their mind
		}
	case "/v1/sales/*/paper":
		if e, ok := e.(*event.Operator); ok && e.Type == event.TypeReceiptCopied {
			list[0].Permission = operator.ReceiptCopy
		}
	case "/v1/sales/*/void":
		if p.slip {
			list = also(list, operator.CardResolve, 0)
		}
		if e, ok := e.(*event.SaleCompleted); ok {
			list[0].amount = magnitude(e.Total)
			if !t.Gave(e.VoidOf) {
				list = also(list, operator.ReturnBlind, list[0].amount)
			}
		}
	case "/v1/baskets/*", "/v1/baskets/*/lines", "/v1/baskets/*/lines/*", "/v1/baskets/*/lines/*/void":
		list = p.ofBasket(list, b, e, t)
	}
	return list
}

// also asks for one more.
func also(list []want, p operator.Permission, amount int64) []want {
	return append(list, want{p, amount})
}

func tenderAmount(b *till.Basket, id string) int64 {
	if b != nil {
		if t := b.Tender(id); t != nil {
			return magnitude(t.Amount)
		}
	}
	return 0
}

func magnitude(m pos.Money) int64 {
	if m < 0 {
		return int64(-m)
	}
	return int64(m)
}

// ofBasket is what a change of lines and discounts asks for.
func (p *step) ofBasket(list []want, b *till.Basket, a register.Appender, t *register.Turn) []want {
	e, _ := a.(*event.Basket)
	body := &p.body
	if p.action.path == "/v1/baskets/*/lines" {
		if body.given["return"] {
			return append(list, returned(b, e, t, body.back.Sale != "" || body.back.Receipt != "" && body.back.Line > 0))
		}
		list = body.line.wants(list)
	}
	if p.action.path == "/v1/baskets/*/lines/*" {
		if body.line.priced {
			list = append(list, want{operator.PriceChange, 0})
		}
		if body.line.counted && fewer(b, number(p.names[1]), body.line.qty) {
			list = append(list, want{operator.LineVoid, 0})
		}
		if q, _ := grows(b, e); q { // a price that somebody allowed is for so many
			if e.Line.Changed {
				list = append(list, want{operator.PriceChange, 0})
			}
			if e.Line.Item == "" {
				list = append(list, want{operator.ItemUnknown, 0})
			}
		}
	}
	if body.given["discounts"] && len(body.discounts) > 0 || e != nil {
		if off, ok := p.discount(b, e); ok {
			list = append(list, want{operator.Discount, off})
		}
	}
	return list
}

// wants are the permissions that a line asks for, but for its discounts.
func (l *requestLine) wants(list []want) []want {
	switch {
	case l.unknown:
		list = append(list, want{operator.ItemUnknown, 0})
	case l.open:
		list = append(list, want{operator.PriceOpen, 0})
	}
	if l.byHand {
		list = append(list, want{operator.PriceChange, 0})
	}
	return list
}

func fewer(b *till.Basket, n int, qty pos.Qty) bool {
	if b != nil {
		if l := b.Line(n); l != nil {
			return qty < l.Qty
		}
	}
	return false
}

// grows says whether the step makes a line's quantity more, and what it costs before its
// discounts. A new line is both.
func grows(b *till.Basket, e *event.Basket) (qty, worth bool) {
	switch {
	case b == nil || e == nil:
	case e.Type == event.TypeLineAdded:
		return true, true
	case e.Type == event.TypeLineChanged:
		if l := b.Line(e.N); l != nil {
			return e.Line.Qty > l.Qty, e.Line.Amount+taken(e.Line.Discounts) > l.Amount+taken(l.Discounts)
		}
	}
	return false, false
}

// returned is the permission for goods that come back, and what is paid out for all of a
// kind in the basket. Of a sale that a former journal made nobody here knows all that came
// back: that journal may have gone on, before a backup was restored or on another board.
func returned(b *till.Basket, e *event.Basket, t *register.Turn, known bool) want {
	w := want{operator.ReturnBlind, 0}
	if e != nil && e.Line.Return != nil {
		known = t.Gave(e.Line.Return.Sale)
	}
	if known {
		w.Permission = operator.Return
	}
	if b == nil || e == nil {
		return w
	}
	back := []pos.Line{e.Line}
	for i := range b.Lines {
		if r := b.Lines[i].Return; r != nil && t.Gave(r.Sale) == known {
			back = append(back, b.Lines[i].Line)
		}
	}
	w.amount = int64(pos.MaxAmount)
	if t, err := pos.Compute(back, pos.ComputeOptions{Prices: b.Prices, Rounding: b.RoundedBy(t.Rules)}); err == nil {
		w.amount = magnitude(t.Total)
	}
	return w
}

// discount is the part that discounts take off after the step, if what they take off is
// more by what the step does. A percentage weighs what it says at least: also of nothing,
// to which goods are added later.
func (p *step) discount(b *till.Basket, e *event.Basket) (off int64, more bool) {
	given := p.body.given["discounts"] && len(p.body.discounts) > 0
	if b == nil || e == nil {
		return 0, given
	}
	switch e.Type {
	case event.TypeBasketChanged:
		if given {
			return max(part(taken(e.Discounts), sold(b, 0, nil)), together(b, e, true)), true
		}
	case event.TypeLineAdded, event.TypeLineChanged:
		// A discount of an amount weighs more on what has become less; a percentage is for
		// what was on the screen when it was allowed.
		if given || e.Type == event.TypeLineChanged && fixed(e.Line.Discounts) {
			off, more = together(b, e, false), true
		}
		if q, w := grows(b, e); q || w {
			if p := stated(e.Line.Discounts, b.Discounts); p > 0 {
				off, more = max(off, p), true
			}
		}
		if e.Type == event.TypeLineAdded {
			return off, more
		}
		fallthrough
	case event.TypeLineVoided:
		line := &e.Line
		if e.Type == event.TypeLineVoided {
			line = nil
		}
		before, after := sold(b, 0, nil), sold(b, e.N, line)
		if fixed(b.Discounts) && after < before && after > 0 {
			off, more = max(off, part(taken(b.Discounts), after), together(b, e, true)), true
		}
	}
	return off, more
}

// together is the largest part that all discounts take off a line as the step leaves the
// basket: off the step's own line, or off any.
func together(b *till.Basket, e *event.Basket, any bool) (most int64) {
	off := b.Discounts
	if e.Type == event.TypeBasketChanged {
		off = e.Discounts
	}
	lines, at := make([]pos.Line, 0, len(b.Lines)+1), len(b.Lines)
	for i := range b.Lines {
		l := b.Lines[i].Line
		if e.N != 0 && b.Lines[i].N == e.N {
			if e.Type == event.TypeLineVoided {
				continue
			}
			l, at = e.Line, i
		}
		lines = append(lines, l)
	}
	if e.Type == event.TypeLineAdded {
		lines = append(lines, e.Line)
	}
	for i := range lines {
		lines[i].Discounts = slices.Clone(lines[i].Discounts)
	}
	if _, err := pos.Compute(lines, pos.ComputeOptions{Prices: b.Prices, Discounts: slices.Clone(off)}); err != nil {
		return whole
	}
	if any {
		most = stated(nil, off)
	}
	for i := range lines {
		if any || i == at {
			most = max(most, inAll(&lines[i]), stated(lines[i].Discounts, off))
		}
	}
	return most
}

// stated is what the percentages of a line and of the whole say together: twice ten are
// nineteen.
func stated(line, all []pos.Discount) int64 {
	left := int64(whole)
	for _, list := range [2][]pos.Discount{line, all} {
		for i := range list {
			left -= left * int64(list[i].Percent) / whole // a share has none
		}
	}
	return whole - left
}

// inAll is the part that a line's discounts take off it, its shares of the sale's among
// them: those are rounded, each by less than one minor unit.
func inAll(l *pos.Line) int64 {
	base, off := l.Amount, pos.Money(0)
	for i := range l.Discounts {
		d := &l.Discounts[i]
		base, off = base+d.Amount, off+d.Amount
		if d.Of != 0 && d.Amount > 0 {
			off--
		}
	}
	return part(off, base)
}

// taken is what discounts take off, without shares of the sale's.
func taken(list []pos.Discount) (sum pos.Money) {
	for i := range list {
		if list[i].Of == 0 {
			sum += list[i].Amount
		}
	}
	return sum
}

// fixed says that there is a discount of an amount among them.
func fixed(list []pos.Discount) bool {
	return slices.ContainsFunc(list, func(d pos.Discount) bool { return d.Percent == 0 && d.Of == 0 && d.Amount > 0 })
}

// sold is Σ lines that are sold, with line n as it is to be; nil: gone.
func sold(b *till.Basket, n int, as *pos.Line) (sum pos.Money) {
	for i := range b.Lines {
		l := &b.Lines[i].Line
		if n != 0 && b.Lines[i].N == n {
			if l = as; l == nil {
				continue
			}
		}
		if l.Return == nil {
			sum += l.Amount
		}
	}
	return sum
}

const whole = 1_000_000 // a part, as a pos.Rate

// part is the lowest rate of which off is no more than the rounded part of base: ten
// percent of 5 are 1, as a discount of ten percent says.
func part(off, base pos.Money) int64 {
	switch {
	case off <= 0:
		return 0
	case off >= base:
		return whole
	}
	hi, lo := bits.Mul64(uint64(off-1), whole)
	q, _ := bits.Div64(hi, lo, uint64(base)) // off < base: it fits
	return int64(q) + 1
}

// allowSale is the register's question about a sale in one call.
func (c *caller) allowSale(req *request, prices pos.PriceMode) func(*event.SaleCompleted) error {
	if !c.on {
		return nil
	}
	return func(e *event.SaleCompleted) error {
		if bad := c.is(req.operator); bad != nil {
			return bad
		}
		list := []want{{operator.Sale, 0}}
		if e.Prices != prices {
			list = also(list, operator.PriceChange, 0)
		}
		for i := range req.lines {
			list = req.lines[i].wants(list)
		}
		if len(req.discounts) > 0 || slices.ContainsFunc(req.lines, func(l requestLine) bool { return len(l.discounts) > 0 }) {
			list = also(list, operator.Discount, saleDiscount(e))
		}
		if c.s.slips(req.tenders) {
			list = also(list, operator.CardResolve, 0)
		}
		by, bad := c.permit(list)
		if bad != nil {
			return bad
		}
		setApproved(e, by)
		return nil
	}
}

// slip says that somebody types what the payment terminal of this till would have said.
func (s *Server) slip(t *pos.Tender) bool {
	return t.Kind == pos.Card && t.Reference != "" && s.o.Card != nil && s.o.Card.Asks()
}

func (s *Server) slips(list []pos.Tender) bool {
	return slices.ContainsFunc(list, func(t pos.Tender) bool { return s.slip(&t) })
}

// saleDiscount is the largest part that discounts take off a line, or off the whole.
func saleDiscount(e *event.SaleCompleted) (most int64) {
	var base, off pos.Money
	for i := range e.Lines {
		l := &e.Lines[i]
		before := l.Amount
		for j := range l.Discounts {
			before += l.Discounts[j].Amount
		}
		most = max(most, inAll(l), stated(l.Discounts, e.Discounts))
		base += before - taken(l.Discounts)
	}
	off = taken(e.Discounts)
	return max(most, part(off, base))
}
