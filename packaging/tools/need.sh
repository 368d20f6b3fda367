#!/bin/bash
# need.sh COMMAND...: makes sure that the commands are there. As root on a system
# with apt-get it installs what is missing; else it says what to install and fails.
set -euo pipefail

package_of() {
  case $1 in
    qemu-aarch64-static) echo qemu-user-static ;;
    qemu-system-aarch64) echo qemu-system-arm ;;
    systemd-analyze) echo systemd ;;
    busybox) echo busybox-static ;;
    mkfs.ext4) echo e2fsprogs ;;
    debootstrap) echo debootstrap ;;
    mksquashfs) echo squashfs-tools ;;
    mkfs.vfat) echo dosfstools ;;
    mcopy) echo mtools ;;
    sgdisk) echo gdisk ;;
    cpio) echo cpio ;;
    zstd) echo zstd ;;
    aavmf) echo qemu-efi-aarch64 ;;
    curl) echo curl ca-certificates ;;
    git) echo git ;;
    gcc) echo gcc libc6-dev ;;
    zoneinfo) echo tzdata ;;
    postgres) echo postgresql ;;
    node) echo nodejs ;;
    npm) echo npm ;;
    zbarimg) echo zbar-tools ;;
    tidy) echo tidy ;;
    *) echo "need.sh: no package is known for $1" >&2; return 1 ;;
  esac
}

present() {
  case $1 in
    aavmf) [ -e /usr/share/AAVMF/AAVMF_CODE.fd ] ;;
    zoneinfo) [ -e /usr/share/zoneinfo/Europe/Berlin ] ;;
    # Debian keeps the server's programs out of PATH.
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null ;;
    # The race detector links C: the compiler alone, without headers, is not enough.
    gcc) command -v gcc >/dev/null && echo '#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

packages=()
for name in "$@"; do
  present "$name" && continue
  found=$(package_of "$name")
  # shellcheck disable=SC2206  # a list of words
  packages+=($found)
done
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "need.sh: missing here: ${packages[*]}" >&2
  echo "need.sh: install them, for example: sudo apt-get install ${packages[*]}" >&2
  exit 1
fi
echo "need.sh: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
for name in "$@"; do
  present "$name" || { echo "need.sh: $name is still missing after the installation" >&2; exit 1; }
done
