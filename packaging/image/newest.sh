#!/bin/bash
# newest.sh DIST: name of the arm64 deb of the last build.
set -euo pipefail
name=$(sed -n -E 's/^[0-9a-f]+ [ *]?(posd_.*_arm64\.deb)$/\1/p' "$1/SHA256SUMS")
[ "$(wc -w <<<"$name")" = 1 ] || { echo "newest.sh: $1/SHA256SUMS names these: ${name:-none}; run make packages" >&2; exit 1; }
echo "$name"
