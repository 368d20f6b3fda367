#!/bin/bash
# test.sh DIST BINARIES: what the packages in the folder DIST do on a real system. Run by
# make test-packages. Needs root.
#
# The system is this machine's, under an overlay in memory: nothing here is changed.
# systemd runs in it as process 1, dpkg installs, posd sells, poshub settles. A second,
# small one has only busybox: neither systemd nor dpkg. It stands for a device that
# unpacks the ipk.
#
# BINARIES holds what the packages were made of. Two more releases are made here: a later
# one, and one whose posd does not come up.
set -euo pipefail
self=$(realpath "$0")
fail() { echo "test.sh: $*" >&2; exit 1; }

later=1000.0

# prepare DIST BINARIES TO: the packages of this machine's kind, under short names.
prepare() {
  local dist=$1 binaries=$2 to=$3 arch opkg root
  root=$(cd "$(dirname "$self")/../.." && pwd)
  arch=$(dpkg --print-architecture)
  case $arch in amd64) opkg=x86_64 ;; arm64) opkg=aarch64 ;; *) fail "there are no packages for $arch" ;; esac
  cp "$dist"/posd_*_"$arch".deb "$to/old.deb"
  cp "$dist"/posd_*_"$opkg".ipk "$to/posd.ipk"
  cp "$binaries/$arch/posd" "$to/posd"
  mkdir -p "$to/later/$arch" "$to/broken/$arch"
  (cd "$root" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$later" -o "$to/later/$arch/" ./cmd/posd ./cmd/posctl &&
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$to/poshub" ./cmd/poshub &&
    CGO_ENABLED=0 go build -C packaging/package -trimpath -buildvcs=false -o "$to/broken/$arch/posd" ./testdata/broken)
  cp "$to/later/$arch/posctl" "$to/broken/$arch/"
  "$root/.tools/package" build -root "$root" -binaries "$to/later" -release $later -epoch 1 -only "$arch.deb" -out "$to/later" >/dev/null
  "$root/.tools/package" build -root "$root" -binaries "$to/broken" -release $later.1 -epoch 1 -only "$arch.deb" -out "$to/broken" >/dev/null
  mv "$to"/later/*.deb "$to/new.deb"
  mv "$to"/broken/*.deb "$to/broken.deb"
}

# ---------------------------------------------------------------------------------------
# On this machine: namespaces, and a control group for systemd.
# ---------------------------------------------------------------------------------------
outside() {
  cgroup=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
  if [ "$(id -u)" != 0 ] || [ -z "$cgroup" ] || ! grep -qw overlay /proc/filesystems; then
    echo "test.sh: left out, it needs root, cgroup2 and overlayfs"
    exit 0
  fi
  work=$(mktemp -d) holder=
  cgroup=$cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
  cgroup=${cgroup%/}/posd-packages-$$
  mkdir "$cgroup"
  trap cleanup EXIT
  mkdir "$work/packages" "$work/system"
  prepare "$(realpath "$1")" "$(realpath "$2")" "$work/packages"
  begin --busybox
  wait "$holder" || { cat "$work/log" >&2; fail "the system with busybox"; }
  tail -1 "$work/log"
  begin --systemd
  inside
}

begin() { # PART: holder is the process that all of the new system depends on
  bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' _ "$cgroup" \
    unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child=KILL "$self" "$1" "$work/packages" "$work/system" >"$work/log" 2>&1 &
  holder=$!
}

cleanup() {
  # All others go with process 1 of the new system, which is unshare's child.
  if [ -n "$holder" ]; then
    # shellcheck disable=SC2046  # a list of numbers
    kill -KILL $(cat "/proc/$holder/task/$holder/children" 2>/dev/null) "$holder" 2>/dev/null || true
    wait "$holder" 2>/dev/null || true
  fi
  for _ in $(seq 50); do
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$cgroup" ] || break
    sleep 0.1
  done
  rm -rf "$work"
}

# inside waits for systemd, then runs the scenario beside it.
inside() {
  local init=
  for _ in $(seq 300); do
    init=$(cat "/proc/$holder/task/$holder/children" 2>/dev/null || true)
    init=${init%% *}
    [ -n "$init" ] && [ "$(enter "$init" systemctl is-active multi-user.target 2>/dev/null || true)" = active ] && break
    kill -0 "$holder" 2>/dev/null || { cat "$work/log" >&2; fail "systemd ended"; }
    sleep 0.1
  done
  enter "$init" /posd-packages/test.sh --scenario || {
    enter "$init" journalctl -b --no-pager -n 60 -u posd.service -u posd.socket >&2 || true
    fail "the system with systemd"
  }
}

enter() { # PID COMMAND...
  local pid=$1
  shift
  nsenter -t "$pid" -m -p -n -u -i -C -r -w -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lxc HOME=/root "$@"
}

# devices ROOT: /dev, /proc, /run and /tmp of a new system.
devices() {
  local root=$1 name
  mkdir -p "$root"/{dev,proc,run,tmp,sys}
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
  done
  mkdir "$root/dev/shm"
  ln -s /proc/self/fd "$root/dev/fd"
}

# ---------------------------------------------------------------------------------------
# Process 1 of the new system.
# ---------------------------------------------------------------------------------------
become_systemd() {
  local packages=$1 work=$2 root
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$work"
  mkdir "$work/upper" "$work/over" "$work/root"
  root=$work/root
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/over" "$root"
  mkdir "$root/posd-packages"
  cp "$packages"/*.deb "$packages/posd" "$packages/poshub" "$self" "$root/posd-packages/"
  devices "$root"
  mkdir "$root/dev/pts"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  # Nothing of this machine's own: no mounts, no services, no earlier posd.
  : >"$root/etc/fstab"
  rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/posd* "$root/etc/posd" "$root/var/lib/posd" "$root/etc/credstore"
  ln -sf /dev/null "$root/etc/systemd/system/console-getty.service"
  echo posd-packages >"$root/etc/hostname"
  [ -s "$root/etc/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  mkdir "$root/outside"
  cd "$root"
  pivot_root . outside
  umount -l /outside
  # As systemd has it where it is not told that it is in a container: credentials need it.
  mount --make-rshared /
  exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target --log-target=journal
}

# ---------------------------------------------------------------------------------------
# What a till sees, in the system with systemd.
# ---------------------------------------------------------------------------------------
sale='{"lines":[{"description":"x","tax":"A","price":100}],"tenders":[{"kind":"cash","amount":100}]}'

sell() { # KEY: prints the status; the answer is in /tmp/answer
  curl -sS --max-time 30 -o /tmp/answer -w '%{http_code}' -H "Authorization: Bearer $(cat /root/token)" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: $1" -d "$sale" http://127.0.0.1:8080/v1/checkout 2>/tmp/curl.log || true
}
sells() { [ "$(sell "$1")" = 201 ] || fail "the sale $1 was not taken: $(cat /tmp/answer /tmp/curl.log)"; }
installed() { dpkg -i "/posd-packages/$1.deb" >/tmp/dpkg.log 2>&1; }
says() { grep -q -- "$1" /tmp/dpkg.log || fail "dpkg's output does not say \"$1\": $(cat /tmp/dpkg.log)"; }
active() { systemctl is-active --quiet posd.service && systemctl is-active --quiet posd.socket; }
resting() { for _ in $(seq 50); do rests && return; sleep 0.1; done; return 1; }
rests() { ! systemctl is-active --quiet posd.service && ! systemctl is-active --quiet posd.socket; }
sales() { posctl dump | grep -c '"sale.completed"' || true; }
runs() { journalctl -b -u posd.service -o cat | grep -E '(msg=|^)ready ' | tail -1 | grep -q "release=$1\$" || fail "the release that runs is not $1"; }
step() { steps=$((steps + 1)); }

# till sells one sale after the other until /tmp/stop exists. Like a front end, it repeats
# a call that got no answer, with its key. /tmp/loop: status and seconds of each sale.
till() {
  local n=0 status begun
  : >/tmp/loop
  : >/tmp/repeated
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1)) begun=$EPOCHREALTIME
    for _ in 1 2 3; do
      status=$(sell "loop-$n")
      [ "$status" = 000 ] || break
      cat /tmp/curl.log >>/tmp/repeated
    done
    [ "$status" != 200 ] || status=201 # a repeated call whose first answer was lost
    echo "$status $(echo "$EPOCHREALTIME $begun" | awk '{printf "%.3f", $1 - $2}')" >>/tmp/loop
  done
}

# refused: a purge must fail, say why, and leave everything.
refused() {
  local files
  files=$(find /var/lib/posd /etc/posd | sort)
  ! dpkg --purge posd >/tmp/dpkg.log 2>&1 && grep -q 'PURGE REFUSED' /tmp/dpkg.log &&
    [ "$files" = "$(find /var/lib/posd /etc/posd 2>/dev/null | sort)" ] && id posd >/dev/null
}

# settle: lets head office have everything. poshub listens on this system's loopback only.
settle() {
  mkdir -p /root/hub
  /posd-packages/poshub serve --auth token --data /root/hub --listen 127.0.0.1:8090 --nats 127.0.0.1:4222 >/root/hub.log 2>&1 &
  for _ in $(seq 100); do [ -s /root/hub/nats.token ] && break; sleep 0.1; done
  # As a credential: the configuration names none.
  install -D -m 0600 /root/hub/nats.token /etc/credstore/posd.hub.token
  printf '[hub]\nurls = ["nats://127.0.0.1:4222"]\n' >>/etc/posd/posd.toml
  systemctl restart posd.service
  for _ in $(seq 300); do
    status | grep -q '"unsettled": *0' && return
    sleep 0.1
  done
  fail "head office does not get everything: $(status; cat /root/hub.log)"
}
status() { curl -sS --max-time 10 -H "Authorization: Bearer $(cat /var/lib/posd/posctl.token)" http://127.0.0.1:8080/v1/status; }

scenario() {
  steps=0
  cd /

  # First installation: everything is there, nothing is started.
  installed old || fail "first installation: $(cat /tmp/dpkg.log)"
  says 'installed, not started'
  rests || fail "posd was started without a journal"
  for unit in posd.service posd.socket; do [ "$(systemctl is-enabled $unit)" = enabled ] || fail "$unit is not enabled"; done
  [ "$(stat -c %U:%G:%a /var/lib/posd)" = posd:posd:750 ] || fail "the data folder is $(stat -c %U:%G:%a /var/lib/posd)"
  cmp -s /etc/posd/posd.toml /usr/share/posd/posd.toml || fail "the configuration is not the example"
  step

  # As the package says: three commands, and it sells. The user has no shell to log in.
  sed -i 's/^time_zone.*/time_zone = "UTC"/' /etc/posd/posd.toml
  posd --check >/dev/null
  posctl init >/tmp/init.log
  posctl token add front | tail -1 >/root/token
  systemctl start posd.service || fail "posd does not start"
  sells first
  [ "$(curl -sS --unix-socket /run/posd/posd.sock -o /dev/null -w '%{http_code}' http://posd/readyz)" = 200 ] || fail "the unix socket does not answer"
  [ "$(stat -c %U:%G:%a /run/posd/posd.sock /run/posd | tr '\n' ' ')" = "posd:posd:660 root:root:755 " ] || fail "owner or mode of the socket"
  step

  # What posd is told of the clock can be seen inside of the sandbox.
  mkdir -p /run/systemd/timesync
  touch /run/systemd/timesync/synchronized
  [ -e "/proc/$(systemctl show -p MainPID --value posd.service)/root/run/systemd/timesync/synchronized" ] || fail "posd cannot see whether the clock is right"
  step

  # A crash: the sale that comes meanwhile waits in the socket.
  systemctl kill -s KILL posd.service
  sells crash
  step

  # An upgrade while the till sells: nothing is refused, nothing is lost, the sockets
  # stay, the operator's configuration stays.
  echo '# the operator was here' >>/etc/posd/posd.toml
  cp /etc/posd/posd.toml /root/posd.toml
  local socket before after longest repeated
  socket=$(systemctl show -p ActiveEnterTimestampMonotonic posd.socket)
  rm -f /tmp/stop
  till &
  local loop=$!
  sleep 0.5
  before=$(wc -l </tmp/loop)
  installed new || fail "upgrade: $(cat /tmp/dpkg.log)"
  says 'upgraded, posd'
  sleep 0.5
  touch /tmp/stop
  wait $loop
  runs $later
  after=$(wc -l </tmp/loop)
  [ "$after" -gt "$before" ] || fail "nothing was sold during the upgrade"
  ! grep -v '^201 ' /tmp/loop || fail "during the upgrade: $(cut -d' ' -f1 /tmp/loop | sort | uniq -c | tr '\n' ';')"
  longest=$(cut -d' ' -f2 /tmp/loop | sort -n | tail -1)
  repeated=$(wc -l </tmp/repeated)
  [ "$(systemctl show -p ActiveEnterTimestampMonotonic posd.socket)" = "$socket" ] || fail "the upgrade closed the sockets"
  [ "$(sales)" = $((after + 2)) ] || fail "$((after + 2)) sales were acknowledged, the journal holds $(sales)"
  cmp -s /etc/posd/posd.toml /root/posd.toml || fail "the upgrade changed the configuration"
  step

  # A release that does not come up: the package says so and fails; going back helps.
  ! installed broken || fail "a release that does not come up was installed without an error"
  says 'THE NEW RELEASE DOES NOT COME UP'
  says 'go back'
  installed old || fail "going back: $(cat /tmp/dpkg.log)"
  active || fail "posd does not run after going back"
  sells back
  step

  # What an operator stopped or disabled stays so over an upgrade.
  systemctl disable --quiet posd.service
  systemctl stop posd.service 2>/dev/null
  resting || fail "the sockets are open after systemctl stop: the next connection would start posd"
  [ "$(sell refused)" = 000 ] || fail "a stopped posd answered"
  installed new || fail "upgrade of a stopped posd: $(cat /tmp/dpkg.log)"
  rests || fail "an upgrade started a posd that had been stopped"
  [ "$(systemctl is-enabled posd.service || true)" = disabled ] || fail "an upgrade enabled what had been disabled"
  systemctl enable --quiet posd.service
  systemctl start posd.service
  sells again
  step

  # A downgrade while the till runs, to a release with another posd.socket.
  sed -i 's/^Backlog=.*/Backlog=64/' /usr/lib/systemd/system/posd.socket
  systemctl daemon-reload
  installed old || fail "downgrade: $(cat /tmp/dpkg.log)"
  says 'posd.socket has changed'
  active || fail "posd does not run after a downgrade"
  [ "$(systemctl show -p Backlog --value posd.socket)" = 256 ] || fail "the downgrade did not take its posd.socket"
  sells downgraded
  step

  # An exit that needs help closes the sockets, too; a restart would not help.
  sed -i 's/"EUR"/"XXX"/' /etc/posd/posd.toml
  systemctl restart posd.service 2>/dev/null || true
  resting || fail "the sockets are open although posd cannot run"
  cp /root/posd.toml /etc/posd/posd.toml
  systemctl start posd.service
  sells repaired
  step

  # A credential that is not there is left out; named by a path, it would end the start.
  mkdir -p /etc/systemd/system/posd.service.d
  printf '[Service]\nLoadCredential=other:/etc/posd/not-there\n' >/etc/systemd/system/posd.service.d/planted.conf
  systemctl daemon-reload
  ! systemctl restart posd.service 2>/dev/null || fail "a credential with a path that does not exist did not end the start"
  rm -r /etc/systemd/system/posd.service.d
  systemctl daemon-reload
  systemctl restart posd.service
  step

  # Another address, and another clock daemon than systemd's: the drop-ins of operate.md.
  mkdir -p /etc/systemd/system/posd.s{ocket,ervice}.d
  printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:9090\nListenStream=/run/posd/posd.sock\n' >/etc/systemd/system/posd.socket.d/address.conf
  printf '[Service]\nProtectClock=no\nSystemCallFilter=adjtimex clock_adjtime\n' >/etc/systemd/system/posd.service.d/clock.conf
  systemctl daemon-reload
  systemctl restart posd.socket posd.service || fail "posd does not start with the drop-ins"
  [ "$(curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9090/readyz)" = 200 ] || fail "posd does not answer at the other address"
  [ "$(sell nobody)" = 000 ] || fail "posd still answers at the old address"
  rm -r /etc/systemd/system/posd.s{ocket,ervice}.d
  systemctl daemon-reload
  systemctl restart posd.socket posd.service
  sells restored
  step

  # Removal keeps the data. Head office has nothing: a purge is refused, again and again.
  dpkg --remove posd >/tmp/dpkg.log 2>&1 || fail "removal: $(cat /tmp/dpkg.log)"
  [ ! -e /usr/bin/posd ] && [ -d /var/lib/posd/journal ] && [ -e /etc/posd/posd.toml ] || fail "removal took the wrong things"
  [ ! -e /var/lib/posd/purge-allowed ] || fail "a purge is allowed with unsettled sales"
  cp -a /var/lib/posd /root/unsettled
  cp -a /etc/posd /root/etc
  refused || fail "purge with unsettled sales: $(cat /tmp/dpkg.log)"
  refused || fail "second purge with unsettled sales: $(cat /tmp/dpkg.log)"
  step

  # Installed again, with its data: it sells at once. Then head office gets everything.
  restore unsettled
  installed old || fail "$(cat /tmp/dpkg.log)"
  active || fail "posd does not run after it was installed again"
  [ ! -e /var/lib/posd/removed ] || fail "the note of the removal is still there"
  sells returned
  settle
  dpkg --remove posd >/tmp/dpkg.log 2>&1 || fail "removal: $(cat /tmp/dpkg.log)"
  grep -q '"journal"' /var/lib/posd/purge-allowed || fail "no verdict: $(cat /tmp/dpkg.log)"
  cp -a /var/lib/posd /root/settled
  step

  # A verdict holds for the journal it was made for, and for no other.
  forge
  refused || fail "purge after the journal had been written to: $(cat /tmp/dpkg.log)"
  restore settled
  rm /var/lib/posd/purge-allowed
  cp -a /root/unsettled/journal/. /var/lib/posd/journal/
  cp -a /root/settled/purge-allowed /var/lib/posd/
  refused || fail "purge after an older journal had been put back: $(cat /tmp/dpkg.log)"
  restore settled
  cp -a /var/lib/posd/journal /var/lib/posd/old-journal
  refused || fail "purge with another journal in the folder: $(cat /tmp/dpkg.log)"
  restore settled
  mv /var/lib/posd /root/elsewhere && ln -s /root/elsewhere /var/lib/posd
  rm /var/lib/posd/purge-allowed
  refused || fail "purge with the data behind a link: $(cat /tmp/dpkg.log)"
  rm /var/lib/posd
  restore settled
  step

  # The same questions with bugs planted in the scripts: this test must see each.
  planted prerm 's/if \[ $code != 0 \]; then/if false; then/' unsettled
  planted postrm 's/^\t\[ -e $data\/purge-allowed \] || refuse .*//; s/^\t\[ "$(sed .*/\ttrue ||/; s/^\tnewer=.*/\tnewer=/' unsettled
  planted postrm 's/^\t\[ "$(sed .*/\ttrue ||/; s/^\tnewer=.*/\tnewer=/' settled forge
  installed old || fail "$(cat /tmp/dpkg.log)"
  dpkg --remove posd >/tmp/dpkg.log 2>&1 || fail "removal: $(cat /tmp/dpkg.log)"
  restore settled
  step

  # And now it may go: data, configuration, user.
  dpkg --purge posd >/tmp/dpkg.log 2>&1 || fail "purge of a settled terminal: $(cat /tmp/dpkg.log)"
  [ ! -e /var/lib/posd ] && [ ! -e /etc/posd ] && ! id posd >/dev/null 2>&1 || fail "purge left something"
  ! dpkg-query -W posd >/dev/null 2>&1 || fail "dpkg still knows posd"
  step

  # Without systemd-sysusers. And data.dir elsewhere: a purge takes what lies in
  # /var/lib/posd, so it must not believe an answer about another folder.
  mv /usr/bin/systemd-sysusers /root/
  installed old || fail "installation without systemd-sysusers: $(cat /tmp/dpkg.log)"
  mv /root/systemd-sysusers /usr/bin/
  [ "$(getent passwd posd | cut -d: -f6)" = /var/lib/posd ] || fail "the user made without systemd-sysusers"
  install -d -o posd -g posd /srv/till
  sed -i 's/^time_zone.*/time_zone = "UTC"/; s#/var/lib/posd#/srv/till#' /etc/posd/posd.toml
  posctl init >/tmp/init.log
  cp -a /root/settled/journal /var/lib/posd/
  dpkg --remove posd >/tmp/dpkg.log 2>&1
  [ ! -e /var/lib/posd/purge-allowed ] || fail "the verdict on another folder was taken for this one"
  refused || fail "purge with a journal that nobody asked about: $(cat /tmp/dpkg.log)"
  rm -r /var/lib/posd/journal
  dpkg --purge posd >/tmp/dpkg.log 2>&1 || fail "purge without a journal: $(cat /tmp/dpkg.log)"
  [ -d /srv/till/journal ] || fail "the purge reached beyond /var/lib/posd"
  step

  echo "packages under systemd $(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'): $steps steps; upgrade beside $after sales, none refused, lost or doubled, $repeated repeated, the longest took $longest s; every planted bug was seen"
}

# planted SCRIPT SED DATA [forge]: installs, plants a bug in a script, removes, and expects
# the purge to go wrong.
planted() {
  local script=/var/lib/dpkg/info/posd.$1
  restore "$3"
  installed old || fail "$(cat /tmp/dpkg.log)"
  cp "$script" /tmp/script
  sed -i "$2" "$script"
  ! cmp -s "$script" /tmp/script && sh -n "$script" || fail "the bug in $1 was not planted"
  dpkg --remove posd >/tmp/dpkg.log 2>&1 || fail "removal: $(cat /tmp/dpkg.log)"
  if [ "${4:-}" = forge ]; then
    restore "$3" # with its verdict
    forge
  fi
  ! refused || fail "the planted bug was not seen: $1 $2"
}

# restore NAME: the data folder as it was kept under /root/NAME, and the configuration.
restore() {
  rm -rf /var/lib/posd /etc/posd
  cp -a "/root/$1" /var/lib/posd
  cp -a /root/etc /etc/posd
}

# forge writes one more sale with a posd that no package knows of.
forge() {
  sed 's/^listen.*/listen = "127.0.0.1:8081"/; s/^socket.*//; /^\[hub\]/,$d' /etc/posd/posd.toml >/tmp/forge.toml
  printf '[limits]\nexpect_cpu = "0%%"\nexpect_memory = "0B"\n' >>/tmp/forge.toml
  setpriv --reuid=posd --regid=posd --clear-groups /posd-packages/posd --config /tmp/forge.toml >/tmp/forge.log 2>&1 &
  local pid=$! url=http://127.0.0.1:8081
  for _ in $(seq 100); do curl -s -o /dev/null $url/readyz && break; sleep 0.1; done
  curl -sS -o /dev/null -H "Authorization: Bearer $(cat /root/token)" -H 'Content-Type: application/json' -H 'Idempotency-Key: forged' -d "$sale" $url/v1/checkout
  kill $pid
  wait $pid || true
}

# ---------------------------------------------------------------------------------------
# The system with busybox: no systemd, no dpkg, no bash.
# ---------------------------------------------------------------------------------------
become_busybox() {
  local packages=$1 work=$2 root
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$work"
  root=$work/root
  mkdir -p "$root"/{bin,etc,root,usr/bin}
  cp "$(command -v busybox)" "$root/bin/busybox"
  devices "$root"
  chroot "$root" /bin/busybox --install -s /bin
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  mkdir "$root/ipk"
  tar -xzf "$packages/posd.ipk" -C "$root/ipk"
  mkdir "$root/ipk/control"
  tar -xzf "$root/ipk/control.tar.gz" -C "$root/ipk/control"
  script() { chroot "$root" /bin/env -i PATH=/usr/bin:/bin "/ipk/control/$@" >"$work/log" 2>&1; }

  # On another machine, for an image: left to the first boot.
  ! OPKG_OFFLINE_ROOT=/x sh "$root/ipk/control/postinst" configure || fail "postinst did something outside of the device"

  # A kernel on which the program would not start.
  printf '#!/bin/sh\necho 65536\n' >"$root/usr/bin/getconf"
  chmod +x "$root/usr/bin/getconf"
  ! script preinst upgrade 0 || fail "posd went onto a kernel with pages of 64 KiB"
  grep -q 'pages of 65536 bytes' "$work/log" || fail "preinst does not say why: $(cat "$work/log")"
  rm "$root/usr/bin/getconf"

  script preinst install || fail "preinst: $(cat "$work/log")"
  tar -xzf "$root/ipk/data.tar.gz" -C "$root"
  script postinst configure || fail "postinst: $(cat "$work/log")"
  grep -q 'posctl slice exec' "$work/log" || fail "nothing says how to start without systemd: $(cat "$work/log")"
  [ "$(chroot "$root" /bin/stat -c %U:%G:%a /var/lib/posd)" = posd:posd:750 ] || fail "the data folder"
  cmp -s "$root/etc/posd/posd.toml" "$root/usr/share/posd/posd.toml" || fail "the configuration"

  sed -i 's/^time_zone.*/time_zone = "UTC"/' "$root/etc/posd/posd.toml"
  chroot "$root" /usr/bin/posctl init >/dev/null 2>&1 || fail "posctl init"
  chroot "$root" /usr/bin/posctl token add front 2>/dev/null | tail -1 >"$work/token"
  [ "$(chroot "$root" /bin/stat -c %U /run/posd)" = posd ] || fail "posd cannot make its socket"
  chroot "$root" /usr/bin/posd >"$work/posd.log" 2>&1 &
  local pid=$!
  for _ in $(seq 100); do grep -qE "(msg=|^)ready " "$work/posd.log" && break; sleep 0.1; done
  kill -0 $pid || fail "posd: $(cat "$work/posd.log")"
  [ "$(curl -sS --max-time 30 --unix-socket "$root/run/posd/posd.sock" -o "$work/answer" -w '%{http_code}' -H "Authorization: Bearer $(cat "$work/token")" \
    -H 'Content-Type: application/json' -H 'Idempotency-Key: one' -d "$sale" http://posd/v1/checkout)" = 201 ] || fail "the sale: $(cat "$work/answer")"

  script preinst upgrade 0 && script postinst configure || fail "upgrade: $(cat "$work/log")"
  kill -0 $pid || fail "an upgrade ended posd where nothing starts it again"
  script prerm upgrade 9 && kill -0 $pid || fail "prerm upgrade ended posd"

  # It stops posd by itself, and finds what head office lacks.
  script prerm remove || fail "prerm: $(cat "$work/log")"
  ! kill -0 $pid 2>/dev/null || fail "posd runs after prerm remove"
  [ ! -e "$root/var/lib/posd/purge-allowed" ] || fail "a purge is allowed with unsettled sales"
  rm "$root/usr/bin/posd" "$root/usr/bin/posctl"
  script postrm remove || fail "postrm: $(cat "$work/log")"
  [ -d "$root/var/lib/posd/journal" ] || fail "postrm remove took the journal"
  ! script postrm purge || fail "postrm purge took an unsettled journal"
  rm -r "$root/var/lib/posd/journal"
  script postrm purge || fail "postrm purge: $(cat "$work/log")"
  [ ! -e "$root/etc/posd" ] && [ ! -e "$root/var/lib/posd" ] || fail "postrm purge left something"
  ! grep -q '^posd:' "$root/etc/passwd" || fail "postrm purge left the user"
  echo "packages with busybox, without systemd and dpkg: in order"
}

case $1 in
--busybox) shift; become_busybox "$@" ;;
--systemd) shift; become_systemd "$@" ;;
--scenario) scenario ;;
*) outside "$@" ;;
esac
