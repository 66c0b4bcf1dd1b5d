#!/usr/bin/env bash
# Stand-ins for the images of Consul, HAProxy and Redis on a machine that reaches no registry: the same programs, from
# Debian's packages on this host (scripts/tools.sh test), with the libraries they load. Labelled local.standin=true.
# Prints the variables that point compose at them: eval "$(scripts/standin-images.sh)"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.tools/bin:$PATH:/usr/sbin

# image VARIABLE NAME CMD PROGRAM...
image() {
  local variable=$1 name=$2 cmd=$3 root; shift 3
  root=$(mktemp -d)
  local programs=() program; for program in "$@"; do programs+=("$(readlink -f "$(command -v "$program")")"); done
  scripts/image-root.sh "$root" "${programs[@]}"
  # redis-server and redis-cli are links to one program, told apart by name.
  for program in "$@"; do [ -e "$root/usr/local/bin/$program" ] ||
    ln -s "$(basename "$(readlink -f "$(command -v "$program")")")" "$root/usr/local/bin/$program"; done
  tar -C "$root" --owner=0 --group=0 -c . | docker import -c 'LABEL local.standin=true' -c 'ENV PATH=/usr/local/bin' -c 'WORKDIR /data' \
    -c "$cmd" - "$name" >/dev/null
  rm -rf "$root"
  echo "export $variable=$name"
}

image CONSUL_IMAGE standin/consul:1.8.7 'ENTRYPOINT ["consul"]' consul
image HAPROXY_IMAGE standin/haproxy:2.6 'CMD ["haproxy","-W","-db","-f","/usr/local/etc/haproxy/haproxy.cfg"]' \
  haproxy bash
image REDIS_IMAGE standin/redis:7.0 'CMD ["redis-server"]' redis-server redis-cli chown
