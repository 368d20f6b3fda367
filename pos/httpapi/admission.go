package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"sync"
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
// posd's own work, from the processor. Each has its own measure; whoever has no
// token shares one.
type admission struct {
	perSecond int // sales; 0: no limit

	mu           sync.Mutex
	sales, reads map[string]*rate.Limiter // by front end
}

// newAdmission admits perSecond sales; 0: by the CPU quota in percent, and without
// one, all.
func newAdmission(perSecond int, cpuPercent int64) *admission {
	if perSecond == 0 {
		perSecond = int(min(cpuPercent, math.MaxInt32/1000) * salesPerPercent)
	}
	return &admission{perSecond: perSecond, sales: map[string]*rate.Limiter{}, reads: map[string]*rate.Limiter{}}
}

// sale refuses a sale of front that comes too early, read any other request.
func (a *admission) sale(front string) *problem { return a.take(a.sales, front, a.perSecond) }

func (a *admission) read(front string) *problem {
	return a.take(a.reads, front, a.perSecond*readsPerSale)
}

func (a *admission) take(of map[string]*rate.Limiter, front string, perSecond int) *problem {
	if perSecond <= 0 {
		return nil
	}
	a.mu.Lock()
	l := of[front]
	if l == nil { // as many as there are tokens
		l = rate.NewLimiter(rate.Limit(perSecond), perSecond*burstSeconds)
		of[front] = l
	}
	a.mu.Unlock()
	return take(l)
}

// take refuses a request that comes too early.
func take(l *rate.Limiter) *problem {
	r := l.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return nil
	}
	r.Cancel()
	return refuse("too-many-requests", "this terminal takes "+rateText(l.Limit())+" of these requests a second from each front end; nothing happened, try again after Retry-After with the same key").
		retry(int((wait + time.Second - 1) / time.Second))
}

func rateText(l rate.Limit) string { return strconv.Itoa(int(l)) }

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
