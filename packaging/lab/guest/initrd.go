package guest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// File is one entry of an initrd. Folders above it need not be listed.
type File struct {
	Name string // without a leading slash
	Mode uint32 // permissions, and a type if it is no regular file; 0 = 0644
	Data []byte // or the target of a link
	Path string // where to read Data, if that is nil
}

// Types of files, as in struct stat.
const (
	TypeDir  = 0o040000
	TypeLink = 0o120000
	typeFile = 0o100000
	typeMask = 0o170000
)

// WriteInitrd writes a gzipped newc archive: the same bytes for the same files, in
// whatever order, on every machine. Of two with one name the last one counts.
func WriteInitrd(w io.Writer, files []File) error {
	// Level 1: it is read once per boot, by a slow processor.
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	c := newc{w: z}
	all := entries(files)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := c.add(name, all[name]); err != nil {
			return fmt.Errorf("initrd: %s: %w", name, err)
		}
	}
	return errors.Join(c.record("TRAILER!!!", 0, nil), z.Close())
}

func entries(files []File) map[string]File {
	all := map[string]File{}
	for _, f := range files {
		f.Name = strings.TrimPrefix(path.Clean("/"+f.Name), "/")
		if f.Mode&0o7777 == 0 {
			f.Mode |= 0o644
			if f.Mode&typeMask == TypeDir {
				f.Mode |= 0o111
			}
		}
		if f.Mode&typeMask == 0 {
			f.Mode |= typeFile
		}
		all[f.Name] = f
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			if _, ok := all[d]; !ok {
				all[d] = File{Name: d, Mode: TypeDir | 0o755, Data: []byte{}}
			}
		}
	}
	return all
}

// newc is the format "new ASCII" of cpio: a header of hexadecimal numbers, the name,
// the content, each padded to 4 bytes.
type newc struct {
	w     io.Writer
	inode uint32
}

func (c *newc) add(name string, f File) error {
	data := f.Data
	if data == nil && f.Path != "" {
		var err error
		if data, err = os.ReadFile(f.Path); err != nil {
			return err
		}
	}
	return c.record(name, f.Mode, data)
}

func (c *newc) record(name string, mode uint32, data []byte) error {
	c.inode++
	links := 1
	if mode&typeMask == TypeDir {
		links = 2
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x", c.inode, mode, 0, 0, links, 0, len(data))
	fmt.Fprintf(&b, "%08x%08x%08x%08x%08x%08x", 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad(&b, b.Len())
	b.Write(data)
	pad(&b, len(data))
	_, err := c.w.Write(b.Bytes())
	return err
}

func pad(b *bytes.Buffer, n int) { b.Write(make([]byte, -n&3)) }
