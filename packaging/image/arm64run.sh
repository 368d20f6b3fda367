#!/bin/bash
# arm64run.sh COMMAND...: runs COMMAND as root of private namespaces in which aarch64
# programs run, through qemu-aarch64-static where the machine is another. Nothing of the
# machine is changed: the kernel's table of foreign programs (binfmt_misc) is one of its
# own, which needs Linux 6.7. On an older kernel a table that knows aarch64 already
# (qemu-user-static and binfmt-support make one) is used.
set -euo pipefail

if [ "${1:-}" = --inner ]; then
  shift
  read -r _ <"$ARM64RUN_FIFO" # until the parent has written our maps of users
  mount -t proc proc /proc
  if [ "$(uname -m)" != aarch64 ] && [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc 2>/dev/null || {
      echo "arm64run.sh: this kernel has no private binfmt_misc (Linux 6.7) and knows no aarch64 programs: apt-get install binfmt-support qemu-user-static, or build on arm64" >&2
      exit 1
    }
    # F: the interpreter is opened now, so that it also works within a chroot.
    printf '%s' ':qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$(command -v qemu-aarch64-static)"':OCF' \
      >/proc/sys/fs/binfmt_misc/register
  fi
  exec "$@"
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/fifo"
export ARM64RUN_FIFO="$dir/fifo"
unshare --user --mount --pid --fork --kill-child -- "$0" --inner "$@" &
child=$!
trap 'kill "$child" 2>/dev/null || true; rm -rf "$dir"' EXIT
for _ in $(seq 250); do # unshare's own process carries the new user namespace
  [ "$(readlink "/proc/$child/ns/user")" != "$(readlink /proc/self/ns/user)" ] && break
  sleep 0.02
done
echo "0 0 4294967295" >"/proc/$child/uid_map"
echo "0 0 4294967295" >"/proc/$child/gid_map"
echo go >"$dir/fifo"
rc=0
wait "$child" || rc=$?
trap 'rm -rf "$dir"' EXIT
exit "$rc"
