#!/bin/bash
# reproducible.sh DIST: makes kernel, initrd and root of the image twice, from separate
# trees, and compares bytes. With FULL=1 Debian's packages are unpacked and configured
# anew for the second, which takes minutes. A planted difference must be seen.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=$top/.tools/image
mkdir -p "$cache"
deb=$(realpath "$1/$("$here/newest.sh" "$1")")
version=$(dpkg-deb -f "$deb" Version)
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}
unset SOURCE_DATE_EPOCH
umask 022
work=$(mktemp -d "$cache/repro.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# tree NAME BASE: everything anew from BASE, in another place, in another zone and language.
tree() {
  mkdir -p "$work/$1/slim" "$work/$1/out"
  "$here/slim.sh" "$2" "$work/$1/slim"
  "$here/tree.sh" "$work/$1/slim" "$deb" "$version" "$epoch" "$work/$1/out"
  rm -f "$work/$1/slim/root.tar"
}
same() { # A B
  local file rc=0
  for file in root.squashfs initrd vmlinuz loader.efi; do
    cmp "$work/$1/out/$file" "$work/$2/out/$file" || rc=1
  done
  return $rc
}

base=$("$here/base.sh" "$cache")
second=$base
if [ -n "${FULL:-}" ]; then
  mkdir "$work/cache"
  second=$("$here/base.sh" "$work/cache")
fi
tree one "$base"
sleep 2 # no file may have got the time of its making
TZ=Pacific/Auckland LC_ALL=C.UTF-8 tree other/place "$second"
same one other/place || { echo "image-reproducible: two builds differ" >&2; exit 1; }

# The control: one byte.
cp -r "$work/one" "$work/control"
printf 'x' | dd of="$work/control/out/root.squashfs" bs=1 seek=500000 conv=notrunc status=none
! same one control >/dev/null 2>&1 || { echo "image-reproducible: a changed byte was not noticed" >&2; exit 1; }
sha256sum "$work"/one/out/{root.squashfs,initrd,vmlinuz} | sed "s|$work/one/out/||"
echo "image-reproducible: two builds from separate trees have the same bytes${FULL:+, the Debian packages installed twice}; a changed byte was noticed"
