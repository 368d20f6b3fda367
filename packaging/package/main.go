package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "package:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("name a command: build, verify or sign")
	}
	fs := flag.NewFlagSet("package "+args[0], flag.ContinueOnError)
	dir := fs.String("out", "dist", "`folder` with the packages")
	switch args[0] {
	case "verify":
		key := fs.String("key", "", "`file` with the minisign public key (default: posd.pub in the folder, which proves less)")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		n, err := verify(*dir, *key)
		if err == nil {
			fmt.Fprintf(out, "%s: signature and %d checksums are right\n", *dir, n)
		}
		return err
	case "sign":
		key := fs.String("key", "", "`file` with the minisign release key (default: a key for this build only)")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		return seal(*dir, *key, slices.Concat(packageFiles, imageFiles), out)
	case "build":
		p := build{}
		fs.StringVar(&p.root, "root", ".", "`folder` of the sources")
		fs.StringVar(&p.release, "release", "", "what posd --version says")
		fs.StringVar(&p.binaries, "binaries", "", "`folder` with arm64/ and amd64/, each with posd and posctl")
		only := fs.String("only", "", "`architecture` and format to make alone, such as amd64.deb; nothing is signed then")
		epoch := fs.Int64("epoch", 0, "seconds since 1970: the time of every file")
		key := fs.String("key", "", "`file` with the minisign release key (default: a key for this build only)")
		if err := fs.Parse(args[1:]); err != nil {
			return err
		}
		if *epoch <= 0 {
			return errors.New("-epoch is needed: without it two builds differ")
		}
		p.time, p.out, p.only = time.Unix(*epoch, 0).UTC(), *dir, *only
		if err := p.all(out); err != nil || p.only != "" {
			return err
		}
		return seal(p.out, *key, packageFiles, out)
	}
	return fmt.Errorf("there is no command %q: build, verify or sign", args[0])
}

// packages lists the packages in dir.
func packages(dir string) ([]string, error) {
	var found []string
	for _, pattern := range []string{"posd_*.deb", "posd_*.ipk"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		found = append(found, names...)
	}
	return found, nil
}
