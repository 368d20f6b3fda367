package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"posd/journal/internal/hook"
	"posd/journal/lab"
)

func main() {
	cuts := flag.Int("cuts", 2000, "power cuts to judge")
	seed := flag.Uint64("seed", 0, "of loads and cuts, 0 = from the clock; what a real kernel interleaves does not repeat")
	fsType := flag.String("fs", "ext4", "file system: ext4 or f2fs")
	mutants := flag.Bool("mutants", true, "plant bugs and see them caught")
	only := flag.Int("bug", 0, "plant only this bug, by number")
	keep := flag.String("keep", "", "folder for images that were judged wrong")
	limit := flag.Duration("limit", 2*time.Hour, "end after this time")
	flag.Parse()
	if why := unable(*fsType); why != nil {
		os.Exit(skip(why))
	}
	tmp := enter(*limit)
	// A call into a file system may wait for this process's own FUSE server.
	runtime.GOMAXPROCS(max(8, runtime.NumCPU()))
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano()) % 1e12
	}
	b, err := newBench(tmp, *fsType, 4)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-"+*fsType+":", err)
		os.Exit(1)
	}
	b.keep, b.progress = *keep, os.Stdout
	ok := play(b, *fsType, *seed, *cuts, *mutants, hook.Bug(*only))
	b.close()
	if !ok {
		os.Exit(1)
	}
}

func unable(fsType string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("not root: it mounts file systems")
	}
	for _, dev := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(dev); err != nil {
			return err
		}
	}
	return supported(fsType)
}

// required: where it must run, not to be able to is a failure.
func required() bool {
	return os.Getenv("POSD_REQUIRE_ROOT_LABS") == "1" || (os.Getenv("CI") == "true" && os.Geteuid() == 0)
}

func skip(why error) int {
	if required() {
		fmt.Fprintln(os.Stderr, "must run here and cannot:", why)
		return 1
	}
	fmt.Println("skipped, nothing was tested:", why)
	return 0
}

func play(b *bench, fsType string, seed uint64, cuts int, mutants bool, only hook.Bug) bool {
	fmt.Printf("lab-%s: seed %d\n", fsType, seed)
	begin := time.Now()
	t := &tally{}
	if only == 0 {
		t = b.run(seed, 0, cuts)
		took := time.Since(begin)
		fmt.Printf("%d histories, %d lives (%d killed, %d with a failed sync), %d records; %d cuts, %d of them second ones, %d flipped bits; %.0f cuts a minute\n",
			t.histories, t.lives, t.killed, t.failed, t.records, t.cuts, t.seconds, t.flips, float64(t.cuts)/took.Minutes())
	}
	if t.first != "" {
		fmt.Println("FIRST WRONG:", t.first)
	}
	if t.broken != nil {
		fmt.Println("THE LAB FAILED:", t.broken)
	}
	caught, expected, ok := 0, 0, true
	if mutants && t.broken == nil {
		caught, expected, ok = plant(b, seed, only)
	}
	fmt.Printf("lab-%s: %d cuts, %d lost, %d phantom, %d false alarms, %d undetected flips, mutants caught %d of %d\n",
		fsType, t.cuts, t.kinds[lab.Lost], t.kinds[lab.Phantom], t.kinds[lab.FalseAlarm], t.kinds[lab.Undetected], caught, expected)
	return ok && t.broken == nil && t.wrong() == 0
}

// hidden are bugs that a real file system does not show, with the reason.
var hidden = map[hook.Bug]string{
	hook.NoDirSync: "fsync of a new file commits its name too",
	hook.Unaligned: "msync takes whole pages only; go test ./journal/lab plants it",
}

// mutantCuts is after how many cuts a planted bug counts as missed. The rarest is
// seen after some hundreds.
const mutantCuts = 20000

// plant runs each bug until it is seen.
func plant(b *bench, seed uint64, only hook.Bug) (caught, expected int, ok bool) {
	for _, bug := range hook.Bugs() {
		if only != 0 && bug != only {
			continue
		}
		if why := hidden[bug]; why != "" && only == 0 {
			fmt.Printf("mutant %q: not planted here: %s\n", bug, why)
			continue
		}
		expected++
		begin := time.Now()
		t := b.run(seed+uint64(bug)*1e6, bug, mutantCuts)
		switch {
		case t.broken != nil:
			fmt.Printf("mutant %q: the lab failed: %v\n", bug, t.broken)
		case t.wrong() > 0:
			caught++
			fmt.Printf("mutant %q: caught after %d cuts, %.1f s: %s\n", bug, t.cuts, time.Since(begin).Seconds(), t.first)
		default:
			fmt.Printf("mutant %q: NOT CAUGHT in %d cuts, %.1f s\n", bug, t.cuts, time.Since(begin).Seconds())
		}
	}
	return caught, expected, caught == expected
}
