package disk

import (
	"os"
	"testing"
)

func TestBootWord(t *testing.T) {
	if bootWord("") != "" || bootWord("/proc") != "" {
		t.Fatal("a word from a folder that is no memory")
	}
	dir, err := os.MkdirTemp("/dev/shm", "boot")
	if err != nil {
		t.Skip("no /dev/shm here")
	}
	defer os.RemoveAll(dir)
	first := bootWord(dir)
	if first == "" || bootWord(dir) != first {
		t.Fatalf("%q, then %q", first, bootWord(dir))
	}
	os.Remove(dir + "/boot") // as a reboot does
	if bootWord(dir) == first {
		t.Fatal("the same word after a reboot")
	}
}
