package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// A GUID partition table: one block of header, then the entries, at the beginning
// and in reverse at the end of the disk.
//
//	header  0 "EFI PART"  16 CRC-32 of the header with this field 0  24 own block
//	        32 the other header's  40 first  48 last usable block  72 entries' block
//	        80 their number  84 size of one  88 CRC-32 of all
//	entry   0 type  16 name of the partition (GUID)  32 first  40 last block  56 label, UTF-16
const (
	headerSize = 92
	entryType  = 0
	entryFirst = 32
	entryLast  = 40
	entryLabel = 56
)

type table struct {
	block   int64 // bytes of one
	header  []byte
	entries []byte
}

var errTable = errors.New("no valid GUID partition table")

// disk is what a partition table is read from and written to.
type disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

func u64(b []byte, at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
func u32(b []byte, at int) int   { return int(binary.LittleEndian.Uint32(b[at:])) }

func put64(b []byte, at int, v int64)  { binary.LittleEndian.PutUint64(b[at:], uint64(v)) }
func put32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }

// readTable reads the table whose header is in block lba.
func readTable(d io.ReaderAt, block, lba int64) (*table, error) {
	t := &table{block: block, header: make([]byte, block)}
	if _, err := d.ReadAt(t.header, lba*block); err != nil {
		return nil, err
	}
	h := t.header
	if string(h[:8]) != "EFI PART" || u32(h, 12) != headerSize || u64(h, 24) != lba || u32(h, 16) != int(headerSum(h)) {
		return nil, fmt.Errorf("%w in block %d", errTable, lba)
	}
	size, number := u32(h, 84), u32(h, 80)
	if size < 128 || size > 4096 || number == 0 || number > 1024 {
		return nil, fmt.Errorf("%w in block %d: %d entries of %d bytes", errTable, lba, number, size)
	}
	t.entries = make([]byte, number*size)
	if _, err := d.ReadAt(t.entries, u64(h, 72)*block); err != nil {
		return nil, err
	}
	if int(crc32.ChecksumIEEE(t.entries)) != u32(h, 88) {
		return nil, fmt.Errorf("%w in block %d: wrong checksum of the entries", errTable, lba)
	}
	return t, nil
}

func headerSum(h []byte) uint32 {
	c := bytes.Clone(h[:headerSize])
	put32(c, 16, 0)
	return crc32.ChecksumIEEE(c)
}

// entry returns the entry with this label, nil without one.
func (t *table) entry(label string) []byte {
	size := u32(t.header, 84)
	for e := t.entries; len(e) >= size; e = e[size:] {
		if entryName(e[:size]) == label && !bytes.Equal(e[entryType:16], make([]byte, 16)) {
			return e[:size]
		}
	}
	return nil
}

func entryName(e []byte) string {
	var text []uint16
	for at := entryLabel; at+1 < entryLabel+72; at += 2 {
		c := binary.LittleEndian.Uint16(e[at:])
		if c == 0 {
			break
		}
		text = append(text, c)
	}
	return string(utf16.Decode(text))
}

// guid writes an entry's own GUID as the firmware does.
func guid(e []byte) string {
	g := e[16:32]
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", u32(g, 0), binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}

// grow stretches the partition with this label, which must be the last one, to the end
// of a disk of size bytes. The new table at the end is durable before the one at
// the beginning changes, and of that two neighbouring blocks do: a cut leaves the
// old table, or the new one at the end, which the kernel takes (option gpt).
// It returns false where there is nothing to gain.
func grow(d disk, block, size int64, label string) (bool, error) {
	t, err := readTable(d, block, 1)
	last := size/block - 1
	if err != nil { // a cut in the middle of the beginning: finish it from the end
		if t, err = readTable(d, block, last); err != nil {
			return false, err
		}
		return true, t.writeFirst(d)
	}
	e := t.entry(label)
	if e == nil {
		return false, fmt.Errorf("the partition table names no %s", label)
	}
	entryBlocks := (int64(len(t.entries)) + block - 1) / block
	lastUsable := last - entryBlocks - 1
	lastUsable -= (lastUsable + 1) % ((1 << 20) / block) // whole mebibytes
	if gain := lastUsable - u64(e, entryLast); gain < (1<<20)/block {
		return false, nil
	}
	for i, n := 0, u32(t.header, 84); i+n <= len(t.entries); i += n {
		if u64(t.entries[i:], entryFirst) > u64(e, entryFirst) {
			return false, fmt.Errorf("partition %q lies behind %s, which therefore cannot grow", entryName(t.entries[i:i+n]), label)
		}
	}
	put64(e, entryLast, lastUsable)
	put64(t.header, 48, last-entryBlocks-1)
	put32(t.header, 88, crc32.ChecksumIEEE(t.entries))
	if err := t.writeLast(d, last, entryBlocks); err != nil {
		return false, err
	}
	return true, t.writeFirst(d)
}

func (t *table) writeLast(d disk, last, entryBlocks int64) error {
	h := bytes.Clone(t.header)
	put64(h, 24, last)
	put64(h, 32, 1)
	put64(h, 72, last-entryBlocks)
	put32(h, 16, headerSum(h))
	_, err1 := d.WriteAt(t.entries, (last-entryBlocks)*t.block)
	err2 := d.Sync()
	_, err3 := d.WriteAt(h, last*t.block)
	t.header = h
	return errors.Join(err1, err2, err3, d.Sync())
}

// writeFirst writes the beginning's copy of a table that stands at the end.
func (t *table) writeFirst(d disk) error {
	h := bytes.Clone(t.header)
	last := u64(h, 24)
	put64(h, 24, 1)
	put64(h, 32, last)
	put64(h, 72, 2)
	put32(h, 16, headerSum(h))
	// Header and entries follow each other: one write.
	_, err := d.WriteAt(append(h, t.entries...), t.block)
	return errors.Join(err, d.Sync())
}
