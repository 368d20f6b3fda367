#!/bin/bash
# finish.sh ROOT VERSION: makes the root of a terminal of a Debian with posd's package,
# and takes away what differs from one build to the next.
set -euo pipefail
root=$1 version=$2
cd "$root"

rm -rf var/log/* var/cache/* var/tmp/* tmp/* run/* var/lib/dpkg/*-old var/lib/systemd/{timesync,deb-systemd*} var/backups
rm -f etc/{passwd,group,shadow,gshadow}- etc/.pwd.lock etc/resolv.conf etc/mtab etc/hostname
# The example of the package is no configuration: the terminal waits for its own.
rm -f etc/posd/posd.toml

# dpkg's list lies beside the system that it describes; /var is the terminal's.
mv var/lib/dpkg usr/lib/dpkg-list
rm -rf var
mkdir -p var data home root
chmod 0700 data root
rm -rf opt/*

# A day of the last change of passwords would be the day of the build.
sed -i -E 's/^([^:]*:[^:]*:)[0-9]*:/\120000:/' etc/shadow
sed -i -E 's/^root:[^:]*:/root:*:/' etc/shadow
: >etc/machine-id # empty: the terminal makes its own at its first start
: >etc/fstab
echo posd-terminal >etc/hostname
printf '127.0.0.1 localhost posd-terminal\n::1 localhost\n' >etc/hosts
ln -s /proc/self/mounts etc/mtab
ln -s ../run/posd-image/resolv.conf etc/resolv.conf
: >usr/lib/clock-epoch
sed -i '/^IMAGE_/d' usr/lib/os-release
printf 'IMAGE_ID=posd\nIMAGE_VERSION="%s"\n' "$version" >>usr/lib/os-release
printf 'posd %s on Debian \\s \\r, \\l\n\n' "$version" >etc/issue
cat >usr/lib/tmpfiles.d/posd-image.conf <<TMP
# /var is empty at the first start.
L /var/lib/dpkg - - - - /usr/lib/dpkg-list
d /var/lib/posd-image 0755 root root -
TMP
find . -name '*.pyc' -delete
