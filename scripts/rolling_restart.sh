#!/usr/bin/env bash
# Restarts replicas one at a time, so that calls go on: each drains (/readyz 404, deregistered, calls finished), starts
# again and is ready before the next. A service with a single replica gets a second one meanwhile. A service whose image
# or configuration changed gets new containers instead, which take the next free numbers.
# Usage: scripts/rolling_restart.sh [SERVICE]...    (default: agents, tools and workers, then routers; not Consul,
# HAProxy and Redis, of which there is one each; HAProxy reads its file again at: docker compose kill -s USR2 haproxy)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need curl jq
GRACE=150

healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$1" 2>/dev/null)" = healthy ]; }
all_healthy() { local id; for id in $(containers "$1"); do healthy "$id" || return 1; done; }

# in_service SERVICE N: N replicas are ready, Consul tells so, and for routers HAProxy sends them calls.
in_service() {
  all_healthy "$1" || return 1
  local passing
  passing=$(curl -fsS "$CONSUL/v1/health/service/$(registered_name "$1")?passing" | jq length) || return 1
  [ "$passing" -ge "$2" ] || return 1
  [ "$1" != mcp-router ] || [ "$(haproxy_up)" -ge "$2" ]
}
ready() { until_true 120 "$1: $2 replicas in service" in_service "$1" "$2"; }

grow() { docker compose up -d --no-recreate --no-deps --scale "$1=$2" "$1" >/dev/null 2>&1 ||
  die "could not start a replica of $1: docker compose up -d --no-recreate --scale $1=$2"; }

# changed SERVICE CONTAINER: the container is not what compose would create today.
changed() {
  local image; image=$(docker compose config --format json | jq -r ".services[\"$1\"].image")
  [ "$(docker inspect -f '{{.Image}}' "$2")" != "$(docker image inspect -f '{{.Id}}' "$image")" ] ||
    [ "$(docker inspect -f '{{index .Config.Labels "com.docker.compose.config-hash"}}' "$2")" != \
      "$(docker compose config --hash "$1" | awk '{ print $2 }')" ]
}

roll() {
  local service=$1 old id done=0
  mapfile -t old < <(containers "$service")
  local n=${#old[@]}
  [ "$n" -gt 0 ] || { say "$service: does not run"; return; }
  ready "$service" "$n"
  if changed "$service" "${old[0]}"; then
    for id in "${old[@]}"; do
      grow "$service" $((n + 1)); ready "$service" $((n + 1))
      docker stop -t $GRACE "$id" >/dev/null; docker rm "$id" >/dev/null
      say "$service: replaced $((++done)) of $n"
    done
  else
    [ "$n" -gt 1 ] || { grow "$service" 2; ready "$service" 2; }
    for id in "${old[@]}"; do
      docker restart -t $GRACE "$id" >/dev/null
      ready "$service" $((n > 1 ? n : 2))
      say "$service: restarted $((++done)) of $n"
    done
    [ "$n" -gt 1 ] || grow "$service" 1
  fi
}

CONSUL=$(url consul 8500)
services=$(mesh_services)
[ $# -gt 0 ] || set -- $services
for service in "$@"; do
  known "$service" "$services"
  roll "$service"
done
