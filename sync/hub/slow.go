package hub

import (
	"net/http"
	"time"
)

// Who sends a body byte by byte holds a connection, and with it memory, for as long as it
// likes, and needs no token for it.
const (
	strangerTime = 10 * time.Second // for the body of whoever can reach the hub
	callerTime   = 2 * time.Minute  // of who has its token: an import's is some MB
)

// bodyTimes are those two; tests shorten them.
type bodyTimes struct{ stranger, caller time.Duration }

// timely gives the bodies of all requests the time of strangers. Answers have the time
// they need: net/http lifts the bound where a body has ended. Where there is none it
// must not be set: the request's context would end with it.
func (t bodyTimes) timely(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		readWithin(w, r, t.stranger)
		next.ServeHTTP(w, r)
	})
}

func readWithin(w http.ResponseWriter, r *http.Request, d time.Duration) {
	if r.Body != nil && r.Body != http.NoBody {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)) // fails only where there is no connection
	}
}
