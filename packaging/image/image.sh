#!/bin/bash
# image.sh VERSION DEB OUT.img: the firmware of an arm64 board with UEFI (its own or
# U-Boot's), as root. Nothing is mounted and no loop device is used. OUT.img.zst is the
# same, to send around. See doc.go of init and setup for what it does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
version=$1 deb=$(realpath "$2") image=$3
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || date -r "$deb" +%s)}
unset SOURCE_DATE_EPOCH # mksquashfs takes it or its options
umask 022
[ "$(id -u)" = 0 ] || { echo "image.sh: must be root, to give files to their owners" >&2; exit 1; }
cache=$top/.tools/image
mkdir -p "$cache" "$(dirname "$image")"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
say() { printf 'image: %4d s  %s\n' "$SECONDS" "$*"; }

base=$("$here/base.sh" "$cache")
say "Debian: $(basename "$base")"
slim=${base%.tar}-$(cat "$here"/{slim.sh,prune.sh,modules.keep} | sha256sum | cut -c1-12)
if [ ! -d "$slim" ]; then
  rm -rf "$cache"/base-*.part "${base%.tar}"-*
  mkdir "$slim.part"
  "$here/slim.sh" "$base" "$slim.part"
  mv "$slim.part" "$slim"
  say "slimmed"
fi
"$here/tree.sh" "$slim" "$deb" "$version" "$epoch" "$work"
size=$(stat -c %s "$work/root.squashfs")
sum=$(sha256sum "$work/root.squashfs" | cut -d' ' -f1)
say "root: $((size >> 20)) MiB squashfs, kernel $(($(stat -c %s "$work/vmlinuz") >> 20)) MiB, initrd $(($(stat -c %s "$work/initrd") >> 10)) KiB"

# Sizes in MiB. A slot has room for systems twice as large.
esp=128 slot=256 data=128
[ $((size >> 20)) -lt $slot ] || { echo "image.sh: the root is larger than a slot of $slot MiB" >&2; exit 1; }

# The first partition: a PC can read and write it.
mkdir -p "$work"/esp/{EFI/BOOT,EFI/systemd,loader/entries,a,posd}
cp "$work/loader.efi" "$work/esp/EFI/BOOT/BOOTAA64.EFI"
cp "$work/loader.efi" "$work/esp/EFI/systemd/systemd-bootaa64.efi"
cp "$work/vmlinuz" "$work/initrd" "$work/esp/a/"
cat >"$work/esp/loader/loader.conf" <<CONF
timeout 0
editor no
default posd-*
CONF
# +3: on trial for three boots; the terminal itself takes that away when it works.
# Slot b is empty and has no entry: the first update makes both.
cat >"$work/esp/loader/entries/posd-a+3.conf" <<CONF
title posd $version (slot a)
sort-key posd
version $version
linux /a/vmlinuz
initrd /a/initrd
options posd.slot=a posd.root=$sum,$size gpt panic=10 loglevel=4
CONF
sed 's/$/\r/' "$top/packaging/systemd/posd.toml" >"$work/esp/posd/posd.toml.example"
sed 's/$/\r/' "$here/first-partition.txt" >"$work/esp/posd/README.txt"
find "$work/esp" -exec touch -d "@$epoch" {} +
truncate -s "${esp}M" "$work/esp.img"
mkfs.vfat -F 32 -n POSD-ESP -i 504f5344 --invariant "$work/esp.img" >/dev/null
(cd "$work/esp" && SOURCE_DATE_EPOCH=$epoch TZ=UTC mcopy -s -m -i "$work/esp.img" -- * ::)

# The data partition: empty folders. It is stretched to the disk's end at the first start.
mkdir -p "$work"/data/{var,etc/upper,etc/work}
truncate -s "${data}M" "$work/data.img"
E2FSPROGS_FAKE_TIME=$epoch mke2fs -q -t ext4 -b 4096 -m 1 -J size=16 -L posd-data -U 504f5344-0000-4000-8000-0000000000da \
  -E hash_seed=504f5344-0000-4000-8000-0000000000da,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0 -d "$work/data" "$work/data.img"

# GUIDs come from the version: two releases never look like the same disk.
guid() { printf '%s %s' "$version" "$1" | sha256sum | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'; }
rm -f "$image.part"
truncate -s "$((1 + esp + slot + slot + data + 1))M" "$image.part"
sgdisk --clear --disk-guid="$(guid disk)" \
  --new="1:1M:+${esp}M" --typecode=1:ef00 --change-name=1:posd-esp --partition-guid="1:$(guid esp)" \
  --new="2:0:+${slot}M" --typecode=2:8305 --change-name=2:posd-root-a --partition-guid="2:$(guid root-a)" \
  --new="3:0:+${slot}M" --typecode=3:8305 --change-name=3:posd-root-b --partition-guid="3:$(guid root-b)" \
  --new="4:0:+${data}M" --typecode=4:8300 --change-name=4:posd-data --partition-guid="4:$(guid data)" \
  "$image.part" >/dev/null
at=1
for part in esp:$esp root:$slot none:$slot data:$data; do
  file=$work/${part%:*}.img
  [ "${part%:*}" != root ] || file=$work/root.squashfs
  [ "${part%:*}" = none ] || dd if="$file" of="$image.part" bs=1M seek=$at conv=sparse,notrunc status=none
  at=$((at + ${part#*:}))
done
sgdisk --verify "$image.part" | grep -q 'No problems found' || { echo "image.sh: the partition table is wrong" >&2; exit 1; }
mv "$image.part" "$image"
zstd -q -f -T0 -3 "$image" -o "$image.zst"
say "$image: $(($(stat -c %s "$image") >> 20)) MiB, $(($(stat -c %b "$image") >> 11)) MiB on the disk; $image.zst: $(($(stat -c %s "$image.zst") >> 20)) MiB"
