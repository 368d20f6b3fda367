package journal

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

var (
	cutHistories = flag.Int("cut-histories", 400, "power-cut model: histories to play")
	cutSeed      = flag.Uint64("cut-seed", 0, "power-cut model: seed, 0 = from the clock")
)

// history plays several lives of one journal in the model and judges each
// recovery. The verdict names what was broken, or is nil.
type history struct {
	rng    *rand.Rand
	bug    bug
	fs     *modelFS
	before disk.Owner
	wrote  map[uint64]string // every record appended in any life that may still count
	acked  uint64
	noted  uint64 // last record that a floor note names
	lives  int
	kinds  struct{ cuts, kills, fails, flips int }
}

type verdict struct {
	kind string // lost, phantom, false alarm, undetected
	err  error
}

func (v *verdict) Error() string { return v.kind + ": " + v.err.Error() }

func newHistory(seed uint64, b bug) (*history, error) {
	h := &history{rng: rand.New(rand.NewPCG(seed, 7)), bug: b, wrote: map[uint64]string{}}
	h.fs = newModelFS(h.rng)
	if _, err := create(h.fs, CreateOptions{Identity: till, SegmentSize: 64 << 10}); err != nil {
		return nil, err
	}
	h.acked = 2
	return h, nil
}

func (h *history) options() Options {
	o := testOptions()
	o.fs, o.boot, o.bug = h.fs, fmt.Sprint("boot-", h.lives), h.bug
	return o
}

// play runs lives until one is judged wrong.
func (h *history) play(lives int) *verdict {
	for range lives {
		j, v := h.recover()
		if v != nil || j == nil {
			return v
		}
		h.live(j)
		if v := h.flip(); v != nil {
			return v
		}
	}
	return nil
}

// recover opens the journal and compares it with what was acknowledged.
func (h *history) recover() (*Journal, *verdict) {
	h.lives++
	o := h.options()
	if h.before.State == "open" && h.before.Boot != "" {
		o.boot = h.before.Boot
	}
	j, err := open(o, h.before)
	if err != nil {
		return nil, &verdict{"false alarm", err}
	}
	j.manual = true
	got, err := h.read(j)
	if err != nil {
		return nil, &verdict{"false alarm", err}
	}
	if j.floorSeq < h.acked {
		return nil, &verdict{"lost", fmt.Errorf("recovered %d records, %d were acknowledged", j.floorSeq, h.acked)}
	}
	for seq, p := range got {
		if w, ok := h.wrote[seq]; ok && w != p {
			return nil, &verdict{"phantom", fmt.Errorf("record %d is not the one that was written", seq)}
		}
	}
	for seq := range h.wrote { // what is gone now must never come back
		if seq > j.floorSeq {
			delete(h.wrote, seq)
		}
	}
	h.acked, h.noted = j.floorSeq, j.floorSeq
	return j, nil
}

func (h *history) read(j *Journal) (map[uint64]string, error) {
	r, err := j.Reader(j.Oldest())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	got := map[uint64]string{}
	for want := j.Oldest(); ; want++ {
		rec, err := r.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		if rec.Seq != want {
			return nil, fmt.Errorf("record %d where %d belongs", rec.Seq, want)
		}
		if rec.Type >= chain.TypeOwner {
			got[rec.Seq] = string(rec.Payload)
		}
		if rec.Seq == j.lastOpen && rec.Type != chain.TypeOpening {
			return nil, fmt.Errorf("record %d should be an opening state and has type %d", rec.Seq, rec.Type)
		}
	}
}

// live appends, syncs, rolls and frees until the power goes, the process is
// killed or a sync fails.
func (h *history) live(j *Journal) {
	h.fs.ops, h.fs.syncs = 0, 0
	end := h.rng.IntN(10)
	limit := 1 + h.rng.IntN(120)
	if len(h.fs.pending) > 0 {
		end, limit = 0, 1+h.rng.IntN(40) // the names that a kill left may be lost now
	}
	switch {
	case end < 6:
		h.fs.cutAt = limit
	case end < 8:
		h.fs.failAt = limit/2 + 1
	default:
		h.fs.killAt = limit
	}
	h.fs.during = func() { // the next group fills while one is being synced
		for range h.rng.IntN(3) {
			seg := j.segs[len(j.segs)-1]
			if j.rolling || j.fill+chain.FrameSize(5000)+2*j.align > int(seg.size) {
				return
			}
			h.append(j, h.rng.IntN(3000))
		}
	}
	defer func() { h.end(j, end) }()
	for step := 0; step < 4*limit && j.err == nil && h.fs.next == nil; step++ {
		h.step(j)
	}
}

func (h *history) step(j *Journal) {
	switch h.rng.IntN(12) {
	case 0:
		j.mu.Lock()
		if j.nrec == 0 && j.err == nil {
			j.writeNoteLocked(false)
			h.noted = j.floorSeq
		}
		j.mu.Unlock()
	case 1:
		j.Settle(j.floorSeq)
		j.prepare()
	default:
		h.append(j, h.rng.IntN(6000))
		if h.rng.IntN(2) == 0 {
			j.mu.Lock()
			j.durable = j.nrec > 0
			j.commitAll()
			j.mu.Unlock()
		}
	}
	h.acked = max(h.acked, j.floorSeq)
}

func (h *history) append(j *Journal, n int) {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(h.rng.Uint32())
	}
	seq, err := j.Append(chain.TypeOwner, Class(h.rng.IntN(2)), n, payload(p))
	if err == nil {
		h.wrote[seq] = string(p)
	}
	h.acked = max(h.acked, j.floorSeq)
}

// end takes the power, kills the process, or restarts it after a failed sync.
func (h *history) end(j *Journal, how int) {
	h.acked = max(h.acked, j.floorSeq)
	h.before = disk.Owner{}
	if how < 6 {
		h.kinds.cuts++
		if h.fs.next == nil {
			h.fs.next = h.fs.afterCut()
		}
		h.fs = h.fs.next
		return
	}
	h.before = disk.Owner{PID: 1, Boot: j.opt.boot, State: "open"}
	if j.err != nil && h.fs.next == nil {
		h.before.State = "failed"
		h.kinds.fails++
	} else {
		h.kinds.kills++
	}
	h.fs = h.fs.afterKill()
}

// flip damages one bit of acknowledged data on the medium, sees that this is
// reported. A last group that no note names is exempt.
func (h *history) flip() *verdict {
	if h.rng.IntN(3) != 0 || len(h.fs.pending) > 0 {
		return nil
	}
	o := h.options()
	j, err := open(o, h.before)
	if err != nil {
		return &verdict{"false alarm", err}
	}
	h.acked, h.noted = max(h.acked, j.floorSeq), j.floorSeq // open left a note
	seg := j.segs[len(j.segs)-1]
	if seg.end <= seg.align {
		return nil
	}
	f := h.fs.dir[segmentName(seg.no)]
	at := h.rng.IntN(seg.end)
	if at < seg.align && at >= page0Used {
		at %= page0Used // the rest of page 0 says nothing
	}
	h.kinds.flips++
	f.dur[at] ^= 1 << h.rng.IntN(8)
	f.mem[at] = f.dur[at]
	_, err = open(o, disk.Owner{})
	var ce *CorruptError
	if !errors.As(err, &ce) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrForeign) {
		return &verdict{"undetected", fmt.Errorf("bit at offset %d of segment %d, end %d: %v", at, seg.no, seg.end, err)}
	}
	return &verdict{"flipped", nil} // the history ends here
}

// playAll plays n histories and returns the first wrong verdict and counts.
func playAll(seed uint64, n int, b bug) (bad *verdict, badSeed uint64, total history) {
	for i := range uint64(n) {
		h, err := newHistory(seed+i, b)
		if err != nil {
			return &verdict{"false alarm", err}, seed + i, total
		}
		v := h.play(12)
		total.lives += h.lives
		total.kinds.cuts += h.kinds.cuts
		total.kinds.kills += h.kinds.kills
		total.kinds.fails += h.kinds.fails
		total.kinds.flips += h.kinds.flips
		if v != nil && v.kind != "flipped" {
			return v, seed + i, total
		}
	}
	return nil, 0, total
}

func seedOf(t *testing.T) uint64 {
	seed := *cutSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -cut-seed=%d)", seed, seed)
	return seed
}

func TestPowerCutModel(t *testing.T) {
	seed := seedOf(t)
	v, at, n := playAll(seed, *cutHistories, 0)
	t.Logf("%d lives: %d power cuts, %d kills, %d failed syncs, %d flipped bits", n.lives, n.kinds.cuts, n.kinds.kills, n.kinds.fails, n.kinds.flips)
	if v != nil {
		t.Fatalf("seed %d: %v", at, v)
	}
	if n.kinds.cuts == 0 || n.kinds.kills == 0 || n.kinds.fails == 0 || n.kinds.flips == 0 {
		t.Fatal("a kind of fault was never tried")
	}
}

// TestPowerCutModelCatchesPlantedBugs is the negative control.
func TestPowerCutModelCatchesPlantedBugs(t *testing.T) {
	names := map[bug]string{
		bugEarlyAck: "acknowledge before the sync", bugEarlySeal: "seal before the previous sync",
		bugEarlyPage0: "next page 0 too early", bugNoDirSync: "no directory sync", bugRetrySync: "retry a failed sync",
		bugTruncateAny: "truncate on any error", bugNoNote: "floor note stuck", bugCachedRead: "recover from the page cache",
		bugNoStartSync: "believe names that were not synced",
	}
	seed := seedOf(t)
	for b := bug(1); b < bugAfterLastBug; b++ {
		t.Run(names[b], func(t *testing.T) {
			v, at, n := playAll(seed, 20*max(*cutHistories, 100), b)
			if v == nil {
				t.Fatalf("not caught in %d lives", n.lives)
			}
			t.Logf("caught after %d lives, seed %d: %v", n.lives, at, v)
		})
	}
}
