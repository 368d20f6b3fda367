package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/exp/trace"
)

// stop is a time in which a sale's goroutine did not run.
type stop struct {
	from, to trace.Time
	why      string // "wait for a processor", or what it waited for
	where    string // in posd
}

func (s *stop) long() time.Duration { return s.to.Sub(s.from) }

// request is one turn of a connection, from the bytes that woke it until it waits for
// the next.
type request struct {
	from, to trace.Time
	sale     bool
	stops    []stop
}

// finding is the longest stop of a sale in a trace.
type finding struct {
	sales   int
	longest stop
	whole   time.Duration // the request that it is of
	beside  []string      // what ran or was under way meanwhile
}

func (f *finding) String() string {
	if f.sales == 0 {
		return "no sale in this trace"
	}
	s := fmt.Sprintf("%d sales; the longest stop took %v of one of %v: %s, in %s", f.sales, f.longest.long().Round(time.Microsecond), f.whole.Round(time.Microsecond), f.longest.why, f.longest.where)
	return s + "; meanwhile: " + strings.Join(f.beside, ", ")
}

// goroutine is what is known of one so far.
type goroutine struct {
	name    string // the function that it began with
	state   trace.GoState
	since   trace.Time
	why     string
	where   string
	request *request // under way
}

// span is when something ran.
type span struct {
	name     string
	from, to trace.Time
}

// reader walks a trace.
type reader struct {
	all    map[trace.GoID]*goroutine
	done   []*request
	spans  []span
	ranges map[string]trace.Time // open ones
}

// analyze reads a trace.
func analyze(text []byte) (*finding, error) {
	events, err := trace.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r := &reader{all: map[trace.GoID]*goroutine{}, ranges: map[string]trace.Time{}}
	for {
		e, err := events.ReadEvent()
		if errors.Is(err, io.EOF) {
			return r.judge(), nil
		}
		if err != nil {
			return nil, err
		}
		r.event(&e)
	}
}

func (r *reader) event(e *trace.Event) {
	switch e.Kind() {
	case trace.EventRangeBegin, trace.EventRangeActive:
		name := e.Range().Name + "/" + e.Range().Scope.String()
		if _, open := r.ranges[name]; !open {
			r.ranges[name] = e.Time()
		}
	case trace.EventRangeEnd:
		name := e.Range().Name + "/" + e.Range().Scope.String()
		if from, open := r.ranges[name]; open {
			r.spans = append(r.spans, span{e.Range().Name, from, e.Time()})
			delete(r.ranges, name)
		}
	case trace.EventStateTransition:
		if t := e.StateTransition(); t.Resource.Kind == trace.ResourceGoroutine {
			r.transition(e, &t)
		}
	}
}

func (r *reader) transition(e *trace.Event, t *trace.StateTransition) {
	id := t.Resource.Goroutine()
	g := r.all[id]
	if g == nil {
		g = &goroutine{since: e.Time()}
		r.all[id] = g
	}
	from, to := t.Goroutine()
	var frames []string
	for f := range t.Stack.Frames() {
		frames = append(frames, f.Func)
	}
	if len(frames) > 0 && (from == trace.GoRunning || from == trace.GoNotExist || g.name == "") {
		g.name = nameOf(frames)
	}
	// How long the state was that ends now.
	if g.since < e.Time() {
		r.ended(g, e.Time())
	}
	if g.request != nil && from == trace.GoRunning && contains(frames, ".checkout") {
		g.request.sale = true
	}
	switch {
	case to == trace.GoWaiting && betweenRequests(frames):
		if g.request != nil {
			g.request.to = e.Time()
			r.done = append(r.done, g.request)
		}
		g.request = nil
	case g.request == nil && from == trace.GoWaiting && g.where == idle:
		g.request = &request{from: e.Time()}
	}
	g.state, g.since, g.why, g.where = to, e.Time(), t.Reason, place(frames, to)
}

const idle = "wait for the next request"

// ended notes the state that a goroutine leaves.
func (r *reader) ended(g *goroutine, now trace.Time) {
	if g.state == trace.GoRunning {
		r.spans = append(r.spans, span{g.name, g.since, now})
		return
	}
	if g.state == trace.GoSyscall && g.where != "runtime.notetsleepg" { // the signal loop and its like only wait there
		r.spans = append(r.spans, span{"a system call in " + g.where, g.since, now})
	}
	if g.request == nil || g.state == trace.GoUndetermined || g.state == trace.GoNotExist {
		return
	}
	s := stop{from: g.since, to: now, why: g.why, where: g.where}
	switch g.state {
	case trace.GoRunnable:
		s.why = "wait for a processor"
	case trace.GoSyscall:
		s.why = "in a system call"
	}
	if s.where == "?" && len(g.request.stops) > 0 {
		s.where = g.request.stops[len(g.request.stops)-1].where
	}
	g.request.stops = append(g.request.stops, s)
}

// nameOf names a goroutine by the first function of ours that it called.
func nameOf(frames []string) string {
	for _, f := range slices.Backward(frames) {
		if strings.HasPrefix(f, "posd/") || strings.HasPrefix(f, "net/http.") || strings.HasPrefix(f, "github.com/nats-io/nats") {
			return f
		}
	}
	return frames[len(frames)-1]
}

// betweenRequests: a connection waits for its next request.
func betweenRequests(frames []string) bool {
	return contains(frames, "net/http.(*conn).serve") && !contains(frames, "ServeHTTP") && contains(frames, "internal/poll.(*FD).Read")
}

func contains(frames []string, part string) bool {
	return slices.ContainsFunc(frames, func(f string) bool { return strings.Contains(f, part) })
}

// place is the first function of posd in a stack.
func place(frames []string, to trace.GoState) string {
	if to == trace.GoWaiting && betweenRequests(frames) {
		return idle
	}
	for _, f := range frames {
		if strings.HasPrefix(f, "posd/") {
			return f
		}
	}
	if len(frames) > 0 {
		return frames[0]
	}
	return "?"
}

func (r *reader) judge() *finding {
	f := &finding{}
	for _, q := range r.done {
		if !q.sale {
			continue
		}
		f.sales++
		for _, s := range q.stops {
			if s.long() > f.longest.long() {
				f.longest, f.whole = s, q.to.Sub(q.from)
			}
		}
	}
	if f.sales > 0 {
		f.beside = r.beside(f.longest.from, f.longest.to)
	}
	return f
}

// beside sums up what ran within a time, the most first.
func (r *reader) beside(from, to trace.Time) (out []string) {
	sums := map[string]time.Duration{}
	for _, s := range r.spans {
		if d := min(s.to, to).Sub(max(s.from, from)); d > 0 && s.from < to && s.to > from {
			sums[s.name] += d
		}
	}
	names := slices.SortedFunc(func(yield func(string) bool) {
		for n := range sums {
			if !yield(n) {
				return
			}
		}
	}, func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	for _, n := range names[:min(5, len(names))] {
		out = append(out, fmt.Sprintf("%s %v", n, sums[n].Round(time.Microsecond)))
	}
	if len(out) == 0 {
		out = []string{"nothing of posd ran"}
	}
	return out
}
