#!/bin/bash
# build.sh DIST: the image of the arm64 package that DIST/SHA256SUMS names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dist=$1
deb=$dist/$("$here/newest.sh" "$dist")
version=$(dpkg-deb -f "$deb" Version)
image=$dist/posd-$version-arm64.img
find "$dist" -maxdepth 1 \( -name 'posd-*-arm64.img' -o -name 'posd-*-arm64.img.zst' \) ! -name "posd-$version-arm64.img*" -delete
"$here/image.sh" "$version" "$deb" "$image"
