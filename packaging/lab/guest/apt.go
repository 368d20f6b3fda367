package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt is a package manager of its own: lists, cache and status lie in one folder,
// so that the machine's are neither read nor changed. Signatures are checked as ever.
type apt struct{ dir, config string }

func newAPT(ctx context.Context, dir string) (*apt, error) {
	const etc = "/etc/apt"
	m, err := findMirror(etc)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	// How this machine reaches the network is taken over, its hooks are not.
	text, err := network(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range [][2]string{
		{"APT::Architecture", "arm64"},
		{"APT::Architectures", "arm64"},
		{"APT::Sandbox::User", "root"}, // the folder may not be open to _apt
		{"Acquire::Languages", "none"},
		{"Dir::State", filepath.Join(dir, "state")},
		{"Dir::State::status", filepath.Join(dir, "state", "status")},
		{"Dir::Cache", filepath.Join(dir, "cache")},
		{"Dir::Etc::sourcelist", filepath.Join(dir, "sources.list")},
		{"Dir::Etc::sourceparts", filepath.Join(dir, "parts")},
		{"Dir::Etc::parts", filepath.Join(dir, "parts")},
		{"Dir::Etc::main", filepath.Join(dir, "none")},
	} {
		text += fmt.Sprintf("%s %q;\n", o[0], o[1])
	}
	a := &apt{dir: dir, config: filepath.Join(dir, "apt.conf")}
	err = errors.Join(
		os.WriteFile(a.config, []byte(text), 0o644),
		os.WriteFile(filepath.Join(dir, "state", "status"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "sources.list"), []byte(m.line()), 0o644))
	if err != nil {
		return nil, err
	}
	_, err = a.run(ctx, "apt-get", "-qq", "update")
	return a, err
}

// network is what apt here was told of proxies and certificates.
func network(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return "", fmt.Errorf("apt-config (the kernel comes as a Debian package): %w", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(out)) {
		for _, p := range []string{"Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::Force"} {
			if strings.HasPrefix(line, p) {
				kept.WriteString(line)
				break
			}
		}
	}
	return kept.String(), nil
}

func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// kernelPackage is what linux-image-cloud-arm64 stands for today. That flavour has
// cgroup v2, PSI, CFS bandwidth and ext4 built in and is half the size of the other.
func (a *apt) kernelPackage(ctx context.Context) (string, error) {
	const meta = "linux-image-cloud-arm64"
	out, err := a.run(ctx, "apt-cache", "show", meta)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if list, ok := strings.CutPrefix(line, "Depends: "); ok {
			for d := range strings.SplitSeq(list, ",") {
				if f := strings.Fields(d); len(f) > 0 && strings.HasPrefix(f[0], "linux-image-") {
					return f[0], nil
				}
			}
		}
	}
	return "", fmt.Errorf("%s depends on no kernel:\n%s", meta, out)
}

// download fetches a package and gives its path.
func (a *apt) download(ctx context.Context, name string) (string, error) {
	if _, err := a.run(ctx, "apt-get", "-qq", "download", name); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", errors.Join(err, fmt.Errorf("apt-get download %s left %d files", name, len(found)))
	}
	return found[0], nil
}
