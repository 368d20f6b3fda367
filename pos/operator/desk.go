package operator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	mostSessions  = 64
	mostApprovals = 64

	// ApprovalTime is how long an approval waits for its call.
	ApprovalTime = time.Minute

	firstLock = 30 * time.Second
	mostLock  = 15 * time.Minute

	// All operators together, at one front end: so many wrong PINs at once, then one each
	// so often. Names that there are not do not count: nothing can be learned from them.
	wrongAtOnce = 20
	wrongEvery  = 15 * time.Second
)

var (
	// ErrWrong: there is no such operator, or the PIN is another one.
	ErrWrong = errors.New("the operator or the PIN is wrong")
	// ErrSession: there is no such session, or not any more.
	ErrSession = errors.New("the session has ended")
	// ErrApproval: there is no such approval, not any more, or not for this call.
	ErrApproval = errors.New("the approval is used, too old, or another operator's")
)

// LockedError says how long no PIN is looked at.
type LockedError struct {
	Operator string // empty: all of them, for there were too many wrong ones
	For      time.Duration
}

func (e *LockedError) Error() string {
	who := "operator " + e.Operator + " is locked"
	if e.Operator == "" {
		who = "too many wrong PINs at this front end"
	}
	return who + ", for " + strconv.Itoa(e.Seconds()) + " s"
}

// Seconds is the time, rounded up.
func (e *LockedError) Seconds() int { return int((e.For + time.Second - 1) / time.Second) }

// Desk is who is signed in, who is locked, and what is approved. All of it is in memory.
type Desk struct {
	book *Book
	now  func() time.Time // monotonic
	gate chan struct{}    // one PIN at a time: all that is known of one counts for the next

	mu        sync.Mutex
	began     time.Time
	wrong     map[string]*wrong
	together  map[string]*rate.Limiter // by front end: as many as there are tokens
	sessions  map[secret]*session
	approvals map[secret]*approval
}

// secret stands for a token: its SHA-256.
type secret [sha256.Size]byte

type wrong struct {
	pins  int
	since time.Time // the last one, or the start
}

type session struct {
	front, operator string
	check           Check // the PIN that opened it
	used            time.Time
}

type approval struct {
	front, operator string
	by              Entry // as they were
	grants          Grants
	until           time.Time
	call            string // that it is used for; empty: none yet
}

// NewDesk begins with how often each operator gave a wrong PIN before the start: a lock
// begins anew with it, since no clock tells how long ago that was. now may be nil.
func NewDesk(b *Book, pins map[string]int, now func() time.Time) *Desk {
	if now == nil {
		now = time.Now
	}
	d := &Desk{
		book: b, now: now, gate: make(chan struct{}, 1), began: now(), wrong: map[string]*wrong{},
		together: map[string]*rate.Limiter{},
		sessions: map[secret]*session{}, approvals: map[secret]*approval{},
	}
	for name, n := range pins {
		d.wrong[name] = &wrong{n, d.began}
	}
	return d
}

// Book is that of the desk.
func (d *Desk) Book() *Book { return d.book }

// Outcome is what an attempt at a PIN has come to.
type Outcome struct {
	Entry  Entry
	Wrong  int  // PINs in a row; 0: it was right
	Locked bool // this one was one too many
}

// Try looks at a PIN. What comes out of it is noted before anybody hears of it, by note,
// which has it journaled: where that fails, a right PIN lets nobody in, and a wrong one
// counts nevertheless. Errors: ErrWrong, *LockedError, ctx's, or note's.
func (d *Desk) Try(ctx context.Context, r *Rules, front, name string, pin []byte, note func(Outcome) error) (Entry, error) {
	select {
	case d.gate <- struct{}{}:
		defer func() { <-d.gate }()
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
	if err := d.locked(r, front, name); err != nil {
		return Entry{}, err
	}
	e, known, right := d.book.check(name, pin)
	if right {
		if err := note(Outcome{Entry: e}); err != nil {
			return Entry{}, err
		}
		d.Forget(name)
		return e, nil
	}
	if !known { // the name may be a PIN: it is written nowhere
		return Entry{}, ErrWrong
	}
	o := d.count(r, front, name)
	o.Entry = e
	if err := note(o); err != nil {
		return Entry{}, err
	}
	if o.Locked {
		return Entry{}, d.locked(r, front, name)
	}
	return Entry{}, ErrWrong
}

func (d *Desk) count(r *Rules, front, name string) Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	l := d.together[front]
	if l == nil {
		l = rate.NewLimiter(rate.Every(wrongEvery), wrongAtOnce)
		d.together[front] = l
	}
	l.AllowN(now, 1)
	w := d.wrong[name]
	if w == nil { // as many as there are operators, and some who are gone
		w = &wrong{}
		d.wrong[name] = w
	}
	w.pins, w.since = w.pins+1, now
	return Outcome{Wrong: w.pins, Locked: w.pins >= r.Attempts}
}

// locked refuses to look at a PIN.
func (d *Desk) locked(r *Rules, front, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if left := d.left(r, name, now); left > 0 {
		return &LockedError{name, left}
	}
	if l := d.together[front]; l != nil && l.TokensAt(now) < 1 {
		return &LockedError{"", time.Duration((1 - l.TokensAt(now)) * float64(wrongEvery))}
	}
	return nil
}

// left is how long an operator is locked. Callers hold mu.
func (d *Desk) left(r *Rules, name string, now time.Time) time.Duration {
	w := d.wrong[name]
	if w == nil || w.pins < r.Attempts {
		return 0
	}
	length := mostLock
	if n := w.pins - r.Attempts; n < 5 {
		length = min(mostLock, firstLock<<n)
	}
	return length - now.Sub(w.since)
}

// Locked says how long an operator is locked, 0: not.
func (d *Desk) Locked(r *Rules, name string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, d.left(r, name, d.now()))
}

// Forget the wrong PINs of an operator, who gave the right one.
func (d *Desk) Forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wrong, name)
}

// Unlock ends an operator's lock, and the front ends'.
func (d *Desk) Unlock(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wrong, name)
	clear(d.together)
}

// token makes one, with what is kept of it.
func token() (string, secret) {
	var b [32]byte
	rand.Read(b[:])
	t := base64.RawURLEncoding.EncodeToString(b[:])
	return t, sha256.Sum256([]byte(t))
}

// Open begins a session of an operator at a front end. The one that has idled the
// longest ends where there are too many; its operator is returned.
func (d *Desk) Open(front string, e Entry) (session_ string, ended string) {
	t, s := token()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sessions) >= mostSessions {
		var oldest secret
		for k, v := range d.sessions {
			if o := d.sessions[oldest]; o == nil || v.used.Before(o.used) {
				oldest = k
			}
		}
		ended = d.sessions[oldest].operator
		delete(d.sessions, oldest)
	}
	d.sessions[s] = &session{front, e.Name, e.Check, d.now()}
	return t, ended
}

// Who is the operator of a session, and how long it lasts if nothing is done. A call
// that does something renews it. Errors: ErrSession.
func (d *Desk) Who(r *Rules, front, token string, renew bool) (Entry, time.Duration, error) {
	s := secret(sha256.Sum256([]byte(token)))
	d.mu.Lock()
	v := d.sessions[s]
	d.mu.Unlock()
	if v == nil || v.front != front {
		return Entry{}, 0, ErrSession
	}
	e, ok := d.book.Find(v.operator)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	switch {
	case !ok || e.Check != v.check:
		delete(d.sessions, s)
		return Entry{}, 0, fmt.Errorf("%w: the operator, or the PIN, was changed", ErrSession)
	case now.Sub(v.used) >= r.Idle:
		return Entry{}, 0, fmt.Errorf("%w: nothing was done for %s", ErrSession, r.Idle)
	case renew:
		v.used = now
	}
	return e, r.Idle - now.Sub(v.used), nil
}

// Close ends a session and returns its operator.
func (d *Desk) Close(front, token string) (operator string, err error) {
	s := secret(sha256.Sum256([]byte(token)))
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.sessions[s]
	if v == nil || v.front != front {
		return "", ErrSession
	}
	delete(d.sessions, s)
	return v.operator, nil
}

// Sweep takes away what has idled for too long, and returns the sessions' operators.
func (d *Desk) Sweep(r *Rules) (ended []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for k, v := range d.sessions {
		if now.Sub(v.used) >= r.Idle {
			ended = append(ended, v.operator)
			delete(d.sessions, k)
		}
	}
	for k, a := range d.approvals {
		if !now.Before(a.until) {
			delete(d.approvals, k)
		}
	}
	return ended
}

// Sessions is how many there are.
func (d *Desk) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Approve makes an approval by e, of what g allows, for an operator's next call.
func (d *Desk) Approve(front string, e Entry, operator string, g Grants) string {
	t, s := token()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.approvals) >= mostApprovals {
		var first secret
		for k, v := range d.approvals {
			if o := d.approvals[first]; o == nil || v.until.Before(o.until) {
				first = k
			}
		}
		delete(d.approvals, first)
	}
	d.approvals[s] = &approval{front: front, by: e, operator: operator, grants: g, until: d.now().Add(ApprovalTime)}
	return t
}

// Claim uses an approval for a call, and returns who gave it and what it allows. The same
// call may claim it again, until it is spent. Errors: ErrApproval.
func (d *Desk) Claim(front, operator, token, call string) (by string, g Grants, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.approvals[sha256.Sum256([]byte(token))]
	if a == nil || a.front != front || a.operator != operator || a.call != "" && a.call != call || !d.now().Before(a.until) {
		return "", nil, ErrApproval
	}
	if e, ok := d.book.known.Load().find(a.by.Name); !ok || e.Check != a.by.Check || e.Role != a.by.Role {
		return "", nil, ErrApproval
	}
	a.call = call
	return a.by.Name, a.grants, nil
}

// Release gives an approval back: the call that had claimed it was refused.
func (d *Desk) Release(token, call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.approvals[sha256.Sum256([]byte(token))]; a != nil && a.call == call {
		a.call = ""
	}
}

// Spend takes an approval away: its call has been made.
func (d *Desk) Spend(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.approvals, sha256.Sum256([]byte(token)))
}
