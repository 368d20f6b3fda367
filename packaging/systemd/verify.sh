#!/bin/bash
# verify.sh POSD: checks what is in this folder with the tools that will read it:
# systemd for the units, the user and the folders, POSD --check for the example
# configuration. Each check must also find a planted fault, else it proves nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
posd=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Exposure in tenths, as systemd-analyze security counts it: 0 is best, 100 worst. What
# is left: the network 5 (head office may be anywhere), addresses 3 and 2, unix sockets
# 1, the host's root folder 1, and the clock device that ProtectClock= itself lists 1.
threshold=11
units=(posd.service posd.socket posd.slice)

fail() { echo "verify.sh: $*" >&2; exit 1; }

# stage DIR: the units as they are, with this build's posd in place of the installed one.
stage() {
  mkdir -p "$1"
  cp "$here/posd.slice" "$1/"
  # The user is made by the package; here it need not exist.
  sed 's|^Documentation=.*||' "$here/posd.socket" >"$1/posd.socket"
  sed "s|^ExecStart=/usr/bin/posd|ExecStart=$posd|; s|^Documentation=.*||" "$here/posd.service" >"$1/posd.service"
}

# verify DIR: systemd warns about an unknown key and still exits 0, so any output about
# these units is a failure.
verify() {
  local out
  out=$(SYSTEMD_LOG_LEVEL=warning SYSTEMD_UNIT_PATH="$1:" systemd-analyze verify --man=no --generators=no "${units[@]/#/$1/}" 2>&1) || { echo "$out"; return 1; }
  out=$(grep -E 'posd\.(service|socket|slice)' <<<"$out" || true)
  [ -z "$out" ] || { echo "$out"; return 1; }
}

security() {
  systemd-analyze security --offline=true --no-pager --threshold="$threshold" "$1/posd.service"
}

# sense DIR: what systemd takes without a word and posd's promises need.
sense() {
  local dir=$1 line
  while read -r unit line; do
    grep -qxF -- "$line" "$dir/$unit" || { echo "$unit does not say $line"; return 1; }
  done <<'LINES'
posd.socket ListenStream=127.0.0.1:8080
posd.socket ListenStream=/run/posd/posd.sock
posd.socket SocketMode=0660
posd.service Requires=posd.socket
posd.service After=posd.socket
posd.service Sockets=posd.socket
posd.service ProtectClock=yes
posd.slice CPUQuota=10%
posd.slice CPUQuotaPeriodSec=100ms
posd.service MemoryHigh=28M
posd.slice MemoryMax=32M
posd.slice MemorySwapMax=0
posd.slice TasksMax=64
LINES
  # These lose the socket, or the connections in it, at a stop or a restart.
  ! grep -E '^(RuntimeDirectory=|Accept=yes|FlushPending=yes|RemoveOnStop=yes|PartOf=|BindsTo=)' "$dir"/posd.service "$dir"/posd.socket || return 1
  # A credential with an absolute path that does not exist ends the start.
  ! grep -E '^LoadCredential(Encrypted)?=[^:]*:/' "$dir/posd.service" || return 1
  # The codes that need help are the same for Restart= and for closing the sockets.
  local codes
  codes=$(sed -n 's/^RestartPreventExitStatus=//p' "$dir/posd.service")
  grep -q "^ExecStopPost=.* in ${codes// /|}) ;;" "$dir/posd.service" || { echo "ExecStopPost= has other codes than $codes"; return 1; }
}

# must_fail WHAT UNIT SED CHECK: plants a fault in a copy and expects CHECK to see it.
faults=0
must_fail() {
  local what=$1 unit=$2 edit=$3 check=$4 dir="$work/fault"
  rm -rf "$dir"; stage "$dir"
  sed -i "$edit" "$dir/$unit"
  cmp -s "$dir/$unit" "$work/good/$unit" && fail "the fault \"$what\" was not planted"
  "$check" "$dir" >/dev/null 2>&1 && fail "the fault \"$what\" was not noticed by $check"
  faults=$((faults + 1))
}

stage "$work/good"
out=$(verify "$work/good") || fail "systemd refuses the units:
$out"
must_fail "misspelt key of the service" posd.service 's/^Restart=/Restrat=/' verify
must_fail "misspelt key of the socket" posd.socket 's/^Backlog=/Backlok=/' verify
must_fail "misspelt key of the slice" posd.slice 's/^MemoryMax=/MemoryMxa=/' verify
must_fail "value out of range" posd.slice 's/^CPUQuota=.*/CPUQuota=lots/' verify
must_fail "address that is none" posd.socket 's/^ListenStream=127.*/ListenStream=here:there/' verify
must_fail "program that is not there" posd.service 's|^ExecStart=.*|ExecStart=/nonexistent/posd|' verify
must_fail "unknown system call group" posd.service 's/@keyring/@keyrings/' verify
must_fail "credential without a name" posd.service 's/^LoadCredential=hub.creds/LoadCredential=/' verify

out=$(sense "$work/good") || fail "$out"
must_fail "socket lost at a stop" posd.service 's/^StateDirectory=posd/&\nRuntimeDirectory=posd/' sense
must_fail "socket stopped with the service" posd.socket 's/^Description=.*/&\nPartOf=posd.service/' sense
must_fail "service without its socket" posd.service 's/^Requires=posd.socket//' sense
must_fail "credential that must exist" posd.service 's|:posd.hub.creds|:/etc/posd/hub.creds|' sense
must_fail "another code for help" posd.service 's/^RestartPreventExitStatus=64 66/RestartPreventExitStatus=64/' sense
must_fail "no limit of memory" posd.slice 's/^MemoryMax=.*//' sense

out=$(security "$work/good") || fail "the sandbox is too wide (threshold $threshold tenths):
$out"
exposure=$(grep -o 'exposure level.*' <<<"$out")
must_fail "sandbox left open" posd.service 's/^PrivateDevices=.*//; s/^CapabilityBoundingSet=.*//' security
must_fail "one thing left out" posd.service 's/^ProtectClock=.*//' security

# The files for the user and the folders are read by other programs.
mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" "$here/posd.sysusers" >"$work/sysusers.log" 2>&1 || fail "$(cat "$work/sysusers.log")"
grep -q '^posd:.*:/var/lib/posd:' "$work/root/etc/passwd" || fail "posd.sysusers makes no user posd"
if [ "$(id -u)" = 0 ]; then # folders are given to their owner
  folders() {
    local root="$work/root"
    rm -rf "$root/run" "$root/var"
    mkdir -p "$root/run" "$root/var/lib"
    SYSTEMD_LOG_LEVEL=warning systemd-tmpfiles --root="$root" --create "$1" >"$work/tmpfiles.log" 2>&1 || return 1
    [ "$(stat -c %a "$root/var/lib/posd")" = 750 ] && [ "$(stat -c %u:%a "$root/run/posd")" = 0:755 ] &&
      [ "$(stat -c %u "$root/var/lib/posd")" = "$(sed -n 's/^posd:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/passwd")" ]
  }
  folders "$here/posd.tmpfiles" || fail "posd.tmpfiles does not make the folders: $(cat "$work/tmpfiles.log")"
  sed 's/^d \(.*\) posd posd -/d \1 root root -/' "$here/posd.tmpfiles" >"$work/wrong.tmpfiles"
  folders "$work/wrong.tmpfiles" && fail "a data folder that is not posd's was not noticed"
  faults=$((faults + 1))
fi

# The example passes a strict check once its data folder exists, and a typo does not.
mkdir "$work/data"
sed "s|^dir = .*|dir = \"$work/data\"|" "$here/posd.toml" >"$work/posd.toml"
"$posd" --check --config "$work/posd.toml" >/dev/null
sed 's/^retention/retension/' "$work/posd.toml" >"$work/typo.toml"
"$posd" --check --config "$work/typo.toml" >/dev/null 2>&1 && fail "posd --check accepted a misspelt key"
# What posd, the example, the socket and the slice say about each other must agree.
for pair in 'CPUQuota=10% expect_cpu = "10%"' 'MemoryMax=32M expect_memory = "32MiB"'; do
  grep -q "^${pair%% *}\$" "$here/posd.slice" || fail "posd.slice does not say ${pair%% *}"
  "$posd" --reference | grep -q "^#${pair#* }\$" || fail "the default is not ${pair#* }"
done
for pair in 'listen 127.0.0.1:8080' 'socket /run/posd/posd.sock'; do
  grep -qx "ListenStream=${pair#* }" "$here/posd.socket" || fail "posd.socket does not listen on ${pair#* }"
  grep -qx "${pair% *} = \"${pair#* }\"" "$here/posd.toml" || fail "posd.toml names another http.${pair% *} than posd.socket"
done
echo "units, user, folders and example configuration are in order, $faults planted faults were seen; $exposure"
