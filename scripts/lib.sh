# shellcheck shell=bash
# What the scripts around compose share; sourced, with the repository's root as the working directory afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# scripts/tools.sh puts compose here on a machine whose docker has none.
if [ -e .tools/docker/cli-plugins/docker-compose ]; then export DOCKER_CONFIG=${DOCKER_CONFIG:-$PWD/.tools/docker}; fi

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { local program; for program in "$@"; do
  command -v "$program" >/dev/null || die "$program is missing: apt-get install $program"; done; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# count N WHAT-TO-CALL: N when it is a number of replicas.
count() { [[ ${1:-} =~ ^[1-9][0-9]?$ ]] || die "N is '${1:-}', not a number from 1 to 99. Call it as: $2"; }

# The services of compose that are scaled and restarted, in the order of a restart.
mesh_services() { scripts/programs.sh | grep -Ex '.*-(agent|tool|worker)|mcp-router' | grep -Fxf <(docker compose config --services); }
# known NAME LIST: fails unless the name is one of them.
known() { grep -Fqx -- "$1" <<<"$2" || die "'$1' is not one of: $(xargs <<<"$2")"; }
# registered_name SERVICE: its name in Consul, such as agent-echo for echo-agent.
registered_name() { case $1 in *-agent|*-tool|*-worker) say "${1##*-}-${1%-*}" ;; *) say "$1" ;; esac; }

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
