package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"posd/journal"
	"posd/pos/card"
	"posd/pos/catalogue"
	"posd/pos/config"
	"posd/pos/export"
	"posd/pos/itemcode"
	"posd/pos/operator"
	"posd/pos/papers"
	"posd/pos/register"
	"posd/pos/view"
)

const (
	headerBytes   = 16 << 10
	tcpConns      = 96
	socketConns   = 32
	readTime      = 10 * time.Second
	writeTime     = 30 * time.Second
	idleTime      = 2 * time.Minute
	firstTime     = time.Second      // at the end, for a request of who has just connected
	answerTime    = 10 * time.Second // for durability, or for the index
	smallBody     = 32 << 10
	smallObjects  = 100 // lines, tenders, discounts: they take more than the bytes that name them
	largeBodies   = 8   // in memory at a time
	defaultMax    = 256 << 10
	socketMode    = 0o660
	keepBuffer    = 64 << 10 // larger ones are not pooled
	noSpaceRetry  = 30
	stoppingRetry = 5
)

// Options of a server. Terminal, Journal, View, Register and Catalogue are
// required.
type Options struct {
	Terminal  config.Terminal
	HTTP      config.HTTP
	Journal   *journal.Journal
	View      *view.View
	Register  *register.Register
	Catalogue *catalogue.Catalogue
	Card      *card.Desk          // nil: cards are taken beside posd
	Papers    *papers.Desk        // nil: one without a printer
	Exports   *export.Exporter    // nil: none are made
	Tokens    string              // path of the tokens file
	Operators string              // folder with the operators file and its key
	Uplink    func() UplinkStatus // nil: the terminal works alone
	Limits    Limits
	Listeners []net.Listener // already open, instead of HTTP.Listen and HTTP.Socket
	Selling   func()         // called at each checkout; may be nil
	Supply    func() Supply  // nil: no catalogue comes from head office
	Load      func() Load    // nil: nobody watches

	// Pace holds back what nobody waits for, until its turn or done; nil: nothing does.
	Pace    func(done <-chan struct{})
	Release string
	Metrics *metrics.Set // nil: one of its own
	Log     *slog.Logger
}

// Limits is what the process may use, as posd found it at its start; 0 is no limit.
type Limits struct {
	GoMemory, SliceMemory int64 // bytes
	MemoryHigh            int64 // bytes
	CPUPercent            int64 // of one core
	CPUBurst              int64 // microseconds above the quota that a quiet time lets be used at once
	Tasks                 int64
	Procs                 int // GOMAXPROCS
	Group, Hidden         string
	Differs               []string
}

// Load is what the kernel did about the limits, and posd about that.
type Load struct {
	Throttled, CPUWaiting, MemoryWaiting, IOWaiting int   // percent, over the last seconds
	Background                                      int   // percent of the quota that background work may fill
	Memory, MemoryHigh, MemoryMax, OOMKills         int64 // bytes; times since the slice began
	Shedding                                        bool
	Reasons                                         []string
}

// UplinkStatus is what the status page tells about the way to head office.
type UplinkStatus struct {
	_ [0]func() // not compared: see docs/maintain.md on the size

	Connected                bool
	Server, Ledger           string
	Sent, Settled, Unsettled uint64
	UnsentAge, UnsettledAge  time.Duration // of the oldest record
	Lost                     uint64        // records declared lost
	Rot                      string        // what cannot be read and holds up what follows
	Held, Fork, LastError    string
}

// Server is the HTTP interface.
type Server struct {
	o          Options
	tokens     *tokens
	desk       *operator.Desk
	users      map[uint32]string // of the unix socket who need no token
	codes      *itemcode.Rules   // without patterns, where the settings have none
	admission  *admission
	profiling  sync.Mutex    // one profile at a time
	stopping   chan struct{} // closed by Shutdown
	stopOnce   sync.Once
	meters     *meters
	http       *http.Server
	listenHost string
	listeners  []*limited
	pool       sync.Pool
	large      chan struct{}
	printed    printed       // by calls that make no event
	streams    chan struct{} // of events, as many as there may be
	times      streamTimes
	downloads  chan struct{}
	noSpace    atomic.Bool    // the last sale found no room
	mu         sync.Mutex     // Serve and Shutdown
	accepting  sync.WaitGroup // the listeners' loops
}

// New prepares a server; it listens on nothing yet.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.HTTP.MaxBody <= 0 {
		o.HTTP.MaxBody = defaultMax
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Journal == nil || o.View == nil || o.Register == nil || o.Catalogue == nil {
		return nil, errors.New("httpapi: journal, view, register and catalogue must be given")
	}
	s := &Server{
		o: o, large: make(chan struct{}, largeBodies),
		tokens: newTokens(o.Tokens, o.Log),
	}
	codes, err := itemcode.NewRules(nil, o.Terminal.Currency)
	if err != nil {
		return nil, err
	}
	s.codes = codes
	if s.o.Papers == nil {
		if s.o.Papers, err = withoutPrinter(&o); err != nil {
			return nil, err
		}
	}
	s.openDesk()
	s.users = s.socketUsers("/etc/passwd", "/proc/self/uid_map")
	s.admission = newAdmission(o.HTTP.Rate, o.Limits.CPUPercent)
	s.stopping = make(chan struct{})
	s.streams, s.downloads, s.times = make(chan struct{}, mostStreams), make(chan struct{}, downloads), usualTimes
	s.meters = newMeters(o.Metrics, s)
	s.pool.New = func() any { return &exchange{dec: decoder{items: o.Catalogue}} }
	if host, _, err := net.SplitHostPort(o.HTTP.Listen); err == nil {
		s.listenHost = strings.Trim(host, "[]")
	}
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: headerBytes, DisableGeneralOptionsHandler: true,
		Protocols: only1, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return s, nil
}

// Listen takes the configured address and socket, or what is open already. Errors
// wrap syscall.EADDRINUSE and fs.ErrPermission.
func (s *Server) Listen() error {
	for _, ln := range s.o.Listeners {
		most := tcpConns
		if ln.Addr().Network() == "unix" {
			most = socketConns
		}
		s.listeners = append(s.listeners, limit(ln, most, s.meters.cut.Inc))
	}
	if len(s.o.Listeners) > 0 {
		return nil
	}
	if at := s.o.HTTP.Listen; at != "" {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", at, err)
		}
		s.listeners = append(s.listeners, limit(ln, tcpConns, s.meters.cut.Inc))
	}
	if at := s.o.HTTP.Socket; at != "" {
		ln, err := listenSocket(at)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("listen on socket %s: %w", at, err)
		}
		s.listeners = append(s.listeners, limit(ln, socketConns, s.meters.cut.Inc))
	}
	if len(s.listeners) == 0 {
		return errors.New("neither http.listen nor http.socket is configured: no front end could reach posd")
	}
	return nil
}

// listenSocket replaces a socket that a dead process left behind. The file is
// for the owner and the group.
func listenSocket(at string) (net.Listener, error) {
	if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSocket != 0 {
		c, err := net.DialTimeout("unix", at, time.Second)
		if err == nil {
			c.Close()
			return nil, syscall.EADDRINUSE
		}
		if err := os.Remove(at); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", at)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(at, socketMode); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// Addr is where the first listener listens; nil before Listen.
func (s *Server) Addr() net.Addr {
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// Serve answers until Shutdown, then returns nil.
func (s *Server) Serve() error {
	failed := make(chan error, len(s.listeners))
	s.mu.Lock()
	for _, l := range s.listeners {
		s.accepting.Add(1)
		go func() {
			defer s.accepting.Done()
			failed <- s.http.Serve(l)
		}()
	}
	s.mu.Unlock()
	err := <-failed
	select {
	case <-s.stopping:
		err = nil
	default:
		s.http.Close() // one listener is lost: a half-reachable terminal helps nobody
	}
	s.accepting.Wait()
	return err
}

// Shutdown takes no more connections and waits for the answers under way, until
// ctx ends; what is left then is cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopOnce.Do(func() { close(s.stopping) })
	s.closeListeners()
	s.mu.Unlock()
	// http.Server.Shutdown would drop a connection that is just being accepted, and one
	// whose first request it has not read.
	s.accepting.Wait()
	s.http.SetKeepAlivesEnabled(false)
	s.awaitFirst(ctx)
	for _, l := range s.listeners {
		l.cutUnasked() // or the server would wait for them
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("answers under way were cut: %w", err), s.http.Close())
	}
	return err
}

// awaitFirst gives connections that have only just come a moment for their request.
func (s *Server) awaitFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		n := 0
		for _, l := range s.listeners {
			n += l.unasked()
		}
		if n == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// ReloadTokens reads the tokens file now.
func (s *Server) ReloadTokens() { s.tokens.look(true) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if c := connOf(r); c != nil {
		c.touch()
		defer c.touch()
	}
	route := routeOf(r.URL.Path)
	bad, done := s.guard(w, r)
	status := http.StatusNoContent
	if bad != nil {
		status = s.refused(w, bad)
	} else if !done {
		status = s.serve(w, r, route)
	}
	s.meters.answered(route, status, time.Since(began))
}

// routes are the names of the metrics' labels too.
type route uint8

const (
	routeStatic route = iota
	routeCheckout
	routeSale
	routeFind
	routeItems
	routeStep
	routeBaskets
	routeShift
	routeReport
	routeOperators
	routeSign
	routePaper
	routePrinter
	routeEvents
	routeExports
	routeExport
	routeStatus
	routeLive
	routeReady
	routeMetrics
	routeSchema
	routeDebug
	routeNone
	routeCount
)

var routeNames = [routeCount]string{
	routeStatic: "static", routeCheckout: "checkout", routeSale: "sale", routeFind: "find", routeItems: "items", routeStep: "step", routeBaskets: "baskets",
	routeShift: "shift", routeReport: "report", routeOperators: "operators", routeSign: "sign", routePaper: "paper", routePrinter: "printer",
	routeEvents: "events", routeExports: "exports", routeExport: "export", routeStatus: "status", routeLive: "livez", routeReady: "readyz",
	routeMetrics: "metrics", routeSchema: "schema", routeDebug: "debug", routeNone: "none",
}

const salePath = "/v1/sales/"

func routeOf(path string) route {
	switch path {
	case "/v1/checkout":
		return routeCheckout
	case "/v1/sales":
		return routeFind
	case itemsPath:
		return routeItems
	case basketsPath:
		return routeBaskets
	case "/v1/shift":
		return routeShift
	case operatorsPath, mePath:
		return routeOperators
	case signInPath, signOutPath, approvePath:
		return routeSign
	case eventsPath:
		return routeEvents
	case exportsPath:
		return routeExports
	case printerPath:
		return routePrinter
	case "/v1/status":
		return routeStatus
	case "/livez":
		return routeLive
	case "/readyz":
		return routeReady
	case "/metrics":
		return routeMetrics
	case "/debug/schema":
		return routeSchema
	case tracePath:
		return routeDebug
	}
	if strings.HasPrefix(path, profilePath) {
		return routeDebug
	}
	if id, ok := strings.CutPrefix(path, salePath); ok && id != "" && !strings.Contains(id, "/") {
		return routeSale
	}
	if exportOf(path) != "" {
		return routeExport
	}
	if id, ok := strings.CutPrefix(path, basketsPath+"/"); ok && id != "" && !strings.Contains(id, "/") {
		return routeBaskets
	}
	if n, ok := strings.CutPrefix(path, reportPath); ok && n != "" && !strings.Contains(n, "/") {
		return routeReport
	}
	if a, _ := match(path); a != nil {
		if strings.HasSuffix(path, paperEnd) {
			return routePaper
		}
		return routeStep
	}
	if strings.HasPrefix(path, itemPath) && len(path) > len(itemPath) {
		return routeItems // whatever follows: the code may be a link
	}
	if strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/debug/") {
		return routeNone
	}
	return routeStatic
}

// needsToken says what only a front end may ask for.
func (at route) needsToken() bool {
	switch at {
	case routeStatic, routeLive, routeReady, routeMetrics, routeSchema, routeNone:
		return false
	}
	return true
}

// methods are those that a route takes.
func (at route) methods() string {
	switch at {
	case routeCheckout, routeStep, routeSign:
		return "POST"
	case routeBaskets, routePaper, routeExports:
		return "GET, HEAD, POST"
	}
	return "GET, HEAD"
}

// serve answers one request that the guard let through.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, at route) int {
	needs := at.needsToken() || (at == routeMetrics || at == routeSchema) && !near(r)
	if !needs && at != routeLive && at != routeReady {
		if bad := s.admission.read(""); bad != nil {
			return s.refused(w, bad)
		}
	}
	switch {
	case at == routeStatic:
		return s.static(w, r)
	case at == routeNone || at == routeDebug && !onSocket(r):
		return s.refused(w, refuse("not-found", "there is nothing at this path; /debug/schema describes what there is"))
	}
	allow := at.methods()
	if !allowed(allow, r.Method) {
		return notAllowed(w, allow)
	}
	if (at == routeBaskets || at == routePaper) && r.Method == http.MethodPost {
		at = routeStep
	}
	front := ""
	if needs {
		name, bad := s.authorize(w, r)
		if bad == nil && at != routeCheckout {
			bad = s.admission.read(name)
		}
		if bad != nil {
			return s.refused(w, bad)
		}
		front = name
	}
	if r.Method == http.MethodPost && r.URL.RawQuery != "" { // nobody would read it, and a key does not bind it
		return s.refused(w, refuse("query-invalid", "a POST takes no query: what it needs stands in its body"))
	}
	w.Header().Set("Cache-Control", "no-store")
	return s.answer(w, r, at, front)
}

// answer answers a request that may be made, but for what depends on its operator.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, at route, front string) int {
	switch at {
	case routeShift, routeReport, routeEvents: // which tells all that reports do
		if bad := s.may(r, front, operator.ShiftReport); bad != nil {
			return s.refused(w, bad)
		}
	}
	switch at {
	case routeCheckout:
		if s.o.Selling != nil {
			s.o.Selling()
		}
		return s.checkout(w, r, front)
	case routeStep:
		return s.act(w, r, front)
	case routeBaskets:
		return s.baskets(w, r)
	case routeShift:
		return s.shift(w)
	case routeReport:
		return s.report(w, r)
	case routeOperators:
		return s.operators(w, r, front)
	case routeSign:
		return s.sign(w, r, front)
	case routePaper:
		return s.paper(w, r, front)
	case routePrinter:
		return s.printer(w, r)
	case routeEvents:
		return s.events(w, r)
	case routeExports, routeExport:
		return s.exports(w, r, front)
	case routeDebug:
		return s.debug(w, r)
	case routeSale:
		return s.bySale(w, r)
	case routeFind:
		return s.byReceipt(w, r)
	case routeItems:
		return s.items(w, r)
	case routeStatus:
		return s.status(w, r, front)
	case routeLive:
		return s.live(w)
	case routeReady:
		return s.ready(w, r)
	case routeMetrics:
		return s.metrics(w)
	default:
		return schema(w)
	}
}

// queryOf reads a query; ok is false unless its names are known ones, each given once.
func queryOf(r *http.Request, known ...string) (q url.Values, ok bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	ok = err == nil
	for name, v := range q {
		ok = ok && len(v) == 1 && slices.Contains(known, name)
	}
	return q, ok
}

func allowed(allow, method string) bool {
	return method == http.MethodPost && strings.HasSuffix(allow, "POST") ||
		(method == http.MethodGet || method == http.MethodHead) && allow != "POST"
}

func notAllowed(w http.ResponseWriter, allow string) int {
	w.Header().Set("Allow", allow)
	return refuse("method-not-allowed", "use "+allow).write(w)
}

// refused answers with a problem and counts it.
func (s *Server) refused(w http.ResponseWriter, p *problem) int {
	s.meters.refused(p.kind)
	return p.write(w)
}
