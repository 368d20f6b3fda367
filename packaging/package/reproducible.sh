#!/bin/bash
# reproducible.sh RELEASE EPOCH: builds the packages twice, from copies of the sources in
# two folders, with another umask, time zone, language and file times, and compares every
# byte. Another EPOCH must give other bytes, else the comparison compares nothing.
#
# Compiled packages come from Go's build cache, as they do for everyone; FULL=1 takes an
# empty cache for the second build, which takes minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
release=$1 epoch=$2
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
fail() { echo "reproducible.sh: $*" >&2; exit 1; }

# sources: what git knows or would add, without what was built.
sources() {
  if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done)
  else
    (cd "$root" && find . \( -name .git -o -path ./bin -o -path ./dist -o -path ./.tools -o -path ./.demo \) -prune -o -type f -print0)
  fi
}

copy() { # FOLDER
  mkdir -p "$1"
  sources | tar -C "$root" --null -T - --touch -cf - | tar -C "$1" -xmf -
}

build() { # FOLDER EPOCH
  make -s -C "$1" packages VERSION="$release" SOURCE_DATE_EPOCH="$2" RELEASE_KEY= >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "the build in $1 failed"; }
}

# sums FOLDER: the signature is left out, its key was made for the one build.
sums() { (cd "$1/dist" && sha256sum posd_* SHA256SUMS posd posctl); }

copy "$work/a"
(umask 022; build "$work/a" "$epoch")
copy "$work/another place/b"
[ -z "${FULL:-}" ] || export GOCACHE="$work/cache"
(umask 077; export TZ=Asia/Tokyo LC_ALL=C HOSTNAME=elsewhere USER=somebody; build "$work/another place/b" "$epoch")
sums "$work/a" >"$work/first"
sums "$work/another place/b" >"$work/second"
cmp -s "$work/first" "$work/second" || fail "two builds differ:
$(diff "$work/first" "$work/second")"

(cd "$work/a" && .tools/package build -release "$release" -epoch $((epoch + 1)) -binaries .tools/packages -only arm64.deb -out "$work/later" >/dev/null)
name=$(cd "$work/later" && echo posd_*.deb)
[ -f "$work/later/$name" ] || fail "no package was made for the other epoch"
! cmp -s "$work"/later/posd_*.deb "$work"/a/dist/posd_*_arm64.deb || fail "another SOURCE_DATE_EPOCH gave the same bytes"
echo "packages: $(wc -l <"$work/first") files, the same bytes from two folders${FULL:+, one without the build cache}; another SOURCE_DATE_EPOCH gives others"
