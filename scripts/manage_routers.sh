#!/usr/bin/env bash
# The router replicas behind HAProxy. Usage: scripts/manage_routers.sh COMMAND
#   scale N   run N replicas
#   status    replicas, and how HAProxy sees them
#   health    exits 1 unless every replica that runs gets calls
#   haproxy   HAProxy's table of routers, and where its page is
#   consul    the replicas that Consul knows
#   logs      follow the routers' logs
#   restart   restart them one at a time, while calls go on
#   help      this text
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need curl jq

haproxy() {
  { say 'SLOT|STATUS|CALLS'; haproxy_table; } | column -t -s '|'
  say "page: $(url haproxy 8404)/stats"
}

health() {
  local running up; running=$(replicas mcp-router) up=$(haproxy_up)
  say "$up of $running routers are UP in HAProxy"
  [ "$running" -gt 0 ] && [ "$up" -eq "$running" ]
}

# Docker knows a new replica before HAProxy's next look at DNS and its first check; the rest of that is waiting.
settled() { [ "$(haproxy_up)" = "$1" ]; }

case ${1:-help} in
  scale)
    count "${2:-}" 'scripts/manage_routers.sh scale 3'
    scripts/scale.sh "mcp-router=$2"
    until_true 60 "HAProxy to see $2 routers UP" settled "$2"
    health ;;
  status) docker compose ps mcp-router; say; haproxy; say; health || true ;;
  health) health ;;
  haproxy) haproxy ;;
  consul) JSON=1 scripts/consul.sh check | jq -r '.[] | select(.service == "mcp-router") |
    "\(.id)  \(.address):\(.port)  \(.health)"' ;;
  logs) docker compose logs -f --tail=100 mcp-router ;;
  restart) scripts/rolling_restart.sh mcp-router ;;
  help) sed -n '2,10s/^# \{0,1\}//p' "$0" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
