#!/bin/bash
# tree.sh SLIM DEB VERSION EPOCH OUT: makes OUT/root.squashfs, OUT/vmlinuz,
# OUT/initrd and OUT/loader.efi: what slim.sh made, with posd's
# package and the files of this folder. The same inputs give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
slim=$1 deb=$2 version=$3 epoch=$4 out=$5
work=$(mktemp -d "$out/tree.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir "$root" "$work/initrd"
tar -xf "$slim/root.tar" -C "$root"
tar -xf "$slim/initrd.tar" -C "$work/initrd"
cp "$slim/vmlinuz" "$slim/loader.efi" "$out/"

go=(env CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -buildvcs=false -ldflags "-s -w")
"${go[@]}" -o "$work/initrd/init" "$here/init"
mkdir -p "$root/usr/lib/posd-image"
"${go[@]}" -o "$root/usr/lib/posd-image/setup" "$here/setup"
ln -s ../lib/posd-image/setup "$root/usr/sbin/posd-factory-reset"

install -m 0644 "$deb" "$root/opt/posd.deb"
"$here/arm64run.sh" bash -euo pipefail -c '
  root=$1 epoch=$2
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for n in null zero full random urandom; do touch "$root/dev/$n"; mount --bind "/dev/$n" "$root/dev/$n"; done
  mkdir -p "$root/proc" "$root/sys"; mount -t proc proc "$root/proc"
  inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH="$epoch" container=lxc chroot "$root" "$@"; }
  printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
  inside dpkg -i /opt/posd.deb
  rm "$root/usr/sbin/policy-rc.d"
' tree "$root" "$epoch" >"$out/tree.log" 2>&1 </dev/null || { tail -20 "$out/tree.log" >&2; exit 1; }
rm "$root/opt/posd.deb"
"$here/finish.sh" "$root" "$version"
cp -r "$here/files/." "$root/"
"$here/enable.sh" "$root"

# One order, one owner, one time: the same files give the same archive.
find "$work/initrd" -exec touch -hd "@$epoch" {} +
mkdir -p "$work/initrd"/{dev,proc,sys,run,root,esp,lab}
find "$work/initrd" -type d -exec touch -hd "@$epoch" {} +
(cd "$work/initrd" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible | zstd -q -12 -T1) >"$out/initrd"

rm -f "$out/root.squashfs"
mksquashfs "$root" "$out/root.squashfs" -no-progress -quiet -comp zstd -Xcompression-level "${SQUASH_LEVEL:-9}" -b 131072 \
  -all-time "$epoch" -mkfs-time "$epoch" -no-exports -no-xattrs -processors 2 >>"$out/tree.log"
