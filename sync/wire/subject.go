package wire

import (
	"fmt"
	"strconv"
	"strings"

	"posd/journal/chain"
)

// Bucket is the KV bucket that holds what the hub tells its terminals;
// BucketStream is the stream behind it. The server republishes its subjects
// from BucketPrefix to LivePrefix.
const (
	Bucket       = "pos_cfg"
	BucketStream = "KV_" + Bucket
	BucketPrefix = "$KV." + Bucket + "."
	LivePrefix   = "pos.cfg."
)

// UpSubject is where the parcels of one journal go.
func UpSubject(shard int, store, terminal string, id chain.ID) string {
	return UpPrefix(shard) + store + "." + terminal + "." + id.String()
}

// UpPrefix is the common beginning of all subjects of a shard, with the last dot.
func UpPrefix(shard int) string { return "pos.up." + strconv.Itoa(shard) + "." }

// ParseUpSubject is the inverse of UpSubject.
func ParseUpSubject(s string) (shard int, store, terminal string, id chain.ID, err error) {
	t := strings.Split(s, ".")
	if len(t) != 6 || t[0] != "pos" || t[1] != "up" || !isToken(t[3]) || !isToken(t[4]) {
		return 0, "", "", id, fmt.Errorf("%w: subject %q is not pos.up.<shard>.<store>.<terminal>.<journal id>", ErrFormat, s)
	}
	if shard, err = strconv.Atoi(t[2]); err != nil || shard < 0 || strconv.Itoa(shard) != t[2] {
		return 0, "", "", id, fmt.Errorf("%w: shard %q in subject %q is not a number", ErrFormat, t[2], s)
	}
	if id, err = chain.ParseID(t[5]); err != nil {
		return 0, "", "", id, fmt.Errorf("%w: subject %q: %w", ErrFormat, s, err)
	}
	return shard, t[3], t[4], id, nil
}

// WatermarkKey is the key in Bucket of one journal's watermark.
func WatermarkKey(store, terminal string, id chain.ID) string {
	return store + "." + terminal + ".watermark." + id.String()
}

// PulseSubject is where the hub of a shard says that it is alive.
func PulseSubject(shard int) string { return LivePrefix + "all.hub." + strconv.Itoa(shard) }

// isToken reports whether s can be the name of a store or a terminal.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}
