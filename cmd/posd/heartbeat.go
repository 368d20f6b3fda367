package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"posd/journal"
	"posd/journal/chain"
	"posd/pos"
	"posd/pos/event"
	"posd/sync/uplink"
	"posd/sync/wire"
)

const (
	lookEvery = 5 * time.Second // for alarms that have begun or ended
	// longBacklog: when a backlog that had grown so old is gone, head office wants to
	// know before the next heartbeat is due.
	longBacklog = time.Minute
	// lowDisk is the part of the data partition, in percent, below which free space is
	// an alarm; lowSegments is the same in files of the journal.
	lowDisk     = 2
	lowSegments = 8
)

// heart says how the terminal is: to head office, in heartbeats.
type heart struct {
	t       *terminal
	run     uint64
	started time.Time
	stay    bool // no new journal could be begun at the start, where one was needed
	backlog backlog

	config func() wire.ConfigState // what became of what head office configured; nil: it cannot

	mu   sync.Mutex
	told told
	buf  []byte
}

// configured is what became of what head office configured last.
func (h *heart) configured() wire.ConfigState {
	if h.config == nil {
		return wire.ConfigState{}
	}
	return h.config()
}

// told is what of the last heartbeat is worth an early one when it changes.
type told struct {
	alarms []string
	config wire.ConfigState
	items  string // version of the catalogue
	late   bool   // the backlog was old
}

func newHeart(t *terminal) *heart {
	return &heart{t: t, run: rand.Uint64()>>1 | 1, started: time.Now(), stay: t.stay, backlog: backlog{j: t.journal}}
}

// watch asks for an early heartbeat when an alarm has begun or ended.
func (h *heart) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s := h.t.uplink.Status()
			codes, _ := h.alarms(&s)
			h.mu.Lock()
			now := told{codes, h.configured(), h.t.catalogue.Version(), h.told.late && s.Unsettled > 0}
			news := !now.same(&h.told)
			h.mu.Unlock()
			if news && s.Connected {
				h.t.uplink.Beat()
			}
		}
	}
}

func (a *told) same(b *told) bool {
	return a.config == b.config && a.items == b.items && a.late == b.late && slices.Equal(a.alarms, b.alarms)
}

// beat is the body of a heartbeat.
func (h *heart) beat() []byte {
	t := h.t
	up, reg, st, load := t.uplink.Status(), t.register.Status(), t.journal.Stats(), t.load()
	floor, head := t.journal.Floor()
	b := wire.Heartbeat{
		Release: releaseName(), Store: t.c.Terminal.Store, Terminal: t.c.Terminal.ID, Run: h.run,
		Started: h.started, At: reg.Now, Clock: string(reg.Clock),
		Journal: t.journal.ID(), Oldest: t.journal.Oldest(), Floor: floor, Head: head,
		Sent: up.Sent, Settled: up.Settled, JournalBytes: count(st.SegmentBytes), JournalMax: count(t.budget.Load()),
		Limits: wire.HeartbeatLimits{
			Memory: count(load.Memory), MemoryMax: count(t.limits.SliceMemory), CPUPercent: count(t.limits.CPUPercent),
			Throttled: percent(load.Throttled), CPUWaiting: percent(load.CPUWaiting), MemWaiting: percent(load.MemoryWaiting),
			IOWaiting: percent(load.IOWaiting), Shedding: load.Shedding,
			OOMKills: count(load.OOMKills), MemoryMaxHits: count(load.MemoryMax),
		},
	}
	b.DiskFree, b.DiskTotal = space(t.c.Data.Dir)
	h.mu.Lock()
	defer h.mu.Unlock()
	b.Config = h.configured()
	b.Catalogue = wire.CatalogueState{Version: t.catalogue.Version(), Items: count(int64(t.catalogue.Len()))}
	b.Backlog = h.backlog.state(up.Settled, floor, reg.Now, sold{reg.Branch, reg.Receipt, reg.Perpetual})
	if up.UnsettledAge > 0 { // no jump of the wall clock is in it
		b.Backlog.Age = seconds(up.UnsettledAge)
	}
	if b.Backlog.Known {
		b.Backlog.Currency = reg.Currency.Code
	}
	var why []string
	b.Alarms, why = h.alarms(&up)
	b.Why = strings.Join(why, "; ")
	h.told = told{b.Alarms, b.Config, b.Catalogue.Version, b.Backlog.Age > uint64(longBacklog/time.Second)}
	h.buf = b.Append(h.buf[:0])
	return slices.Clone(h.buf)
}

// alarms are what somebody has to look after, by code, and what is known of them.
func (h *heart) alarms(up *uplink.Status) (codes, why []string) {
	t, j := h.t, h.t.journal
	st := j.Stats()
	alarm := func(is bool, code, reason string) {
		if is {
			codes = append(codes, code)
			if reason != "" {
				why = append(why, reason)
			}
		}
	}
	failed := ""
	if err := j.Err(); err != nil {
		failed = err.Error()
	}
	alarm(failed != "", wire.AlarmFailed, failed)
	alarm(up.Fork != "", wire.AlarmForked, up.Fork)
	alarm(h.stay && up.Fork == "", wire.AlarmForked, "no new journal could be begun where one was needed")
	alarm(up.Held != "", wire.AlarmHeld, up.Held)
	rot := "damaged segments: " + strconv.Itoa(st.Damaged)
	if up.Rot != "" {
		rot = up.Rot
	}
	alarm(st.Damaged > 0 || up.Rot != "", wire.AlarmRot, rot)
	alarm(up.Lost > 0, wire.AlarmLost, strconv.FormatUint(up.Lost, 10)+" records were declared lost: keep the disk, posctl salvage may find them")
	alarm(j.ReadOnly(), wire.AlarmReadOnly, "")
	alarm(!j.ReadOnly() && j.Full(), wire.AlarmFull, "")
	free, total := space(t.c.Data.Dir)
	alarm(total > 0 && (free < total/100*lowDisk || free < lowSegments*uint64(t.c.Data.Segment)), wire.AlarmDisk, "")
	alarm(st.Keyed && !st.Signing, wire.AlarmUnsigned, "")
	alarm(t.register.Status().Clock == event.ClockBehind, wire.AlarmClock, "")
	load := t.load()
	alarm(load.Shedding, wire.AlarmMemory, strings.Join(load.Reasons, ", "))
	alarm(len(t.limits.Differs) > 0, wire.AlarmLimits, strings.Join(t.limits.Differs, ", "))
	if long := t.cardAlarm(); long != "" {
		alarm(true, wire.AlarmCard, long)
	}
	amiss := t.itemsAmiss()
	alarm(amiss != "", wire.AlarmCatalogue, amiss)
	return codes, why
}

// cardAlarm names the card payment of which nobody knows for minutes what became of it, or
// says that of some, approved offline on an earlier day.
func (t *terminal) cardAlarm() string {
	if t.card == nil {
		return ""
	}
	st := t.card.Status()
	for _, x := range st.Long() {
		return "card payment " + x.Tender + " of basket " + x.Basket + " is " + x.State
	}
	return st.Old()
}

func count(n int64) uint64           { return uint64(max(0, n)) }
func percent(n int) uint64           { return uint64(min(max(0, n), 100)) }
func seconds(d time.Duration) uint64 { return uint64(max(0, d) / time.Second) }

// space is what is left for posd, and all there is, of a folder's file system.
func space(dir string) (free, total uint64) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, 0
	}
	size := uint64(max(0, st.Bsize))
	total = st.Blocks * size
	return min(st.Bavail*size, total), total
}

// lookMost is how many records one heartbeat looks at: between two sales there are few
// others. What is not found then, the next heartbeat goes on to look for.
const lookMost = 64

// backlog tells what the ledger does not have, without adding anything up. Each sale
// carries the terminal's perpetual total, so the value of all that is not settled is
// that total now, less what it was before the first sale that is not settled. A
// backlog of 100,000 sales costs what one of two costs: a look at its first records.
type backlog struct {
	j      *journal.Journal
	looked uint64 // all records behind settled up to here are neither first nor sale
	first  struct {
		seq uint64
		at  time.Time
	} // the first event not settled; seq 0: none was found
	sale struct {
		seq    uint64
		before sold
	} // the first sale not settled; likewise
}

// sold is what a terminal has sold at some point of its life.
type sold struct {
	branch, receipt uint64
	perpetual       pos.Money
}

func (b *backlog) state(settled, floor uint64, now time.Time, sum sold) (l wire.Backlog) {
	if settled >= floor {
		return wire.Backlog{Known: true}
	}
	l.Records = floor - settled
	err := b.look(settled, floor)
	if b.first.seq != 0 {
		l.Age = seconds(now.Sub(b.first.at))
	}
	switch {
	case b.sale.seq != 0:
		l.Known, l.Value = true, int64(sum.perpetual-b.sale.before.perpetual)
		if sum.branch == b.sale.before.branch {
			l.Sales = sum.receipt - b.sale.before.receipt
		}
	case err == nil && b.looked >= floor:
		l.Known = true // no sale among them
	}
	return l
}

// look finds the first event and the first sale behind settled.
func (b *backlog) look(settled, floor uint64) error {
	if b.first.seq <= settled {
		b.first.seq = 0
	}
	if b.sale.seq <= settled {
		b.sale.seq = 0
	}
	from := max(b.looked, settled) + 1
	if b.first.seq == 0 {
		from = settled + 1
	}
	from = max(from, b.j.Oldest()) // what is settled may not be known yet: the state file was lost
	if b.first.seq != 0 && b.sale.seq != 0 || from > floor {
		return nil
	}
	r, err := b.j.Reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	for range lookMost {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.Guard(func() error { return b.take(rec) })
		}
		if err != nil {
			return err
		}
		if b.sale.seq == 0 {
			b.looked = max(b.looked, rec.Seq)
		}
		if b.first.seq != 0 && b.sale.seq != 0 {
			return nil
		}
	}
	return nil
}

// take looks at one record.
func (b *backlog) take(rec chain.Record) error {
	named, err := chain.Named(chain.ID{}, rec)
	if err != nil || named.Record.Type != event.RecordType {
		return err
	}
	h, data, err := event.Parse(named.Record.Payload)
	if err != nil {
		return err
	}
	if b.first.seq == 0 {
		b.first.seq, b.first.at = rec.Seq, h.Time
	}
	if b.sale.seq != 0 || h.Type != event.TypeSaleCompleted {
		return nil
	}
	s, err := event.ParseSale(data)
	if err != nil {
		return err
	}
	b.sale.seq = rec.Seq
	b.sale.before = sold{branchOf(s.Receipt), s.Number - 1, s.Perpetual - s.Total}
	return nil
}

// branchOf reads <terminal>-<branch>-<n>; 0: it is something else.
func branchOf(receipt string) uint64 {
	parts := strings.Split(receipt, "-")
	if len(parts) < 3 {
		return 0
	}
	n, _ := strconv.ParseUint(parts[len(parts)-2], 10, 64)
	return n
}
