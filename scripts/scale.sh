#!/usr/bin/env bash
# Starts the mesh, or changes how many replicas run. Counts that are not given stay as they are, since a plain
# `docker compose up --scale echo-agent=3` sets every other service back to one.
# Usage: scripts/scale.sh [SERVICE=N]...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

services=$(mesh_services)
declare -A wanted
for pair in "$@"; do
  known "${pair%%=*}" "$services"
  count "${pair#*=}" "scripts/scale.sh ${pair%%=*}=3"
  wanted[${pair%%=*}]=${pair#*=}
done

# What compose would publish beyond this host, with everything that .env and overriding files say.
exposed() {
  docker compose config --format json | jq -r '
    (.services.redis.environment.REDISCLI_AUTH // "") as $password
    | [.services | to_entries[] | .key as $name | .value.ports[]?
        | select((.host_ip // "") | test("^(127\\.|\\[?::1\\]?$)") | not)
        | if (.published // "0") == "0" then "ports that Docker chooses" else "\($name) on \(.published)" end]
    | unique
    | if length > 0 and $password == "" then "password" elif any($password; test("[^A-Za-z0-9._~-]")) then "letters" else empty end,
      (if length > 0 then join(", ") else empty end)'
}
need jq
open=$(exposed)
case $open in
  password*) die "BIND_ADDRESS publishes ports beyond this host, and Redis has no password: set REDIS_PASSWORD, for example
  REDIS_PASSWORD=\$(openssl rand -hex 16) in .env, or leave BIND_ADDRESS at 127.0.0.1" ;;
  letters*) die 'REDIS_PASSWORD becomes part of a URL: use letters, digits and ._~- only' ;;
  ?*) say "warning: published beyond this host, and open to whoever reaches it: $open
  Redis asks for REDIS_PASSWORD. Consul, the gateway and HAProxy ask for nothing: put a firewall or a proxy in front of them." ;;
esac

flags=()
for service in $services; do
  present=$(replicas "$service")
  flags+=(--scale "$service=${wanted[$service]:-$((present > 0 ? present : 1))}")
done
# To scale is not to restart; `make up` alone applies a changed configuration.
[ $# = 0 ] || flags+=(--no-recreate)
docker compose up -d --wait --wait-timeout 180 "${flags[@]}"
