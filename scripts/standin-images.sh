#!/usr/bin/env bash
# Stand-ins for images on a machine that reaches no registry: the same programs, from Debian's packages on this host or
# built from their source (scripts/tools.sh observability), with the libraries they load. Labelled local.standin=true.
# Consul, HAProxy, Redis and PostgreSQL; with `observability` also Prometheus, Alertmanager, the collector and Jaeger. Grafana and
# Loki are neither packages of Debian nor Go modules that can be installed: for them there is none.
# Prints the variables that point compose at them: eval "$(scripts/standin-images.sh [observability])"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.tools/bin:$PATH:/usr/sbin

# image VARIABLE NAME CMD PROGRAM...; FOLDERS are those that its user writes to, FILES what goes along, SCRIPT its start.
image() {
  local variable=$1 name=$2 cmd=$3 root folder; shift 3
  root=$(mktemp -d); chmod 755 "$root"
  local programs=() program; for program in "$@"; do programs+=("$(readlink -f "$(command -v "$program")")"); done
  scripts/image-root.sh "$root" "${programs[@]}"
  # redis-server and redis-cli are links to one program, told apart by name.
  for program in "$@"; do [ -e "$root/usr/local/bin/$program" ] ||
    ln -s "$(basename "$(readlink -f "$(command -v "$program")")")" "$root/usr/local/bin/$program"; done
  # What a program starts by a shell it starts by this one.
  if [ -e "$root/usr/local/bin/sh" ]; then install -d "$root/bin"; ln -s /usr/local/bin/sh "$root/bin/sh"; fi
  local file; for file in ${FILES:-}; do cp -rL --parents "$file" "$root"; done
  [ -z "${SCRIPT:-}" ] || install -m 755 "$SCRIPT" "$root/usr/local/bin/start"
  for folder in ${FOLDERS:-}; do install -d -m 1777 "$root/$folder"; done
  tar -C "$root" --owner=0 --group=0 -c . | docker import -c 'LABEL local.standin=true' -c 'ENV PATH=/usr/local/bin' -c 'WORKDIR /data' \
    -c "$cmd" - "$name" >/dev/null
  rm -rf "$root"
  echo "export $variable=$name"
}

image CONSUL_IMAGE standin/consul:1.8.7 'ENTRYPOINT ["consul"]' consul
image HAPROXY_IMAGE standin/haproxy:2.6 'CMD ["haproxy","-W","-db","-f","/usr/local/etc/haproxy/haproxy.cfg"]' \
  haproxy bash sh
# What PostgreSQL loads and reads while it runs stands where Debian has it.
bin=$(dirname "$(readlink -f "$(command -v postgres)")")
version=$(basename "$(dirname "$bin")")
PATH=$bin:$PATH FILES="$bin/postgres $bin/initdb ${bin%bin}lib/plpgsql.so ${bin%bin}lib/dict_snowball.so /usr/share/postgresql/$version /usr/share/zoneinfo" \
  SCRIPT=scripts/standin-postgres.sh image POSTGRES_IMAGE "standin/postgres:$version" 'CMD ["sh","/usr/local/bin/start"]' \
  postgres initdb pg_isready setpriv sh chown chmod mkdir rm
image REDIS_IMAGE standin/redis:7.0 'CMD ["redis-server"]' redis-server redis-cli chown

[ "${1:-}" = observability ] || exit 0
FOLDERS=prometheus image PROMETHEUS_IMAGE standin/prometheus:2.42 'ENTRYPOINT ["prometheus"]' prometheus
FOLDERS=alertmanager FILES=/usr/share/prometheus/alertmanager image ALERTMANAGER_IMAGE standin/alertmanager:0.25 'ENTRYPOINT ["alertmanager"]' alertmanager sh sed
image OTEL_COLLECTOR_IMAGE standin/otel-collector:0.161 'ENTRYPOINT ["otel-collector"]' otel-collector
image JAEGER_IMAGE standin/jaeger:1.35 'ENTRYPOINT ["all-in-one"]' all-in-one
