// Package wire is what terminal and hub say to each other: subjects, the
// parcel, the watermark and the pulse. It is pure: no network, no clock.
//
// # Subjects
//
//	pos.up.<shard>.<store>.<terminal>.<journal id>             parcels, terminal to hub (JetStream)
//	$KV.pos_cfg.<store>.<terminal>.watermark.<journal id>      watermark, hub to terminal (last value)
//	pos.cfg.<store>.<terminal>.watermark.<journal id>          the same, as the server republishes it
//	pos.cfg.all.hub.<shard>                                    pulse of the hub, every few seconds
//	pos.hb.<shard>.<store>.<terminal>                          heartbeat of a terminal, JSON, not stored
//
// # Parcel
//
// One message carries many records: a contiguous run of the frames of one
// journal, byte for byte as they stand in it, compressed as one block. The
// frame is defined by package journal. All numbers are little-endian.
//
//	  0  magic     "PPCL"
//	  4  version   u16   1
//	  6  flags     u16   bit 0: hole
//	  8  journal   16 B  journal id
//	 24  first     u64   seq of the first record
//	 32  last      u64   seq of the last record
//	 40  count     u32   number of records = last-first+1; 0 in a hole
//	 44  rawLen    u32   length of the frames before compression
//	 48  prev      32 B  head(first-1); all zero = unknown, only in a hole
//	 80  head      32 B  head(last)
//	112  crc       u32   CRC-32C of bytes 0..111 and the uncompressed frames
//	116  body            s2 block of the frames; empty in a hole
//
// A hole says: the terminal no longer holds first..last, do not wait for them.
// Nothing is ever called a hole that the terminal still has.
//
// The same facts stand in NATS headers (Pos-First, Pos-Last, Pos-Count,
// Pos-Head, Pos-Prev), so that a terminal learns where it stopped, and an
// operator what a message is, without unpacking it. Only the parcel itself is
// believed by the hub.
//
// # What is guaranteed
//
// [Decode] accepts only what an encoder of this version could have written:
// known version and flags, sane bounds, right checksum. It allocates no more
// than [MaxRaw] bytes for the frames, whatever the message claims.
// [Parcel.Verify] proves that the frames are the records first..last, gapless,
// and that the hash chain leads from Prev to Head. Neither proves that Prev is
// the head that the ledger knows: that is the hub's judgement. There are no
// signatures here; the chain shows a change only to someone who already holds
// a later head.
package wire
