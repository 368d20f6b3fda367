package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"posd/journal"
	"posd/pos/event"
	"posd/pos/operator"
	"posd/pos/register"
	"posd/pos/till"
)

const (
	operatorsPath = "/v1/operators"
	mePath        = operatorsPath + "/me"
	signInPath    = operatorsPath + "/sign-in"
	signOutPath   = operatorsPath + "/sign-out"
	approvePath   = operatorsPath + "/approve"
	unlockPath    = operatorsPath + "/*/unlock"

	// posctl's own token is readable by whoever may read all of the terminal's secrets.
	posctlFront = "posctl"
	mostAsked   = 8 // permissions of one approval
)

// openDesk begins with the wrong PINs that the journal tells of.
func (s *Server) openDesk() {
	pins := map[string]int{}
	s.o.Register.Look(func(t *till.State) {
		for _, w := range t.Wrong {
			pins[w.Operator] = w.PINs
		}
	})
	s.desk = operator.NewDesk(operator.OpenBook(s.o.Operators, s.o.Log), pins, nil)
}

// operators answers what is asked with GET.
func (s *Server) operators(w http.ResponseWriter, r *http.Request, front string) int {
	if r.URL.Path == mePath {
		return s.me(w, r, front)
	}
	book, rules := s.desk.Book(), s.operatorRules()
	list, _ := book.All()
	x := s.exchange()
	defer s.done(x)
	o := object{b: x.out}
	o.open("")
	o.bool("required", book.On())
	o.name("operators")
	o.b = append(o.b, '[')
	for i := range list {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.open("")
		o.text("operator", list[i].Name)
		o.text("role", list[i].Role)
		if left := s.desk.Locked(rules, list[i].Name); left > 0 {
			o.int("locked_seconds", int64((left+time.Second-1)/time.Second))
		}
		o.close()
	}
	o.b = append(o.b, ']')
	o.close()
	x.out = append(o.b, '\n')
	return writeJSON(w, http.StatusOK, x.out)
}

// operatorStatus tells whether operators sign in, and who is locked out.
func (s *Server) operatorStatus(o *object) {
	book, rules := s.desk.Book(), s.operatorRules()
	list, _ := book.All()
	var locked []string
	for i := range list {
		if s.desk.Locked(rules, list[i].Name) > 0 {
			locked = append(locked, list[i].Name)
		}
	}
	o.open("operators")
	o.bool("required", book.On())
	o.int("known", int64(len(list)))
	o.int("sessions", int64(s.desk.Sessions()))
	o.texts("locked", locked)
	o.close()
}

// me answers GET /v1/operators/me: whose session it is, and what they may do.
func (s *Server) me(w http.ResponseWriter, r *http.Request, front string) int {
	c, bad := s.caller(r, front, "", false)
	if bad == nil && !c.on {
		bad = noOperators()
	}
	if bad != nil {
		return s.refused(w, bad)
	}
	rules := s.operatorRules()
	e, left, err := s.desk.Who(rules, front, r.Header.Get(sessionHeader), false)
	if err != nil {
		return s.refused(w, refuse("session-required", err.Error()))
	}
	var o object
	o.open("")
	s.appendOperator(&o, e, rules)
	o.int("seconds_left", int64(left/time.Second))
	o.close()
	return writeJSON(w, http.StatusOK, append(o.b, '\n'))
}

// appendOperator appends what a front end has to know of who is signed in.
func (s *Server) appendOperator(o *object, e operator.Entry, rules *operator.Rules) {
	o.text("operator", e.Name)
	o.text("role", e.Role)
	var may []string
	for _, g := range rules.Roles[e.Role].Each() {
		may = append(may, g.String())
	}
	o.texts("permissions", may)
	o.int("idle_seconds", int64(rules.Idle/time.Second))
}

func noOperators() *problem {
	return refuse("no-operators", "this terminal has no operators who sign in (posctl operator add); name the operator in each call")
}

// attempt is a body with a PIN.
type attempt struct {
	operator, permission, limit string
	pin                         []byte
}

// sign answers POST of sign-in, sign-out and approve. Their bodies are neither journaled
// nor hashed into the journal: they hold PINs.
func (s *Server) sign(w http.ResponseWriter, r *http.Request, front string) int {
	if !s.desk.Book().On() {
		return s.refused(w, noOperators())
	}
	if r.URL.Path == signOutPath {
		return s.signOut(w, r, front)
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	x := s.exchange()
	defer s.done(x)
	if bad := contentOf(r, s.o.HTTP.MaxBody); bad != nil {
		return s.refused(w, bad)
	}
	release, bad := s.readBody(ctx, w, r, x)
	if bad != nil {
		return s.refused(w, bad)
	}
	defer release()
	var a attempt
	bad = x.dec.decodeAttempt(x.body.Bytes(), &a, r.URL.Path == approvePath)
	clear(x.body.Bytes()) // the next request of this buffer has nothing to do with a PIN
	clear(x.dec.buf[:cap(x.dec.buf)])
	defer clear(a.pin)
	if bad != nil {
		return s.refused(w, bad)
	}
	if r.URL.Path == approvePath {
		return s.approve(ctx, w, r, front, &a)
	}
	return s.signIn(ctx, w, r, front, &a)
}

func (d *decoder) decodeAttempt(body []byte, a *attempt, approval bool) *problem {
	bad := d.document(body, func(name []byte) bool {
		switch known := string(name); {
		case known == "operator":
			a.operator = d.text(maxShort)
		case known == "pin":
			a.pin = append(make([]byte, 0, maxShort), d.raw('"', maxShort)...)
		case known == "permission" && approval:
			a.permission = d.text(maxText)
		case known == "limit" && approval:
			a.limit = d.text(maxShort)
		default:
			return false
		}
		return true
	})
	switch {
	case bad != nil:
	case a.operator == "":
		bad = refuse("value-invalid", "say which operator").at("/operator")
	case len(a.pin) == 0:
		bad = refuse("value-invalid", "send the operator's PIN, as a string").at("/pin")
	case approval && a.permission == "":
		bad = refuse("value-invalid", "say which permission is asked for").at("/permission")
	}
	return bad
}

// signIn answers POST /v1/operators/sign-in.
func (s *Server) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, front string, a *attempt) int {
	rules := s.operatorRules()
	for _, name := range s.desk.Sweep(rules) {
		s.signedOut(r, front, name, "nothing was done for "+rules.Idle.String())
	}
	e, err := s.desk.Try(ctx, rules, front, a.operator, a.pin, func(o operator.Outcome) error {
		return s.noted(r, front, o, &event.Operator{Type: event.TypeSignedIn, Operator: o.Entry.Name, Role: o.Entry.Role})
	})
	if err != nil {
		return s.refused(w, s.pinProblem(err))
	}
	token, ended := s.desk.Open(front, e)
	if ended != "" {
		s.signedOut(r, front, ended, "there were too many sessions")
	}
	var o object
	o.open("")
	o.text("session", token)
	s.appendOperator(&o, e, rules)
	o.close()
	return writeJSON(w, http.StatusCreated, append(o.b, '\n'))
}

// noted has the outcome of an attempt journaled. right is the event of a right PIN. Who
// goes away meanwhile does not undo it.
func (s *Server) noted(r *http.Request, front string, o operator.Outcome, right *event.Operator) error {
	e := right
	switch {
	case o.Locked:
		e = &event.Operator{Type: event.TypeOperatorLocked, Operator: o.Entry.Name, Failures: o.Wrong}
	case o.Wrong > 0:
		e = &event.Operator{Type: event.TypeOperatorRefused, Operator: o.Entry.Name, Failures: o.Wrong}
	}
	err := s.noteOperator(r, front, e)
	if errors.Is(err, journal.ErrNoSpace) { // what is open can be finished, by somebody
		s.o.Log.Warn("there is no room to record what became of a sign-in", "operator", e.Operator, "type", e.Type, "wrong", o.Wrong)
		return nil
	}
	return err
}

func (s *Server) noteOperator(r *http.Request, front string, e *event.Operator) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), answerTime)
	defer cancel()
	_, err := s.o.Register.Do(ctx, register.Call{Front: front, Trace: traceOf(r)},
		func(*register.Turn) (register.Appender, error) { return e, nil })
	return err
}

func (s *Server) signedOut(r *http.Request, front, name, why string) {
	err := s.noteOperator(r, front, &event.Operator{Type: event.TypeSignedOut, Operator: name, Reason: why})
	if err != nil {
		s.o.Log.Warn("the end of a session was not journaled", "operator", name, "error", err)
	}
}

// pinProblem says what a refused PIN means to the caller.
func (s *Server) pinProblem(err error) *problem {
	var locked *operator.LockedError
	switch {
	case errors.Is(err, operator.ErrWrong):
		return refuse("pin-wrong", "the operator or the PIN is wrong; after several wrong ones the operator is locked for a while")
	case errors.As(err, &locked):
		return refuse("operator-locked", locked.Error()+"; wait, or have it ended: posctl operator unlock, or an operator with the permission operator.unlock").retry(locked.Seconds())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refuse("busy", "the PIN could not be looked at in time; try again").retry(1)
	}
	return s.problemOf(err)
}

// signOut answers POST /v1/operators/sign-out.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, front string) int {
	name, err := s.desk.Close(front, r.Header.Get(sessionHeader))
	if err != nil {
		return s.refused(w, refuse("session-required", "there is no such session of this front end; nothing is to be ended"))
	}
	s.signedOut(r, front, name, "")
	var o object
	o.open("")
	o.text("operator", name)
	o.close()
	return writeJSON(w, http.StatusOK, append(o.b, '\n'))
}

// approve answers POST /v1/operators/approve.
func (s *Server) approve(ctx context.Context, w http.ResponseWriter, r *http.Request, front string, a *attempt) int {
	c, bad := s.caller(r, front, "", true)
	if bad != nil {
		return s.refused(w, bad)
	}
	asked, bad := asksFor(a)
	if bad != nil {
		return s.refused(w, bad)
	}
	rules := s.operatorRules()
	var grants operator.Grants
	e, err := s.desk.Try(ctx, rules, front, a.operator, a.pin, func(o operator.Outcome) error {
		if o.Wrong == 0 {
			if grants, bad = granted(asked, rules.Roles[o.Entry.Role], &o.Entry); bad != nil {
				return bad
			}
		}
		return s.noted(r, front, o, &event.Operator{
			Type: event.TypeOperatorApproved, Operator: o.Entry.Name, Role: o.Entry.Role, For: c.name, Permission: grants.String()})
	})
	if err != nil {
		return s.refused(w, s.pinProblem(err))
	}
	token := s.desk.Approve(front, e, c.name, grants)
	var o object
	o.open("")
	o.text("approval", token)
	o.text("operator", e.Name)
	o.text("permission", a.permission)
	o.int("seconds", int64(operator.ApprovalTime/time.Second))
	o.close()
	return writeJSON(w, http.StatusCreated, append(o.b, '\n'))
}

// asksFor reads the permissions that an approval is asked for, with the limit that the
// second operator was shown.
func asksFor(a *attempt) (asked operator.Grants, bad *problem) {
	words := strings.Fields(a.permission)
	if len(words) == 0 {
		return nil, refuse("value-invalid", "say which permission is asked for").at("/permission")
	}
	for _, word := range words {
		if a.limit != "" {
			word += ":" + a.limit
		}
		g, err := operator.ParseGrant(word)
		if err == nil && (g.Permission == "*" || len(words) > mostAsked || a.limit != "" && len(words) > 1) {
			err = errors.New("name at most " + strconv.Itoa(mostAsked) + " permissions, not all, and a limit with one only")
		}
		if err != nil {
			return nil, refuse("value-invalid", err.Error()).at("/permission")
		}
		asked = append(asked, g)
	}
	return asked, nil
}

// granted is what is asked for as far as the second operator's own role reaches.
func granted(asked, own operator.Grants, e *operator.Entry) (g operator.Grants, bad *problem) {
	for _, want := range asked {
		have, ok := own.Of(want.Permission)
		if !ok || want.Limit != operator.NoLimit && have.Limit != operator.NoLimit && want.Limit > have.Limit {
			p := refuse("permission-required", "operator "+e.Name+" may not do that either (role "+e.Role+"); ask another one")
			p.permission = string(want.Permission)
			return nil, p
		}
		if want.Limit != operator.NoLimit {
			have.Limit = want.Limit
		}
		g = append(g, have)
	}
	return g, nil
}

// unlock ends an operator's lock.
func (s *Server) unlock(ctx context.Context, p *step) (register.Outcome, error) {
	name := p.names[0]
	on := s.desk.Book().On() // not in the loop: it may look at the disk
	_, known := s.desk.Book().Find(name)
	out, err := s.do(ctx, p, func(*register.Turn) (register.Appender, error) {
		if !on {
			return nil, noOperators()
		}
		if !known {
			return nil, refuse("operator-not-found", "there is no operator "+strconv.Quote(name)+"; GET "+operatorsPath+" lists them")
		}
		return &event.Operator{Type: event.TypeOperatorUnlocked, Operator: name, Reason: p.of.Reason, Approved: p.of.Operator}, nil
	})
	if err != nil {
		return out, err
	}
	wrong := false // an old call that is repeated ends no new lock
	s.o.Register.Look(func(t *till.State) {
		wrong = slices.ContainsFunc(t.Wrong, func(w till.Wrong) bool { return w.Operator == name })
	})
	if !wrong {
		s.desk.Unlock(name)
	}
	return out, nil
}
