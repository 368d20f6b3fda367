#!/bin/bash
# prune.sh ROOT: takes away what a terminal does not use.
set -euo pipefail
cd "$1"

# Nothing here is for a person who reads manuals, or for another language.
find usr/share/doc -mindepth 1 -maxdepth 1 ! -name posd -exec rm -rf {} +
rm -rf usr/share/{man,info,lintian,linda,groff,locale,bug,menu,pixmaps,bash-completion,zsh,gdb}
mkdir -p usr/share/man
rm -rf usr/share/zoneinfo/{right,posix}
rm -rf usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin etc/udev/hwdb.bin
rm -rf usr/lib/systemd/catalog var/lib/systemd/catalog
# Packages come as a whole image. dpkg stays, so that one can see what it was made of.
rm -rf usr/lib/apt usr/share/apt etc/apt var/lib/apt var/cache/apt usr/bin/apt* usr/lib/*/libapt-* usr/share/keyrings
rm -rf usr/lib/*/gconv usr/lib/*/perl-base/unicore usr/lib/*/perl/debian-config-data* usr/share/perl5/Debian
rm -rf boot/* debootstrap opt/* root/.??* usr/lib/firmware home srv media
# What looks for disks, encryption and old init scripts that this image has not got.
rm -f usr/lib/systemd/system-generators/systemd-{gpt-auto,cryptsetup,integritysetup,veritysetup,hibernate-resume,sysv,rc-local,system-update}-generator
