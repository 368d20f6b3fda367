package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard refuses what a hostile web page on the same machine could send. It
// returns the problem, or done for a preflight that is answered.
func (s *Server) guard(w http.ResponseWriter, r *http.Request) (bad *problem, done bool) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if !s.hostAllowed(r) {
		return refuse("host-not-allowed", "the Host header does not name this terminal; use http://127.0.0.1 or the address that it listens on"), false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil, false
	}
	h.Add("Vary", "Origin")
	if !s.originAllowed(origin, r.Host) {
		return refuse("origin-not-allowed", "web pages from this origin are not let in; list it in http.origins of the configuration"), false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Idempotency-Replayed, Location, Preference-Applied, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return nil, false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, "+sessionHeader+", "+approvalHeader+", Last-Event-ID, Prefer, Traceparent")
	h.Set("Access-Control-Max-Age", "600")
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil, true
}

// originAllowed: a page that posd itself serves, or a listed one.
func (s *Server) originAllowed(origin, host string) bool {
	for _, o := range s.o.HTTP.Origins {
		if strings.EqualFold(o, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && host != "" && strings.EqualFold(u.Host, host)
}

// hostAllowed defends against names that were bound to a local address: such a
// page's requests carry its own name. A literal address cannot be rebound.
func (s *Server) hostAllowed(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local != nil && local.Network() == "unix" {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") || s.listenHost != "" && strings.EqualFold(host, s.listenHost) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	return addr.IsLoopback() || addr == addrOf(local)
}

// near says that the request comes from this machine.
func near(r *http.Request) bool {
	if onSocket(r) {
		return true
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// authorize returns the name of the front end whose token the request carries.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) (front string, bad *problem) {
	given := r.Header.Get("Authorization")
	if given == "" {
		if name, ok := s.peer(r); ok {
			return name, nil
		}
	}
	scheme, secret, _ := strings.Cut(given, " ")
	if strings.EqualFold(scheme, "Bearer") && secret != "" {
		if name, ok := s.tokens.front(secret); ok {
			return name, nil
		}
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="posd"`)
	return "", refuse("unauthorized", "send Authorization: Bearer with a token made by posctl token add")
}

// traceOf returns a valid W3C traceparent, or nothing: a broken one is ignored,
// as its specification asks.
func traceOf(r *http.Request) string {
	t := r.Header.Get("Traceparent")
	if len(t) != 55 || t[:3] != "00-" || t[35] != '-' || t[52] != '-' {
		return ""
	}
	trace, parent, flags := t[3:35], t[36:52], t[53:]
	if !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags) ||
		strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return ""
	}
	return t
}

func lowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
