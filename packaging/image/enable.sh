#!/bin/bash
# enable.sh ROOT: which units start. As links in /usr, so that /etc is the terminal's.
set -euo pipefail
cd "$1/usr/lib/systemd/system"
want() { # TARGET UNIT...
  local target=$1
  shift
  mkdir -p "$target.wants"
  for unit in "$@"; do
    [ -e "$unit" ] || { echo "enable.sh: there is no unit $unit" >&2; exit 1; }
    ln -sf "../$unit" "$target.wants/$unit"
  done
}
cp ../../../share/systemd/tmp.mount tmp.mount
sed -i 's/^Options=.*/Options=mode=1777,strictatime,nosuid,nodev,size=10%,nr_inodes=10k/' tmp.mount
want local-fs.target tmp.mount
want sysinit.target posd-setup.service
want multi-user.target posd-bless.service posd-resolv.path posd-lab.service systemd-networkd.service
want sockets.target systemd-networkd.socket
want sysinit.target systemd-timesyncd.service
want timers.target fstrim.timer

# Nothing writes on its own but what is meant to.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  man-db.timer systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service \
  systemd-networkd-wait-online.service systemd-pstore.service ldconfig.service systemd-hwdb-update.service \
  systemd-update-done.service systemd-journal-catalog-update.service systemd-firstboot.service \
  systemd-machine-id-commit.service getty-static.service remote-fs.target \
  dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount; do
  rm -f "$unit"
  rm -f ./*.wants/"$unit"
  ln -s /dev/null "$unit"
done
# Debian's links for these are of no use; the package's own stay.
find ../../../../etc/systemd/system -mindepth 1 ! -path '*/posd*' ! -name '*.wants' -delete
find ../../../../etc/systemd/system -mindepth 1 -type d -empty -delete
