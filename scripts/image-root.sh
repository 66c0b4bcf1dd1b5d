#!/usr/bin/env bash
# Lays out the root directory of a container image: programs, the shared libraries they load, certificates, a user.
# Usage: scripts/image-root.sh DIRECTORY PROGRAM...
# An image of just that has no shell and no package manager, and needs no base image.
set -euo pipefail
root=$1; shift

mkdir -p "$root"/{etc/ssl/certs,tmp,data,usr/local/bin}
# Open to every user: owners are lost on the way into an image.
chmod 1777 "$root"/{tmp,data}
install -m 755 "$@" "$root/usr/local/bin/"

# `name => /path (address)`, and the loader as `/path (address)`; programs linked statically have none.
{ ldd "$@" 2>/dev/null || true; } | awk '$2 == "=>" { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u |
  while read -r library; do install -D -m 755 "$library" "$root$library"; done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0::/:\nmesh:x:65532:65532::/data:\n' >"$root/etc/passwd"
printf 'root:x:0:\nmesh:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
