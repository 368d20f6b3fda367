package journal

import (
	"crypto/ed25519"
	"encoding/hex"
	"time"

	"posd/journal/chain"
)

// defaultCheckpointEvery bounds how many records a checkpoint can leave unsigned
// while selling goes on.
const defaultCheckpointEvery = 1000

// checkpointEncoder signs the chain up to the record before the checkpoint. It is
// called while the journal's lock is held.
type checkpointEncoder struct{ j *Journal }

func (e checkpointEncoder) AppendRecord(dst []byte, seq uint64) ([]byte, error) {
	c := chain.Checkpoint{Seq: seq - 1, Head: e.j.head, At: time.Now()}
	return chain.AppendCheckpoint(dst, e.j.id, c, e.j.key), nil
}

// Checkpoint appends a signature over all records so far, as a record of class
// Soon. Nothing happens where nothing is unsigned or there is no key. The journal
// does it itself after CheckpointEvery records and at an orderly stop.
func (j *Journal) Checkpoint() error {
	j.mu.Lock()
	due := j.key != nil && !j.readOnly && j.next-1 > j.signed
	j.mu.Unlock()
	if !due {
		return nil
	}
	_, err := j.Append(chain.TypeCheckpoint, Soon, chain.CheckpointSize, checkpointEncoder{j})
	return err
}

// signIfDue puts a checkpoint behind a record where it fits without waiting for
// anything. Callers hold mu.
func (j *Journal) signIfDue() {
	if j.key == nil || j.next-1 < j.signed+uint64(j.opt.CheckpointEvery) {
		return
	}
	seg := j.segs[len(j.segs)-1]
	end := roundUp(j.fill+chain.FrameSize(chain.CheckpointSize), seg.align)
	if end > int(seg.size) || end-j.off > maxGroup || j.nrec == maxRecs || j.populate(seg, end) != nil {
		return // with one of the next records
	}
	at := j.fill + chain.FrameHeader
	b, _ := checkpointEncoder{j}.AppendRecord(seg.data[at:at:at+chain.CheckpointSize], j.next)
	j.add(chain.TypeCheckpoint, len(b), j.next, Soon)
}

// useKey takes the signing key if it is the one whose public half the journal
// names; another one proves nothing, and the shop sells without.
func (j *Journal) useKey(key ed25519.PrivateKey) {
	if key == nil {
		return
	}
	named := j.segs[len(j.segs)-1].key
	if named == [32]byte{} {
		j.log.Warn("journal: it was made without a key, nothing in it is ever signed")
		return
	}
	if public := key.Public().(ed25519.PublicKey); [32]byte(public) != named {
		j.log.Error("journal: the terminal's key is not the one that the journal was made with; nothing is signed until it is put back",
			"key", hex.EncodeToString(public), "journal", hex.EncodeToString(named[:]))
		return
	}
	j.key = key
}
