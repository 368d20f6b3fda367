// Package cgroup tells posd under which limits it runs, sets Go's two knobs by
// them, and reads what the kernel did about them.
//
// Limits hold for whole subtrees: a process lives in posd.service, the quota is
// set on posd.slice. So Read walks from the process's own group up to the root
// and takes the least of each limit, with the path that set it. The Go runtime
// looks at its own group only.
//
// A Pacer keeps background work below the sales: it counts the processor time of
// the whole process and lets uplink, scrub, segment making and index go on only
// while that stays below a share of the quota, which throttling lowers. Where
// memory is short it says so, and what can be left out is left out.
//
// It reads cgroup v2, v1 and the hybrid of both through files. It changes no
// group: systemd owns those, and package cgroup/slice makes one where there is no
// systemd. It promises no completeness: inside a container the groups above are
// not visible, which Limits.Hidden then says.
package cgroup
