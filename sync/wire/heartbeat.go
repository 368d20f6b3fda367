package wire

import "strconv"

// HeartbeatSubject is where a terminal says how it is.
func HeartbeatSubject(shard int, store, terminal string) string {
	return "pos.hb." + strconv.Itoa(shard) + "." + store + "." + terminal
}
