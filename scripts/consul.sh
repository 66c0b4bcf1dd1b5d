#!/usr/bin/env bash
# What Consul knows. Usage: scripts/consul.sh check|cleanup    JSON=1 for check as JSON
#   check    services, instances and their health
#   cleanup  deregisters instances that are critical
# The address is CONSUL_HTTP_ADDR, else where compose publishes Consul.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need curl jq

consul=${CONSUL_HTTP_ADDR:-$(url consul 8500)}
[[ $consul == *://* ]] || consul=http://$consul
call() { curl -fsS ${CONSUL_HTTP_TOKEN:+-H "X-Consul-Token: $CONSUL_HTTP_TOKEN"} "$@" ||
  die "Consul does not answer at $consul: make up, or set CONSUL_HTTP_ADDR"; }

instances() {
  local name
  # Not a pipe into the loop: an error must end the script.
  local names; names=$(call "$consul/v1/catalog/services" | jq -r 'keys[]')
  for name in $names; do
    [ "$name" = consul ] || call "$consul/v1/health/service/$name"
  done | jq -s 'add // [] | map({service: .Service.Service, id: .Service.ID, node: .Node.Node, port: .Service.Port,
    address: (if .Service.Address == "" then .Node.Address else .Service.Address end), tags: .Service.Tags,
    health: ([.Checks[].Status] | if any(. == "critical") then "critical" elif any(. == "warning") then "warning"
      else "passing" end)}) | sort_by(.service, .id)'
}

check() {
  local list; list=$(instances)
  if [ -n "${JSON:-}" ]; then say "$list"; return; fi
  [ "$list" != '[]' ] || { say "no services are registered at $consul"; return; }
  { say 'SERVICE|INSTANCE|ADDRESS|HEALTH'
    jq -r '.[] | "\(.service)|\(.id)|\(.address):\(.port)|\(.health)"' <<<"$list"; } | column -t -s '|'
  say
  jq -r 'group_by(.service)[] | "\(.[0].service): \(map(select(.health == "passing")) | length) of \(length) passing"' \
    <<<"$list"
}

cleanup() {
  local node id removed=0 critical
  critical=$(instances | jq -r '.[] | select(.health == "critical") | "\(.node) \(.id)"')
  while read -r node id; do
    [ -n "$id" ] || continue
    # The agent first, or it would register the instance again; the catalog for one of an agent that is gone.
    curl -fsS -X PUT ${CONSUL_HTTP_TOKEN:+-H "X-Consul-Token: $CONSUL_HTTP_TOKEN"} \
      "$consul/v1/agent/service/deregister/$id" >/dev/null 2>&1 || true
    call -X PUT -d "{\"Node\": \"$node\", \"ServiceID\": \"$id\"}" "$consul/v1/catalog/deregister" >/dev/null
    say "deregistered $id"; removed=$((removed + 1))
  done <<<"$critical"
  say "$removed critical instances deregistered"
}

case ${1:-} in
  check) check ;;
  cleanup) cleanup ;;
  *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
