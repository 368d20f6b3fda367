package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Config tells the init of folder init what to do, in this order. It lies in the
// initrd as /init.json.
type Config struct {
	Modules     []string  `json:"modules,omitempty"`     // names; Initrd adds what they need and makes them files, loaded in order
	Controllers []string  `json:"controllers,omitempty"` // of cgroup v2, given on below its root
	Network     bool      `json:"network,omitempty"`     // eth0 as qemu's user network wants it
	Mounts      []Mount   `json:"mounts,omitempty"`
	Programs    []Program `json:"programs,omitempty"`
}

// Mount is a file system to mount. Target is made if it is missing.
type Mount struct {
	Source   string `json:"source"` // a device; "serial=S" for the disk with that Drive.Serial
	Target   string `json:"target"`
	Type     string `json:"type"`
	Flags    string `json:"flags,omitempty"` // ro,noatime,nosuid,nodev,noexec,sync,bind,remount
	Options  string `json:"options,omitempty"`
	Optional bool   `json:"optional,omitempty"` // the boot goes on without it
}

// Program is a program to run.
type Program struct {
	Name    string            `json:"name,omitempty"` // by which it is waited for and killed
	Args    []string          `json:"args"`           // Args[0] is the file
	Env     []string          `json:"env,omitempty"`  // beside PATH
	Dir     string            `json:"dir,omitempty"`
	Stdin   []byte            `json:"stdin,omitempty"`
	UID     uint32            `json:"uid,omitempty"`
	GID     uint32            `json:"gid,omitempty"`
	Cgroup  string            `json:"cgroup,omitempty"`  // made below /sys/fs/cgroup if missing; it starts in there
	Limits  map[string]string `json:"limits,omitempty"`  // files of that group and what is written to them
	Restart bool              `json:"restart,omitempty"` // start it again whenever it ends
	Console bool              `json:"console,omitempty"` // its output also goes to the console, "NAME| " before each line
}

// Exit is how a program ended.
type Exit struct {
	PID    int    `json:"pid"`
	Code   int    `json:"code"`             // -1 if a signal ended it
	Signal int    `json:"signal,omitempty"` // that ended it
	Stdout []byte `json:"stdout,omitempty"` // of Run
	Stderr []byte `json:"stderr,omitempty"`
	Starts int    `json:"starts,omitempty"` // how often a named program was started
	// Of the program and those of its children that it waited for.
	CPU    int64 `json:"cpu_us,omitempty"`
	MaxRSS int64 `json:"max_rss_kib,omitempty"`
}

// Request and Reply go over the port, one JSON text a line. Replies come in any order.
type Request struct {
	ID     uint64   `json:"id"`
	Do     string   `json:"do"`
	Run    *Program `json:"run,omitempty"`
	Mount  *Mount   `json:"mount,omitempty"`
	Name   string   `json:"name,omitempty"` // of a program or file
	From   string   `json:"from,omitempty"`
	Signal int      `json:"signal,omitempty"`
	Mode   uint32   `json:"mode,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Offset int64    `json:"offset,omitempty"`
}

// Reply answers the request with the same ID. ID 0 says that the guest is ready.
type Reply struct {
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"`
	Exit  *Exit  `json:"exit,omitempty"`
	Data  []byte `json:"data,omitempty"`
}

// PortName is the virtio-serial port that host and init speak over.
const PortName = "posd.lab"

// Initrd makes an initrd in the file to: the ready init, the modules that a guest
// needs for disk, network and port, the configuration, and files. It compiles the
// init, so it runs within this module.
func Initrd(ctx context.Context, k Linux, to string, c Config, files ...File) error {
	modules, err := k.Load("virtio_mmio", "virtio_blk", "virtio_net", "virtio_console")
	if err != nil {
		return err
	}
	var load []string
	for _, m := range modules {
		load = append(load, "/"+m.Name)
	}
	for _, m := range c.Modules {
		more, err := k.Load(m)
		if err != nil {
			return err
		}
		for _, f := range more {
			modules, load = append(modules, f), append(load, "/"+f.Name)
		}
	}
	c.Modules = load
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err
	}
	bin, err := build(ctx)
	if err != nil {
		return err
	}
	all := append(modules,
		File{Name: "init", Mode: 0o755, Data: bin},
		File{Name: "init.json", Data: text})
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp"} {
		all = append(all, File{Name: d, Mode: TypeDir | 0o755})
	}
	var b bytes.Buffer
	if err := WriteInitrd(&b, append(all, files...)); err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}

func build(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin, "posd/packaging/lab/guest/init")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest's init: %w\n%s", err, out)
	}
	return os.ReadFile(bin)
}
