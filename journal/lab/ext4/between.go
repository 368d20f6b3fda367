package main

import "posd/journal/internal/disk"

// between stands between the journal and the file system.
type between struct {
	*disk.Dir
	afterName func(renamed bool) // after a name has changed, before the folder is synced
}

func (b between) named(renamed bool, err error) error {
	if err == nil {
		b.afterName(renamed)
	}
	return err
}

func (b between) Rename(from, to string) error { return b.named(true, b.Dir.Rename(from, to)) }
func (b between) Remove(name string) error     { return b.named(false, b.Dir.Remove(name)) }

func (b between) Create(name string, size int64, pause func()) error {
	return b.named(false, b.Dir.Create(name, size, pause))
}
