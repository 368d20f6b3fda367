// Package trust makes what the NATS servers of head office believe: an operator,
// its accounts, and the credentials of hub and terminals.
//
// # One account for each terminal
//
// A user's permissions alone do not hold a terminal to its own part. The server never
// checks the reply subject of a request: whoever may publish into a stream can have the
// acknowledgement, or the answer to a direct get of a message of his own making,
// delivered to any subject of the account: into another terminal's subject, into the
// bucket of configurations, to $JS.API.STREAM.DELETE.
//
// So each terminal has an account of its own, that imports exactly the subjects of
// [wire.DevicePermissions] from the account of the hub. Answers to it stay in it,
// wherever it directs them. The user's permissions hold the same list once more.
//
//	operator ─┬─ SYS                  the servers' own events; the hub looks and pushes accounts
//	          ├─ HUB                  streams, bucket, the hub; exports pos.up, pos.hb, pos.ans, direct get; pos.cfg, pos.cmd
//	          └─ <store>.<terminal>   no JetStream, no exports; one user for each key of the device
//
// # What is kept
//
// Four seeds, in a folder that only their owner may read: operator, system, hub and
// devices. The identity of a terminal's account follows from the seed devices and the
// terminal's name, so accounts can be made anew at any time; its seed is used for
// nothing else. A device's seed never leaves the device.
//
// # What it does not do
//
// Who reads the folder owns the fleet: there is no hardware token here. The operator's
// seed is needed by the hub that enrols; hubs that only ingest need credentials alone.
package trust
