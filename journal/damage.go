package journal

import (
	"errors"
	"slices"
)

// Damage lists what was found damaged since the start in segments that are still
// held, by the scrub, by a reader, or while the segments were learned. The shop
// goes on selling: nothing that is written now is touched by it. What head office
// has not got is what posctl salvage is for.
func (j *Journal) Damage() []*CorruptError {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.damage)
}

func (j *Journal) noteDamage(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.noteDamageLocked(err)
}

// noteDamageLocked keeps the first damage of each segment. Callers hold mu.
func (j *Journal) noteDamageLocked(err error) {
	var e *CorruptError
	if !errors.As(err, &e) || slices.ContainsFunc(j.damage, func(d *CorruptError) bool { return d.Segment == e.Segment }) {
		return
	}
	j.damage = append(j.damage, e)
	j.log.Error("journal: damaged records; selling goes on", "error", e)
}

// forgetDamage drops what was said of a segment that is freed. Callers hold mu.
func (j *Journal) forgetDamage(no uint32) {
	j.damage = slices.DeleteFunc(j.damage, func(d *CorruptError) bool { return d.Segment == no })
}
