// Package support decides what of a terminal may be shown to those who help: texts
// within bounds, without the words that are secrets there. posctl bundle and the
// command bundle of head office are made with it.
//
// What is not to be shown at all (what was sold, receipts, customers' data) is not its
// business: whoever adds files leaves that out. What it takes out is a second line of
// defence, for a secret that somebody wrote into a URL or a log line.
package support

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"posd/pos/config"
	"posd/pos/operator"
)

// TokenFile and OwnToken are files in the data folder: the hashes of all tokens, and
// posctl's own.
const (
	TokenFile = "tokens"
	OwnToken  = "posctl.token"
)

// Bundle collects files, within bounds. Put is given each of them.
type Bundle struct {
	Left    int      // bytes that may still be added
	Secrets [][]byte // words to take out
	Put     func(name string, content []byte) error
	Err     error // the first that Put returned; nothing is added after it
}

// Text adds a text, the end of it where it is longer than most.
func (b *Bundle) Text(name string, most int, text []byte) {
	text = b.clean(text)
	const cut = "(the beginning was left out)\n"
	if most = min(most, b.Left); len(text) > most {
		if most <= len(cut) {
			return
		}
		text = append([]byte(cut), text[len(text)-most+len(cut):]...)
	}
	b.Raw(name, text)
}

// TextOr adds why there is nothing.
func (b *Bundle) TextOr(name string, most int, text []byte, err error) {
	if err != nil {
		base, _, _ := strings.Cut(name, ".")
		name, text = base+".missing.txt", []byte(err.Error()+"\n")
	}
	b.Text(name, most, text)
}

// Raw adds a file as it is.
func (b *Bundle) Raw(name string, content []byte) {
	if b.Err != nil || len(content) == 0 {
		return
	}
	b.Left = max(0, b.Left-len(content))
	b.Err = b.Put(name, content)
}

// clean takes known secrets out of a text, and what looks like one.
func (b *Bundle) clean(text []byte) []byte {
	for _, s := range b.Secrets {
		text = bytes.ReplaceAll(text, s, []byte("(secret)"))
	}
	// Without package regexp, which would cost posd 90 kB.
	text = after(text, "://", func(rest []byte) int { // user:password@
		n := bytes.IndexAny(rest, "/@\" \t\r\n")
		if n <= 0 || rest[n] != '@' {
			return 0
		}
		return n
	})
	return after(text, "bearer ", func(rest []byte) int {
		n := 0
		for n < len(rest) && isTokenChar(rest[n]) {
			n++
		}
		if n < shortToken {
			return 0
		}
		return n
	})
}

// shortToken: what is shorter is a word.
const shortToken = 8

func isTokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._~+/=-", c) >= 0
}

// after replaces what stands behind each mark, in capitals or not, as far as secret
// says.
func after(text []byte, mark string, secret func(rest []byte) int) []byte {
	var out []byte
	done := 0
	for i := 0; i+len(mark) <= len(text); i++ {
		if !strings.EqualFold(string(text[i:i+len(mark)]), mark) {
			continue
		}
		i += len(mark)
		if n := secret(text[i:]); n > 0 {
			out = append(append(out, text[done:i]...), "(secret)"...)
			i += n
			done = i
		}
		i--
	}
	if done == 0 {
		return text
	}
	return append(out, text[done:]...)
}

// Secrets are the words that must not leave this terminal, as far as it has them: in
// the files that the configuration names, and in more.
func Secrets(c *config.Config, more ...string) (out [][]byte) {
	if c == nil {
		return nil
	}
	paths := append([]string{filepath.Join(c.Data.Dir, OwnToken), filepath.Join(c.Data.Dir, TokenFile),
		filepath.Join(c.Data.Dir, operator.File), filepath.Join(c.Data.Dir, operator.KeyFile), filepath.Join(c.Data.Dir, config.KeyFile), filepath.Join(c.Data.Dir, config.EnrolledCreds),
		filepath.Join(c.Data.Dir, config.EnrollSeed), c.Hub.EnrollToken, c.Hub.TokenFile, c.Hub.Credentials, c.Hub.KeyFile}, more...)
	for _, path := range paths {
		if path == "" {
			continue
		}
		text, _ := ReadSome(path, 64<<10)
		for _, word := range bytes.Fields(text) {
			if len(word) >= 16 && bytes.IndexByte(word, '-') != 0 { // not a name, a time, or a PEM line
				out = append(out, word)
			}
		}
	}
	return out
}

// ReadSome reads the beginning of a file.
func ReadSome(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// maxFiles bounds the list of Files.
const maxFiles = 2000

// Files lists names and sizes of the files in a folder.
func Files(dir string) ([]byte, error) {
	var text bytes.Buffer
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(&text, err)
			return nil
		}
		if files++; files > maxFiles {
			return fs.SkipAll
		}
		if st, err := e.Info(); err == nil {
			fmt.Fprintf(&text, "%s %12d  %s  %s\n", st.Mode(), st.Size(), st.ModTime().UTC().Format(time.RFC3339), path)
		}
		return nil
	})
	return text.Bytes(), err
}
