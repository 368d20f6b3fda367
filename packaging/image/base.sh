#!/bin/bash
# base.sh CACHE: the Debian that the image is made of, before anything of posd is in it:
# CACHE/base-<key>.tar, with the packages of packages.list from this machine's own
# Debian mirror, with security updates. The key covers the list, this file and the week, so
# that an image is never built from an older Debian; BASE_KEY=... names one to use again.
# Prints the name of the tar.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1
suite=bookworm
key=${BASE_KEY:-$(date -u +%G%V)-$(cat "$here/packages.list" "$here/base.sh" | sha256sum | cut -c1-12)}
tar=$cache/base-$key.tar
mkdir -p "$cache"
[ ! -e "$tar" ] || { echo "$tar"; exit 0; }
[ -z "${BASE_KEY:-}" ] || { echo "base.sh: there is no $tar" >&2; exit 1; }

# The mirrors that this machine itself uses, in both formats of apt.
mirror() { # PATTERN
  { sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
    sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
  } 2>/dev/null | grep -E "$1" | head -1 || true
}
main=$(mirror '/debian/?$')
security=$(mirror 'debian-security/?$')
[ -n "$main" ] || { echo "base.sh: apt of this machine knows no mirror of Debian: add one to /etc/apt/sources.list" >&2; exit 1; }
main=${main%/}
: "${security:=${main%/debian}/debian-security}"

names=$(sed 's/#.*//' "$here/packages.list" | xargs)
root=$cache/base.$$
exec 3>&1 4>&2
ended() {
  rc=$?
  rm -rf --one-file-system "$root"
  [ "$rc" = 0 ] || { tail -30 "$cache/base.log"; echo "base.sh: failed; all of its output is in $cache/base.log"; } >&4
}
trap ended EXIT
rm -rf --one-file-system "$cache"/base.[0-9]*
mkdir -p "$root"
echo "base.sh: Debian $suite for arm64: some minutes, once a week" >&4
exec >"$cache/base.log" 2>&1
debootstrap --arch=arm64 --foreign --variant=minbase "$suite" "$root" "$main"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cat >"$root/etc/apt/sources.list" <<LIST
deb $main $suite main
deb $main $suite-updates main
deb $security $suite-security main
LIST
# Times may be wrong on a machine that builds without a network clock; apt's own proxy
# and such are taken over, hooks are not.
apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90machine"
cat >"$root/etc/apt/apt.conf.d/91build" <<CONF
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
"$here/arm64run.sh" bash -euo pipefail -c '
  root=$1; shift
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for n in null zero full random urandom tty; do touch "$root/dev/$n"; mount --bind "/dev/$n" "$root/dev/$n"; done
  mkdir "$root/dev/pts" "$root/dev/shm"; touch "$root/dev/console"
  ln -s /proc/self/fd "$root/dev/fd"
  mkdir -p "$root/proc" "$root/sys"; mount -t proc proc "$root/proc"
  # container=lxc: debootstrap makes no device nodes, packages start nothing.
  inside() { env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy=$http_proxy} ${https_proxy:+https_proxy=$https_proxy} chroot "$root" "$@"; }
  inside /debootstrap/debootstrap --second-stage
  printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
  inside apt-get -qq update
  inside apt-get -qq -y dist-upgrade
  inside apt-get -qq -y install "$@"
  # Kernel and loader are files to take, not packages to configure.
  inside bash -euc "cd /var/cache/apt/archives && rm -f *.deb
    apt-get -qq download systemd-boot-efi \$(apt-cache depends linux-image-arm64 | sed -n \"s/.*Depends: //p\" | grep ^linux-image)
    mkdir -p /opt/kernel /opt/loader
    dpkg-deb -x linux-image-*.deb /opt/kernel; dpkg-deb -x systemd-boot-efi_*.deb /opt/loader
    rm -f *.deb"
  rm -f "$root/usr/sbin/policy-rc.d"
' base "$root" $names </dev/null
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
# Names in one order and only the numbers of users, so that a tar is its content.
tar --sort=name --numeric-owner -C "$root" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -cf "$tar.part" .
sync "$tar.part"
mv "$tar.part" "$tar"
echo "$tar" >&3
