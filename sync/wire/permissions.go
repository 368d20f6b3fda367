package wire

import (
	"fmt"
	"strconv"
)

// Permissions lists the subjects that a user of the NATS servers may publish to
// and subscribe to. All else is refused; answering requests gives no further right.
type Permissions struct {
	Publish, Subscribe []string
}

// MaxShard is the highest number of a shard.
const MaxShard = 4095

// DevicePermissions is the one list of what a terminal may do: ship its own parcels,
// say that it is alive, answer orders, and read what head office says to it. The
// device's JWT, a server's static configuration and the documentation are made of it.
// The error is ErrFormat: a name could reach beyond its own part, or is none.
//
// A stream is read by direct get of a subject only: the plain form would let its caller
// choose any message.
func DevicePermissions(shard int, store, terminal string) (Permissions, error) {
	if shard < 0 || shard > MaxShard {
		return Permissions{}, fmt.Errorf("%w: shard %d is not 0 to %d", ErrFormat, shard, MaxShard)
	}
	if !isToken(store) || !isToken(terminal) {
		return Permissions{}, fmt.Errorf("%w: store %q and terminal %q must be 1 to 32 of A-Z a-z 0-9 _ -", ErrFormat, store, terminal)
	}
	if reservedStore(store) {
		return Permissions{}, fmt.Errorf("%w: no store may be called %q: its subjects reach all terminals", ErrFormat, store)
	}
	own := store + "." + terminal
	sharded := strconv.Itoa(shard) + "." + own
	return Permissions{
		Publish: []string{
			"pos.up." + sharded + ".*",                                  // parcels
			"pos.hb." + sharded,                                         // heartbeat
			"pos.ans." + sharded + ".>",                                 // answers to orders
			directGet + StreamName(shard) + ".pos.up." + sharded + ".*", // the last parcel
			directGet + BucketStream + "." + BucketPrefix + own + ".>",  // watermark, configuration, catalogue
			directGet + ContentStream + "." + ContentPrefix + "*",       // what catalogues are made of
		},
		Subscribe: []string{
			InboxPrefix(store, terminal) + ".>",
			LivePrefix + own + ".>", // watermark, configuration and catalogue as they change
			LivePrefix + "all.>",    // the hub's pulse
			"pos.cmd." + own + ".>", // commands
		},
	}, nil
}

const directGet = "$JS.API.DIRECT.GET."

// reservedStore reports whether a name cannot be a store's: "pos.cfg.all.>" is for all.
func reservedStore(name string) bool { return name == "all" }

// StreamName is the usual name of the stream of a shard.
func StreamName(shard int) string { return "POS_UP_" + strconv.Itoa(shard) }

// InboxPrefix is where the answers to a terminal's requests go. It is the terminal's
// own, so that nobody else can read them: with "_" between the names, terminal c of
// store a_b and terminal b_c of store a would share one.
func InboxPrefix(store, terminal string) string { return "_INBOX_" + store + "." + terminal }

// HubPermissions is what the hub may do in the terminals' account: all of JetStream,
// and all that begins with "pos.".
func HubPermissions() Permissions {
	return Permissions{
		Publish:   []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>", "pos.>"},
		Subscribe: []string{"_INBOX.>", "$JS.EVENT.ADVISORY.>", "$KV.>", "pos.>"},
	}
}
