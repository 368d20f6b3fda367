package journal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"posd/journal/chain"
	"posd/journal/internal/disk"
)

// create writes a whole journal into an empty folder.
func create(d disk.FS, o CreateOptions) (chain.ID, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	h := segmentHead{
		align: max(minAlign, pageSize(o.Lab)), incarnation: 1, no: 1, size: uint32(o.SegmentSize),
		firstSeq: 1, owner: o.Identity, created: time.Now().UnixMilli(),
	}
	copy(h.key[:], o.PublicKey)
	h.machine = machineTag(o.MachineID)
	if err := checkNew(&h); err != nil {
		return chain.ID{}, err
	}
	rand.Read(h.id[:])
	h.prevHead = h.id.Head0()
	g, body, err := firstGroup(&h, o)
	if err != nil {
		return chain.ID{}, err
	}
	if err := d.Create(segmentName(1), o.SegmentSize, nil); err != nil {
		return chain.ID{}, err
	}
	if err := d.Create(noteName, 2*minAlign, nil); err != nil {
		return chain.ID{}, err
	}
	if err := writeFirst(d, &h, g, body); err != nil {
		return chain.ID{}, err
	}
	return h.id, d.SyncDir()
}

func checkNew(h *segmentHead) error {
	if len(h.owner.Store) > 32 || len(h.owner.Terminal) > 32 || h.owner.Store == "" || h.owner.Terminal == "" {
		return fmt.Errorf("store %q and terminal %q must have 1 to 32 bytes each", h.owner.Store, h.owner.Terminal)
	}
	return checkSegmentSize(int64(h.size), h.align)
}

func checkSegmentSize(size int64, align int) error {
	if size < 64<<10 || size > 64<<20 || size%int64(align) != 0 || size < 4*int64(align) {
		return fmt.Errorf("segment size of %d bytes: must be 64 KiB to 64 MiB, a multiple of %d and at least four times that", size, align)
	}
	return nil
}

// firstGroup builds the birth record and the opening state.
func firstGroup(h *segmentHead, o CreateOptions) (*group, []byte, error) {
	birth, err := json.Marshal(chain.Birth{V: 1, Journal: h.id.String(), Store: h.owner.Store, Terminal: h.owner.Terminal,
		Machine: o.MachineID, PublicKey: o.PublicKey, Parent: o.Parent, Created: time.UnixMilli(h.created).UTC().Format(time.RFC3339Nano)})
	if err != nil {
		return nil, nil, err
	}
	var state []byte
	if o.Opening != nil {
		state = o.Opening(nil, 2)
	}
	g := &group{nrec: 2, firstSeq: 1, segNo: 1, selfOff: uint32(h.align), incarnation: 1, id: h.id, prev: h.prevHead}
	body := make([]byte, groupHeader)
	head := h.prevHead
	for i, p := range [][]byte{birth, state} {
		if len(p) > chain.MaxRecord {
			return nil, nil, ErrTooLarge
		}
		frame := make([]byte, chain.FrameSize(len(p)))
		copy(frame[chain.FrameHeader:], p)
		chain.PutFrame(frame, len(p), chain.TypeBirth+chain.Type(i), 0, uint64(i+1))
		head = head.Next(frame)
		body = append(body, frame...)
	}
	g.bodyLen, g.head = len(body)-groupHeader, head
	if g.size(h.align) > maxGroup || int64(h.align+g.size(h.align)) > int64(h.size) {
		return nil, nil, ErrTooLarge
	}
	g.seal(body)
	return g, body, nil
}

// writeFirst stores page 0, then the group, then the note, each durable before the next.
func writeFirst(d disk.FS, h *segmentHead, g *group, body []byte) (err error) {
	f, err := d.Open(segmentName(1))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	page := make([]byte, h.align)
	h.encode(page[:page0Used])
	if _, err := f.WriteAt(page, 0); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		return err
	}
	if _, err := f.WriteAt(body, int64(h.align)); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		return err
	}
	nf, err := d.Open(noteName)
	if err != nil {
		return err
	}
	w := noteFile{f: nf}
	return errors.Join(w.write(note{id: h.id, seq: 2, segNo: 1, end: uint32(h.align + g.size(h.align)),
		head: g.head, incarnation: 1, oldest: 1, clean: true}), nf.Close())
}
