#!/bin/bash
# verify.sh POSD: checks what is in this folder with the tools that will read it:
# systemd for the units and the user, POSD --check for the example configuration.
# Each check must also find a planted fault, else it proves nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
posd=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Exposure in tenths, as systemd-analyze security counts it: 0 is best, 100 worst. The
# one exception that posd.service makes, reading the state of the clock, costs 3.
threshold=14
threshold_without_clock=11

fail() { echo "verify.sh: $*" >&2; exit 1; }

# stage DIR: the units as they are, with this build's posd in place of the installed one.
stage() {
  mkdir -p "$1"
  cp "$here/posd.slice" "$1/"
  sed "s|^ExecStart=/usr/bin/posd|ExecStart=$posd|; s|^Documentation=.*||" "$here/posd.service" >"$1/posd.service"
}

# verify DIR: systemd warns about an unknown key and still exits 0, so any output about
# these units is a failure.
verify() {
  local out
  out=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --generators=no "$1/posd.service" "$1/posd.slice" 2>&1) || { echo "$out"; return 1; }
  out=$(grep -E 'posd\.(service|slice)' <<<"$out" || true)
  [ -z "$out" ] || { echo "$out"; return 1; }
}

# security DIR [TENTHS]
security() {
  systemd-analyze security --offline=true --no-pager --threshold="${2:-$threshold}" "$1/posd.service"
}

# must_fail WHAT UNIT SED CHECK: plants a fault in a copy and expects CHECK to see it.
must_fail() {
  local what=$1 unit=$2 edit=$3 check=$4 dir="$work/fault"
  rm -rf "$dir"; stage "$dir"
  sed -i "$edit" "$dir/$unit"
  cmp -s "$dir/$unit" "$work/good/$unit" && fail "the fault \"$what\" was not planted"
  "$check" "$dir" >/dev/null 2>&1 && fail "the fault \"$what\" was not noticed by $check"
  return 0
}

stage "$work/good"
out=$(verify "$work/good") || fail "systemd refuses the units:
$out"
must_fail "misspelt key" posd.service 's/^Restart=/Restrat=/' verify
must_fail "value out of range" posd.slice 's/^CPUQuota=.*/CPUQuota=lots/' verify
must_fail "program that is not there" posd.service 's|^ExecStart=.*|ExecStart=/nonexistent/posd|' verify

out=$(security "$work/good") || fail "the sandbox is too wide (threshold $threshold tenths):
$out"
mkdir "$work/clock"
sed 's/^SystemCallFilter=adjtimex .*/ProtectClock=yes/' "$work/good/posd.service" >"$work/clock/posd.service"
more=$(security "$work/clock" "$threshold_without_clock") || fail "the sandbox is too wide beside the clock:
$more"
exposure=$(grep -o 'exposure level.*' <<<"$out")
must_fail "sandbox left open" posd.service 's/^PrivateDevices=.*//; s/^CapabilityBoundingSet=.*//' security

# The user's file is read by another program.
mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" "$here/posd.sysusers" >"$work/sysusers.log" 2>&1 || fail "$(cat "$work/sysusers.log")"
grep -q '^posd:.*:/var/lib/posd:' "$work/root/etc/passwd" || fail "posd.sysusers makes no user posd"

# The example passes a strict check once its data folder exists, and a typo does not.
mkdir "$work/data"
sed "s|^dir = .*|dir = \"$work/data\"|" "$here/posd.toml" >"$work/posd.toml"
"$posd" --check --config "$work/posd.toml" >/dev/null
sed 's/^retention/retension/' "$work/posd.toml" >"$work/typo.toml"
"$posd" --check --config "$work/typo.toml" >/dev/null 2>&1 && fail "posd --check accepted a misspelt key"
# What posd and the slice say about each other must agree.
for pair in 'CPUQuota=10% expect_cpu = "10%"' 'MemoryMax=32M expect_memory = "32MiB"'; do
  grep -q "^${pair%% *}\$" "$here/posd.slice" || fail "posd.slice does not say ${pair%% *}"
  "$posd" --reference | grep -q "^#${pair#* }\$" || fail "the default is not ${pair#* }"
done
echo "units, user and example configuration are in order; $exposure"
