package journal

import "posd/journal/internal/hook"

// unalignedBy is where groups begin with the bug Unaligned: two in a sector.
const unalignedBy = page0Used

// openLab opens a journal on a file system of the lab.
func openLab(o Options) (*Journal, error) {
	j, err := open(o, o.Lab)
	if err != nil {
		return nil, err
	}
	o.Lab.Drive = hook.Drive{
		Commit: j.labCommit, Prepare: j.labPrepare, Note: j.labNote,
		Rolling: func() bool { return j.rolling },
		Tail: func() hook.Tail {
			s := j.segs[len(j.segs)-1]
			return hook.Tail{File: segmentName(s.no), Align: s.align, End: s.end, Fill: j.fill, Size: int(s.size)}
		},
	}
	if !o.Lab.Manual {
		j.start()
	}
	return j, nil
}

func (j *Journal) labCommit() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.durable = j.nrec > 0
	j.commitAll()
}

func (j *Journal) labPrepare() error {
	j.learnRest()
	return j.prepare()
}

func (j *Journal) labNote() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.nrec == 0 && j.err == nil {
		if err := j.writeNoteLocked(false); err != nil {
			j.fail(err)
		}
	}
}
