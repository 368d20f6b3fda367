package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

const (
	// salesPerPercent is how many sales a second each percent of a core's quota
	// admits where the configuration does not say: more than a shop can make, less
	// than would keep every sale waiting for the next period.
	salesPerPercent = 5
	burstSeconds    = 2 // of the rate may come at once
	readsPerSale    = 4 // other requests that are let in for each sale
)

// admission keeps a front end that has gone wild from keeping the others, and
// posd's own work, from the processor.
type admission struct{ sales, reads *rate.Limiter }

// newAdmission admits perSecond sales; 0: by the CPU quota in percent, and without
// one, all.
func newAdmission(perSecond int, cpuPercent int64) admission {
	if perSecond == 0 {
		perSecond = int(min(cpuPercent, math.MaxInt32/1000) * salesPerPercent)
	}
	if perSecond <= 0 {
		return admission{}
	}
	bucket := func(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(n), n*burstSeconds) }
	return admission{sales: bucket(perSecond), reads: bucket(perSecond * readsPerSale)}
}

// take refuses a request that comes too early.
func take(l *rate.Limiter) *problem {
	if l == nil {
		return nil
	}
	r := l.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return nil
	}
	r.Cancel()
	return refuse("too-many-requests", "this terminal takes "+rateText(l.Limit())+" of these requests a second; nothing happened, try again after Retry-After with the same key").
		retry(int((wait + time.Second - 1) / time.Second))
}

func rateText(l rate.Limit) string { return strconv.Itoa(int(l)) }

// admitted refuses what comes too fast. Sales are counted when their front end is
// known, so that nobody without a token takes their places.
func (s *Server) admitted(at route) *problem {
	switch at {
	case routeLive:
		return nil
	case routeCheckout:
		return take(s.admission.sales)
	}
	return take(s.admission.reads)
}

// connOf is the request's connection, nil if it is none of a server's.
func connOf(r *http.Request) *limitedConn {
	c, _ := r.Context().Value(connKey{}).(*limitedConn)
	return c
}

// selling marks the request's connection as one that must not be cut.
func selling(r *http.Request) (done func()) {
	c := connOf(r)
	if c == nil {
		return func() {}
	}
	c.work(1)
	return func() { c.work(-1) }
}

// connKey finds the connection in a request's context.
type connKey struct{}
