# What the scripts around compose share; sourced, with the repository's root as the working directory afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The services that are scaled and restarted, in the order of a restart: first who is called, last who calls.
MESH_SERVICES=(echo-agent weather-tool itinerary-worker fs-tool web-tool docs-tool research-agent code-agent review-agent
  mcp-router)

# scripts/tools.sh puts compose here on a machine whose docker has none.
if [ -e .tools/docker/cli-plugins/docker-compose ]; then export DOCKER_CONFIG=${DOCKER_CONFIG:-$PWD/.tools/docker}; fi

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { local program; for program in "$@"; do
  command -v "$program" >/dev/null || die "$program is missing: apt-get install $program"; done; }

# count N WHAT-TO-CALL: N when it is a number of replicas.
count() { [[ ${1:-} =~ ^[1-9][0-9]?$ ]] || die "N is '${1:-}', not a number from 1 to 99. Call it as: $2"; }

containers() { docker compose ps -q "$1" 2>/dev/null || true; }
replicas() { containers "$1" | grep -c . || true; }

# url SERVICE PORT: where a service's port is published on this host.
url() {
  local at; at=$(docker compose port "$1" "$2" 2>/dev/null) && [ -n "$at" ] || die "$1 does not run: make up"
  say "http://${at/0.0.0.0/127.0.0.1}"
}

# until SECONDS WHAT COMMAND...: tries the command until it succeeds.
until_true() {
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@"; do [ $SECONDS -lt "$end" ] || die "$what did not happen in time"; sleep 0.3; done
}

# haproxy_table: name, status and total calls of every router that HAProxy knows, one per line. The page lists all 32
# slots; those that hold no replica are in maintenance.
haproxy_table() {
  curl -fsS "$(url haproxy 8404)/;csv" |
    awk -F, '$1 == "routers" && $2 != "BACKEND" && $18 !~ /^MAINT/ { printf "%s|%s|%s\n", $2, $18, $8 }'
}
haproxy_up() { haproxy_table | grep -c '|UP|' || true; }
