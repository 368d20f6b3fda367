package journal

import "hash/crc32"

// reseal makes page 0 valid again after a test changed it.
func reseal(page []byte) {
	le.PutUint32(page[252:], crc32.Checksum(page[:252], castagnoli))
}
