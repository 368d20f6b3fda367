package journal

import "time"

// SetLimits changes the budget and the retention from now on. A smaller budget than
// what is held frees what may go, and refuses sales as long as that is not enough:
// the caller has to ask Stats before.
func (j *Journal) SetLimits(maxBytes int64, retention time.Duration) {
	j.mu.Lock()
	j.opt.MaxBytes, j.opt.Retention = maxBytes, retention
	j.mu.Unlock()
	poke(j.kickPrep)
}
