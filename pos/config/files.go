package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"posd/pos/operator"
)

// checkFiles looks at the files that the configuration names. All findings are
// warnings, which strict mode turns into problems.
func (d *decoder) checkFiles(mode fs.FileMode) {
	if mode.Perm()&0o002 != 0 {
		d.warn("", fmt.Sprintf("the file can be written by every user (mode %04o)", mode.Perm()), "chmod o-w "+d.file)
	}
	if len(d.problems) > 0 {
		return // paths may be wrong or missing; one thing after another
	}
	c := d.config
	for _, f := range []struct {
		key, path string
		secret    bool
	}{
		{"hub.credentials", c.Hub.Credentials, true},
		{"hub.token_file", c.Hub.TokenFile, true},
		{"hub.ca_file", c.Hub.CAFile, false},
		{"hub.cert_file", c.Hub.CertFile, false},
		{"hub.key_file", c.Hub.KeyFile, true},
		{"card.ca_file", c.Card.CAFile, false},
		{"card.cert_file", c.Card.CertFile, false},
		{"card.key_file", c.Card.KeyFile, true},
	} {
		if f.path != "" {
			d.line = d.seen[f.key]
			d.checkFile(f.key, f.path, f.secret, true)
		}
	}
	if path := c.Hub.EnrollToken; path != "" {
		d.line = d.seen["hub.enroll_token_file"]
		_, err := os.Stat(filepath.Join(c.Data.Dir, EnrolledCreds))
		d.checkFile("hub.enroll_token_file", path, true, err != nil && c.Hub.Credentials == "" && c.Hub.TokenFile == "")
	}
	d.line = d.seen["data.dir"]
	d.checkDir("data.dir", c.Data.Dir, "mount the data partition, or make the folder for a new terminal")
	for _, name := range []string{"tokens", operator.File, operator.KeyFile} {
		d.checkFile("data.dir", filepath.Join(c.Data.Dir, name), true, false)
	}
	if c.HTTP.Static != "" {
		d.line = d.seen["http.static"]
		d.checkDir("http.static", c.HTTP.Static, "put the front end there, or remove the key")
	}
	d.line = 0
}

func (d *decoder) checkFile(key, path string, secret, mustExist bool) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !mustExist:
	case err != nil:
		d.warn(key, err.Error(), "make the file, or correct the path")
	case !st.Mode().IsRegular():
		d.warn(key, path+" is not a file", "correct the path")
	case secret && st.Mode().Perm()&0o007 != 0:
		d.warn(key, fmt.Sprintf("%s holds a secret and is open to every user (mode %04o)", path, st.Mode().Perm()), "chmod o-rwx "+path)
	}
}

func (d *decoder) checkDir(key, path, remedy string) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		d.warn(key, err.Error(), remedy)
	case !st.IsDir():
		d.warn(key, path+" is not a folder", "correct the path")
	case st.Mode().Perm()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0:
		d.warn(key, fmt.Sprintf("%s can be written by every user (mode %04o)", path, st.Mode().Perm()), "chmod o-w "+path)
	}
}
