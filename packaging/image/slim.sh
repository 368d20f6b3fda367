#!/bin/bash
# slim.sh BASE.tar OUT: what base.sh made, without what a terminal does not use, and its
# kernel: OUT/root.tar, OUT/initrd.tar (modules), OUT/vmlinuz, OUT/loader.efi. Nothing of
# posd is in it, so it is kept for the next builds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
base=$1 out=$2
work=$(mktemp -d "$out/slim.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir "$root" "$work/initrd"
tar -xf "$base" -C "$root"

# The kernel and its modules. depmod belongs to the image, so it runs in there.
release=$(basename "$root"/opt/kernel/lib/modules/*)
cp "$root/opt/kernel/boot/vmlinuz-$release" "$out/vmlinuz"
cp "$root/opt/loader/usr/lib/systemd/boot/efi/systemd-bootaa64.efi" "$out/loader.efi"
from=$root/opt/kernel/lib/modules/$release
pick() { # SECTIONS: the modules of modules.keep
  local pattern
  pattern=$(sed -n -E "s/^($1) +//p" "$here/modules.keep" | paste -sd '|')
  (cd "$from/kernel" && find . -name '*.ko' -printf '%P\n' | grep -E "$pattern" | LC_ALL=C sort)
}
# closure LIST: with what they need, by modules.dep of the whole.
closure() {
  awk -F'[: ]+' 'NR==FNR { want["kernel/" $1]; next } $1 in want { for (i = 1; i <= NF; i++) if ($i != "") print $i }' \
    "$1" "$from/modules.dep" | LC_ALL=C sort -u
}
"$here/arm64run.sh" chroot "$root" depmod -b /opt/kernel "$release"
for kind in all initrd; do
  [ $kind = all ] && sections='all|initrd' || sections=initrd
  pick "$sections" >"$work/$kind.list"
  closure "$work/$kind.list" >"$work/$kind.files"
done
for kind in all initrd; do
  [ $kind = all ] && to=$root/usr/lib/modules/$release || to=$work/initrd/lib/modules/$release
  mkdir -p "$to"
  (cd "$from" && cp --parents -t "$to" $(cat "$work/$kind.files") modules.builtin modules.builtin.modinfo modules.order)
done
# The lists of the whole, without what is not there: what modules.dep says stays true.
for to in "$root/usr/lib/modules/$release" "$work/initrd/lib/modules/$release"; do
  (cd "$to" && find kernel -name '*.ko' | LC_ALL=C sort) >"$work/there"
  awk -F: 'NR==FNR { there[$1]; next } $1 in there' "$work/there" "$from/modules.dep" >"$to/modules.dep"
  sed 's|.*/||; s|\.ko$||; s|-|_|g' "$work/there" >"$work/names"
  awk 'NR==FNR { there[$1]; next } { n = $3; gsub("-", "_", n) } n in there' "$work/names" "$from/modules.alias" >"$to/modules.alias"
  awk 'NR==FNR { there[$1]; next } { n = $3; gsub("-", "_", n) } n in there' "$work/names" "$from/modules.softdep" >"$to/modules.softdep" || true
done
rm -f "$work/initrd/lib/modules/$release"/modules.{builtin.modinfo,order,softdep}
rm -rf "$root/opt/kernel" "$root/opt/loader"
# modprobe reads the binary forms of the lists; kmod makes them from the pruned tree.
"$here/arm64run.sh" chroot "$root" depmod "$release"
"$here/prune.sh" "$root"
tar --sort=name --numeric-owner -C "$work/initrd" -cf "$out/initrd.tar" .
tar --sort=name --numeric-owner -C "$root" -cf "$out/root.tar" .
