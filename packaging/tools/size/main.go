// Size prints what posd's bytes are made of, and fails when the file is too large.
//
//	go run ./packaging/tools/size -limit 9200000 -file dist/posd -symbols FILE -arch arm64 ./cmd/posd
//
// FILE is the same program with its symbol table. Every symbol is counted for the
// module of its package. The rest of the file, chiefly the line tables that the
// runtime keeps for each function, is shared out by the size of code.
package main

import (
	"cmp"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	limit := flag.Int64("limit", 0, "largest size of the file in bytes")
	file := flag.String("file", "", "the stripped program")
	symbols := flag.String("symbols", "", "the same program, not stripped")
	arch := flag.String("arch", "arm64", "architecture of both")
	flag.Parse()
	if flag.NArg() != 1 || *file == "" || *symbols == "" || *limit <= 0 {
		fmt.Fprintln(os.Stderr, "size: give -limit, -file, -symbols and one package")
		os.Exit(64)
	}
	if err := report(os.Stdout, *limit, *file, *symbols, *arch, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

// part is one module, or one area of the standard library.
type part struct {
	name       string
	code, data int64
	total      int64 // with its share of the rest
}

func report(w io.Writer, limit int64, file, symbols, arch, pkg string) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	owners, err := packageOwners(pkg, arch)
	if err != nil {
		return err
	}
	parts, err := count(symbols, owners)
	if err != nil {
		return err
	}
	share(parts, st.Size())
	fmt.Fprintf(w, "%10s %10s %10s  %s\n", "bytes", "code", "data", "part of "+file)
	for _, p := range parts {
		fmt.Fprintf(w, "%10d %10d %10d  %s\n", p.total, p.code, p.data, p.name)
	}
	fmt.Fprintf(w, "%10d of at most %d bytes, %d left\n", st.Size(), limit, limit-st.Size())
	if st.Size() > limit {
		return fmt.Errorf("%s has %d bytes, %d too many; the table shows what they are", file, st.Size(), st.Size()-limit)
	}
	return nil
}

// packageOwners maps every package of the program to its part.
func packageOwners(pkg, arch string) (map[string]string, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{if .Module}}{{.Module.Path}}{{end}}", pkg)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("go list: %s", exit.Stderr)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	owners := map[string]string{"main": "posd itself"}
	for line := range strings.Lines(string(out)) {
		path, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case module == "":
			owners[path] = standardArea(path)
		case module == "posd":
			owners[path] = "posd itself"
		default:
			owners[path] = module
		}
	}
	return owners, nil
}

func standardArea(path string) string {
	path = strings.TrimPrefix(path, "vendor/golang.org/x/")
	first, _, _ := strings.Cut(path, "/")
	switch {
	case first == "crypto" || strings.HasPrefix(path, "internal/crypto") || strings.HasPrefix(path, "crypto"):
		return "std: crypto, TLS"
	case path == "net/http" || strings.HasPrefix(path, "net/http/") || strings.HasPrefix(path, "net/textproto") ||
		strings.HasPrefix(path, "mime") || strings.HasPrefix(path, "net/http2"):
		return "std: net/http"
	case first == "runtime" || strings.HasPrefix(path, "internal/runtime"):
		return "std: runtime"
	case first == "net":
		return "std: net"
	}
	return "std: the rest"
}

// count sums the symbols of a program by owner, largest first.
func count(name string, owners map[string]string) ([]part, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("symbols of %s: %w; build it without -s", name, err)
	}
	byName := map[string]*part{}
	for _, s := range syms {
		if s.Section == elf.SHN_UNDEF || int(s.Section) >= len(f.Sections) || f.Sections[s.Section].Type == elf.SHT_NOBITS {
			continue // takes memory, not bytes of the file
		}
		// Markers of whole areas; what lies in them is counted for itself or shared out.
		if strings.HasPrefix(s.Name, "runtime.") && f.Sections[s.Section].Name != ".text" && s.Size > 256<<10 {
			continue
		}
		owner := owners[packageOf(s.Name)]
		if owner == "" {
			owner = "types, strings and the like"
		}
		p := byName[owner]
		if p == nil {
			p = &part{name: owner}
			byName[owner] = p
		}
		if f.Sections[s.Section].Name == ".text" {
			p.code += int64(s.Size)
		} else {
			p.data += int64(s.Size)
		}
	}
	parts := make([]part, 0, len(byName))
	for _, p := range byName {
		parts = append(parts, *p)
	}
	return parts, nil
}

// packageOf finds the import path in a symbol's name.
func packageOf(symbol string) string {
	s := strings.TrimLeft(strings.TrimPrefix(symbol, "type:"), "*.")
	s = strings.TrimPrefix(s, "go:itab.")
	s = strings.TrimLeft(s, "*[]")
	if i := strings.IndexAny(s, "[({,"); i >= 0 {
		s = s[:i] // type arguments and receivers have paths of their own
	}
	slash := strings.LastIndexByte(s, '/')
	dot := strings.IndexByte(s[slash+1:], '.')
	if dot < 0 {
		return ""
	}
	return strings.ReplaceAll(s[:slash+1+dot], "%2e", ".")
}

// share spreads what no symbol accounts for over the parts, by their code.
func share(parts []part, size int64) {
	var code, known int64
	for _, p := range parts {
		code += p.code
		known += p.code + p.data
	}
	rest := max(0, size-known)
	for i := range parts {
		p := &parts[i]
		p.total = p.code + p.data
		if code > 0 {
			p.total += int64(float64(rest) * float64(p.code) / float64(code))
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(b.total, a.total) })
}
