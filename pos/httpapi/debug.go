package httpapi

import (
	"bytes"
	"net"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"
)

const (
	profilePath = "/debug/pprof/"
	tracePath   = "/debug/trace"
	longProfile = 60 // seconds
	longTrace   = 30
)

// onSocket says that the request came over the unix socket, whose file decides who
// may use it.
func onSocket(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// debug answers with a profile or an execution trace. One at a time: a trace takes
// memory, a profile time.
func (s *Server) debug(w http.ResponseWriter, r *http.Request) int {
	if !s.profiling.TryLock() {
		return s.refused(w, refuse("busy", "another profile or trace is being taken").retry(5))
	}
	defer s.profiling.Unlock()
	if s.load().Shedding {
		return s.refused(w, refuse("busy", "memory is short, no profile is taken now").retry(10))
	}
	name := strings.TrimPrefix(r.URL.Path, profilePath)
	switch {
	case r.URL.Path == tracePath:
		return s.timed(w, r, longTrace, func(w http.ResponseWriter) error { return trace.Start(w) }, trace.Stop)
	case name == "profile":
		return s.timed(w, r, longProfile, func(w http.ResponseWriter) error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	}
	p := pprof.Lookup(name)
	if p == nil {
		return s.refused(w, refuse("not-found", "there is no profile "+strconv.Quote(name)+"; there are heap, allocs, goroutine, mutex, block, threadcreate and profile"))
	}
	level, _ := strconv.Atoi(r.URL.Query().Get("debug"))
	var b bytes.Buffer
	if err := p.WriteTo(&b, min(max(level, 0), 2)); err != nil {
		return s.refused(w, refuse("internal", "the profile cannot be written: "+err.Error()))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(b.Bytes())
	return http.StatusOK
}

// timed streams what begin writes, for as many seconds as the query asks.
func (s *Server) timed(w http.ResponseWriter, r *http.Request, most int, begin func(http.ResponseWriter) error, end func()) int {
	seconds := 5
	if text := r.URL.Query().Get("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return s.refused(w, refuse("query-invalid", "seconds has to be 1 to "+strconv.Itoa(most)))
		}
		seconds = n
	}
	took := time.Duration(seconds) * time.Second
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(took + writeTime)); err != nil {
		return s.refused(w, refuse("internal", err.Error()))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := begin(w); err != nil {
		return s.refused(w, refuse("busy", err.Error()).retry(5))
	}
	defer end()
	t := time.NewTimer(took)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-s.stopping:
	}
	return http.StatusOK
}
