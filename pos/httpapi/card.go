package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"posd/pos"
	"posd/pos/card"
	"posd/pos/event"
	"posd/pos/register"
	"posd/pos/till"
)

// mostWait is how long an answer waits for a customer at the payment terminal: well
// within writeTime.
const mostWait = 20

// waitOf reads Prefer: wait=N (RFC 7240), at most mostWait seconds; 0: it is not asked for.
func waitOf(r *http.Request) time.Duration {
	for _, line := range r.Header["Prefer"] {
		for one := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
			if n, err := strconv.Atoi(value); err == nil && n > 0 && strings.EqualFold(name, "wait") {
				return time.Duration(min(n, mostWait)) * time.Second
			}
		}
	}
	return 0
}

// settled waits for what became of a card tender as long as the front end wants to.
func (s *Server) settled(w http.ResponseWriter, r *http.Request, out register.Outcome) register.Outcome {
	if s.o.Card == nil {
		return out
	}
	if ctx, cancel := s.waiting(w, r); ctx != nil {
		defer cancel()
		out = s.o.Card.Await(ctx, out)
	}
	return out
}

// waiting lasts as long as the front end wants to wait, and no longer than posd runs. ctx
// is nil if it does not want to.
func (s *Server) waiting(w http.ResponseWriter, r *http.Request) (ctx context.Context, cancel func()) {
	wait := waitOf(r)
	if wait == 0 {
		return nil, func() {}
	}
	w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	ctx, cancel = context.WithTimeout(r.Context(), wait)
	go func() { // ends with this request
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// asks says that a payment terminal has to be asked for the tender.
func (s *Server) asks(t *pos.Tender) bool {
	return t.Kind == pos.Card && t.Reference == "" && s.o.Card != nil && s.o.Card.Asks()
}

func (s *Server) addTender(ctx context.Context, p *step) (register.Outcome, error) {
	if bad := s.returning(ctx, p); bad != nil {
		return register.Outcome{}, bad
	}
	t := &p.body.tender
	if s.asks(t) {
		training := false
		s.o.Register.Look(func(state *till.State) {
			b := state.Find(p.of.Basket)
			training = b != nil && b.Training
		})
		if !training {
			return s.o.Card.Begin(ctx, p.call, p.of, t.Amount)
		}
		t.Reference = "training" // nobody is charged
	}
	return s.o.Register.Pay(ctx, p.call, p.of.Basket, func(turn *register.Turn) (register.Appender, error) {
		return register.Made(turn.State.AddTender(p.of, turn.Rules, *t))
	})
}

func (s *Server) reverseTender(ctx context.Context, p *step) (register.Outcome, error) {
	defer s.wakeCard()
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		var learned *pos.Tender
		if p.body.given["reference"] {
			learned = &p.body.tender
		}
		return t.State.Reverse(p.of, t.Rules, p.names[1], learned)
	})
}

// resolveTender ends by hand what the payment terminal cannot tell.
func (s *Server) resolveTender(ctx context.Context, p *step) (register.Outcome, error) {
	defer s.wakeCard()
	outcome := p.body.outcome
	return s.basket(ctx, p, func(t *register.Turn) (*event.Basket, error) {
		if outcome != "paid" && outcome != "not-paid" {
			return nil, refuse("value-invalid", "outcome is paid or not-paid").at("/outcome")
		}
		return t.State.Resolve(p.of, t.Rules, p.names[1], outcome == "paid", &p.body.tender)
	})
}

// writeOff says by hand that what was approved offline is with the acquirer, or lost.
func (s *Server) writeOff(ctx context.Context, p *step) (register.Outcome, error) {
	return s.do(ctx, p, func(t *register.Turn) (register.Appender, error) {
		return register.Made(t.State.WriteOff(p.of, p.body.amount))
	})
}

func (s *Server) wakeCard() {
	if s.o.Card != nil {
		s.o.Card.Wake()
	}
}

// cardProblem says what an error of the desk means to the caller, nil if it is none.
func (s *Server) cardProblem(err error) *problem {
	switch {
	case errors.Is(err, card.ErrBusy):
		return refuse("payment-terminal-busy", "a customer of another basket is at the payment terminal; nothing happened, try again")
	case errors.Is(err, card.ErrDown):
		return refuse("payment-terminal-down", "nobody was charged; is the payment terminal on, and on the network? "+err.Error()).tried(s.o.Card.Status().Next)
	}
	return nil
}

// cardStatus tells how the payment terminal is, and what is not settled.
func (s *Server) cardStatus(o *object) {
	o.open("card")
	asks := s.o.Card != nil && s.o.Card.Asks()
	o.bool("configured", asks)
	if s.o.Card != nil {
		st := s.o.Card.Status()
		if asks {
			o.bool("reachable", st.Reachable)
			o.text("breaker", st.Breaker)
			if !st.Next.IsZero() {
				o.int("next_try_seconds", int64(seconds(st.Next)))
			}
			o.text("terminal", st.Terminal)
			o.text("memory", st.Memory)
			o.text("failure", st.Failure)
			o.text("basket", st.Basket)
			o.text("shown", st.Shown)
		}
		o.open("offline")
		o.int("outstanding", int64(st.Outstanding))
		o.int("day", int64(st.Day))
		o.int("most_sale", int64(st.Limits.Sale))
		o.int("most_outstanding", int64(st.Limits.Terminal))
		o.int("most_day", int64(st.Limits.Day))
		o.close()
		o.name("unsettled")
		o.b = append(o.b, '[')
		for i := range st.Open {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			unsettled(o, &st.Open[i])
		}
		o.b = append(o.b, ']')
	}
	o.close()
}

func unsettled(o *object, x *card.Open) {
	o.open("")
	o.text("basket", x.Basket)
	o.text("tender", x.Tender)
	o.text("state", x.State)
	o.int("amount", int64(x.Amount))
	o.int("seconds", int64(x.For/time.Second))
	o.int("asked", int64(x.Attempts))
	o.bool("needs_person", x.Stuck)
	o.text("last", x.Last)
	o.close()
}

// cardDegraded is what of it somebody has to look after.
func (s *Server) cardDegraded(why []string) []string {
	if s.o.Card == nil {
		return why
	}
	st := s.o.Card.Status()
	for _, x := range st.Long() {
		why = append(why, "card payment "+x.Tender+" of basket "+x.Basket+" is "+x.State+": "+x.Last)
	}
	if old := st.Old(); old != "" {
		why = append(why, old)
	}
	return why
}
