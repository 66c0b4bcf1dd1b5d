#!/usr/bin/env bash
# The mesh in Docker with the profile observability, as its users run it: up, scale, look, restart under load, change a
# program, kill one until the alert comes, down. Each claim is asserted.
# Usage: scripts/test-containers.sh    PROFILE=debug tests the development build (default: release)
# Runs beside a mesh of yours: a project, a network and ports of its own. Where no Docker runs it starts one, and where
# no registry can be reached it makes stand-ins of the images. What it started it ends.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export COMPOSE_PROJECT_NAME=agent-platform-test MESH_IMAGE=agent-platform-test:local
export MESH_SUBNET=172.29.0.0/16 MESH_IP_RANGE=172.29.128.0/17 CONSUL_IP=172.29.0.10 HAPROXY_IP=172.29.0.11
# Docker chooses the ports.
export CONSUL_HOST_PORT=0 CONSUL_DNS_HOST_PORT=0 MESH_HOST_PORT=0 STATS_HOST_PORT=0 REDIS_HOST_PORT=0
export GATEWAY_HOST_PORT=0 TASKS_HOST_PORT=0 WORKFLOWS_HOST_PORT=0 FANOUT_HOST_PORT=0 RUNNER_HOST_PORT=0
export WORKFLOW_RUNNER_HOST_PORT=0 POSTGRES_HOST_PORT=0
export COMPOSE_PROFILES=observability OTLP_GRPC_HOST_PORT=0 OTLP_HTTP_HOST_PORT=0 JAEGER_HOST_PORT=0
export PROMETHEUS_HOST_PORT=0 ALERTMANAGER_HOST_PORT=0 GRAFANA_HOST_PORT=0
# Every trace, since there is one run only.
export TRACE_KEEP_PERCENT=100
# What `make up` asks for where ports are published beyond this host.
export REDIS_PASSWORD=of-the-test
WORK=$(mktemp -d)
# What runs of the pipeline leave. Docker makes the directory.
export OUT_DIR=$WORK/files
DOCKERD='' LOAD=''

finish() {
  local code=$?
  set +e
  touch "$WORK/stop"
  [ -z "$LOAD" ] || wait "$LOAD"
  if [ $code != 0 ]; then
    docker compose ps
    curl -fsS "$(url prometheus 9090)/api/v1/targets" | jq -r '.data.activeTargets[] | "\(.scrapeUrl): \(.health) \(.lastError)"'
    docker compose logs --tail=30 --no-color --no-log-prefix 2>/dev/null | cut -c1-240
  fi
  docker compose down -v -t 10 --remove-orphans >/dev/null 2>&1
  docker images -q "${MESH_IMAGE%:*}" | sort -u | xargs -r docker image rm -f >/dev/null 2>&1
  [ -z "$DOCKERD" ] || { kill "$DOCKERD"; wait "$DOCKERD" 2>/dev/null; }
  rm -rf "$WORK"
  [ $code = 0 ] && say 'containers: all is well' || say "containers: failed"
  exit $code
}
trap finish EXIT

# quiet COMMAND...: its output only when it fails.
quiet() { "$@" >"$WORK/out" 2>&1 || { cat "$WORK/out"; die "'$*' failed"; }; }
answers() { .tools/bin/grpcurl -plaintext -max-time 5 -d '{"agent_id": "agent-echo", "input": "again"}' "$AT" \
  agentplatform.AgentService/ExecuteTask >"$WORK/out" 2>&1; }
ok() { say "containers: $*"; }
same() { [ "$2" = "$3" ] || die "$1: expected $2, got $3"; ok "$1: $3"; }
has() { grep -q -- "$2" <<<"$1" || die "expected '$2' in: $1"; }

running() { local service; for service in mcp-router echo-agent weather-tool itinerary-worker; do
  printf '%s ' "$(replicas $service)"; done; }
routers_up() { [ "$(haproxy_up)" = "$1" ]; }
passing() { JSON=1 scripts/consul.sh check | jq "[.[] | select(.health == \"passing\" and .service == \"$1\")] | length"; }
registered() { [ "$(passing "$1")" = "$2" ]; }

# expect ROUTERS ECHO WEATHER ITINERARY: containers, Consul and HAProxy agree.
expect() {
  same 'containers of router, echo, weather, itinerary' "$1 $2 $3 $4 " "$(running)"
  until_true 30 "$1 routers UP in HAProxy" routers_up "$1"; ok "HAProxy has $1 routers UP"
  until_true 30 "$2 echo agents in Consul" registered agent-echo "$2"
  until_true 30 "$3 weather tools in Consul" registered tool-weather "$3"
  until_true 30 "$4 itinerary workers in Consul" registered worker-itinerary "$4"; ok 'Consul has them all'
}

load() { rm -f "$WORK/stop"
  .venv/bin/python tests/containers/load.py "$AT" "$WORK/stop" >"$WORK/load" & LOAD=$!; }
no_call_failed() {
  local code=0
  touch "$WORK/stop"; wait "$LOAD" || code=$?; LOAD=''
  ok "$1: $(cat "$WORK/load")"
  [ $code = 0 ] || die "$1: calls failed"
}

# --- Docker, images

scripts/tools.sh observability
scripts/tools.sh containers
[ ! -e .tools/docker/cli-plugins/docker-compose ] || export DOCKER_CONFIG=${DOCKER_CONFIG:-$PWD/.tools/docker}
if ! docker info >/dev/null 2>&1; then
  dockerd --data-root "$PWD/.tools/dockerd" >.tools/dockerd.log 2>&1 & DOCKERD=$!
  until_true 60 'start of dockerd (.tools/dockerd.log)' docker info >/dev/null 2>&1
  ok 'started dockerd'
fi
if ! timeout 120 docker compose pull -q consul haproxy redis postgres >/dev/null 2>&1; then
  eval "$(scripts/standin-images.sh observability)"
  # Of Grafana there is no stand-in: it is neither a package of Debian nor a Go module that can be installed.
  printf 'services:\n  grafana: !reset null\n' >"$WORK/without-grafana.yml"
  export COMPOSE_FILE=docker-compose.yml:$WORK/without-grafana.yml
  ok 'no registry: stand-in images for all but Grafana, which is left out'
fi
quiet scripts/image-from-host.sh
size=$(docker image inspect -f '{{.Size}}' "$MESH_IMAGE")
ok "image of $((size / 1000000)) MB"
[ "${PROFILE:-release}" != release ] || [ "$size" -le 60000000 ] || die 'the image has more than 60 MB: docs/adr/0010-one-file.md'

# --- the commands of the scaling guide

docker compose config -q
if BIND_ADDRESS=0.0.0.0 REDIS_PASSWORD='' make up >/dev/null 2>"$WORK/out"; then die 'make up published Redis without a password'; fi
has "$(cat "$WORK/out")" 'set REDIS_PASSWORD'; ok 'make up beyond this host wants REDIS_PASSWORD'
quiet make up; ok 'make up'
same "published beyond this host" "" "$(docker compose ps -q | xargs docker inspect -f \
  '{{range $port, $at := .NetworkSettings.Ports}}{{range $at}}{{.HostIp}} {{end}}{{end}}' | tr ' ' '\n' | grep -v '^127\.0\.0\.1$' | sort -u || true)"
same "fs-tool's user" 65532:65532 "$(docker inspect -f '{{.Config.User}}' "$(containers fs-tool)")"
same 'who routers believe' "$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$(containers haproxy)")" \
  "$(docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$(containers mcp-router)" | sed -n 's/^TRUSTED_PROXIES=//p')"
redis-cli -p "$(docker compose port redis 6379 | sed 's/.*://')" ping 2>&1 | grep -q NOAUTH; ok 'Redis asks for its password'
AT=$(url haproxy 50051); AT=${AT#http://}
expect 1 1 1 1

# ours; observers: the containers of the mesh's image, and of what observes it.
ours() { docker ps -q -f "ancestor=$MESH_IMAGE"; }
observers() { local service; for service in prometheus alertmanager otel-collector jaeger; do containers $service; done; }
# inspected FORMAT: of the containers on standard input, each different answer once.
inspected() { xargs docker inspect -f "$1" | sort -u; }
MAY='{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{gt .HostConfig.Memory 0}}'
same 'read-only, no capabilities, no new privileges, a memory limit' 'true [ALL] [no-new-privileges] true' "$({ ours; observers; } | inspected "$MAY")"
same "users of the mesh's programs" 65532:65532 "$(ours | inspected '{{.Config.User}}')"

# --- metrics

# value QUERY: of the first sample that Prometheus has for it.
value() { curl -fsG "$(url prometheus 9090)/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] // 0'; }
is_value() { [ "$(value "$1")" = "$2" ]; }
# Those that Prometheus cannot scrape, and why: one missed scrape on a busy machine lasts until the next, 15 s later.
down() { curl -fsS "$(url prometheus 9090)/api/v1/targets?state=active" |
  jq -r '.data.activeTargets[] | select(.health != "up") | "\(.labels.mesh_instance // .labels.job) at \(.scrapeUrl): \(.health) \(.lastError)"'; }
all_up() { is_value 'sum(up{job="mesh"})' "$(ours | wc -l)" && [ -z "$(down)" ] && is_value 'count(up == 0)' 0; }
for _ in {1..600}; do ! all_up || break; sleep 0.3; done
all_up || die "Prometheus has $(value 'sum(up{job="mesh"})') of $(ours | wc -l) programs up: $(down)"
ok 'Prometheus: every program is up, and no target is down'
ok "Prometheus scrapes $(value 'count(up)') targets: all programs, HAProxy and what observes them"

# --- jobs, from curl to their files

gateway=$(url mesh-gateway 8080)
post() { curl -fsS -X POST "$1" -H 'Content-Type: application/json' -d "$2"; }
is() { [ "$(curl -fsS "$gateway/$1/$2" | jq -r .status)" = "$3" ]; }
has "$(curl -fsS "$gateway/health")" '"ok":true'; ok "the gateway's /health"
has "$(curl -fsS "$(url job-runner 8086)/health")" '"running":true'; ok "the runner's /health"
enqueued=$(post "$gateway/enqueue" '{"goal":"How does a router drain?"}')
files=$OUT_DIR/$(jq -r .run_id <<<"$enqueued")
until_true 60 'the end of the run' is jobs "$(jq -r .job_id <<<"$enqueued")" finished
for file in notes.md mcp.md review.md blackboard.jsonl blackboard.json; do
  [ -s "$files/$file" ] || die "the run left no $file: $(ls "$files")"; done
has "$(cat "$files/notes.md")" 'guide/.*\.md:[0-9]'; ok "/enqueue left $(ls "$files" | tr '\n' ' ')"
task=$(post "$(url mesh-gateway 8001)/tasks" '{"description":"Build a user authentication system","priority":1}')
until_true 60 'the end of the task' is tasks "$(jq -r .task_id <<<"$task")" completed; ok '/tasks is completed'

services_of_jaeger() { curl -fsS "$(url jaeger 16686)/api/services" | jq -r '.data[]?' | sort | xargs; }
jaeger_has() { local name; for name in "$@"; do grep -qw -- "$name" <<<"$(services_of_jaeger)" || return 1; done; }
until_true 60 'traces of the run in Jaeger' jaeger_has agents-app agents-worker; ok "Jaeger knows $(services_of_jaeger)"

# --- scaling

load
quiet make scale-echo N=3; expect 1 3 1 1
quiet make scale-router N=3; expect 3 3 1 1
until_true 120 'Prometheus sees the new replicas' is_value 'sum(up{mesh_service=~"agent-echo|mcp-router"})' 6; ok 'Prometheus sees the new replicas'
no_call_failed 'scaling up under load'

same 'check-consul says' 'mcp-router: 3 of 3 passing' "$(make check-consul | grep '^mcp-router: ')"
has "$(scripts/manage_routers.sh status)" '3 of 3 routers are UP in HAProxy'; ok 'manage_routers.sh status'
scripts/manage_routers.sh health >/dev/null; ok 'manage_routers.sh health'
same 'manage_routers.sh consul, lines' 3 "$(scripts/manage_routers.sh consul | wc -l)"
has "$(MCP_ROUTER_ADDR=$AT make mcp-query-agents)" echo; ok 'make mcp-query-agents'
MCP_ROUTER_ADDR=$AT make mcp-query-json | jq -e . >/dev/null; ok 'make mcp-query-json is JSON'
stats=$(url haproxy 8404)
for page in / /stats /metrics; do
  same "HAProxy's $page" 200 "$(curl -s -o /dev/null -w '%{http_code}' "$stats$page")"; done
docker logs "$COMPOSE_PROJECT_NAME-echo-agent-1" >/dev/null 2>&1; ok 'docker logs names a replica'

load
quiet make restart
expect 3 3 1 1
no_call_failed 'make restart under load'

load
quiet make scale-all N=2; expect 2 2 2 2
quiet docker compose up -d --scale echo-agent=3 --scale mcp-router=2 --scale weather-tool=2 --scale itinerary-worker=2 \
  --no-recreate
expect 2 3 2 2
quiet scripts/manage_routers.sh scale 1; expect 1 3 2 2
quiet make scale-down; expect 1 1 1 1
no_call_failed 'scaling down under load'

# Started again where it was, it has another ID, and the check of the old one reaches it: one process, one instance.
ids() { JSON=1 scripts/consul.sh check | jq -r '.[] | select(.service == "agent-echo" and .health == "passing") | .id'; }
replaced() { local now; now=$(ids); [ "$now" != "$1" ] && [ "$(grep -c . <<<"$now")" = 1 ]; }
before=$(ids)
docker kill "$(containers echo-agent)" >/dev/null
docker start "$(docker compose ps -aq echo-agent)" >/dev/null
until_true 60 'an answer of the agent that was killed' answers
ok 'an only agent, killed and started again, answers'
until_true 30 'one instance for the agent that was killed and started again' replaced "$before"
ok 'it is one instance in Consul'

quiet make consul-cleanup; ok 'make consul-cleanup'
if make scale-echo >/dev/null 2>"$WORK/out"; then die 'make scale-echo without N succeeded'; fi
has "$(cat "$WORK/out")" 'make scale-echo N=3'; ok 'make scale-echo without N says how to call it'

# --- make dev

ids_of() { local service; for service in $(mesh_services) mesh-gateway job-runner workflow-runner mesh-scheduler; do containers "$service"; done | sort; }
# A first time builds what the development build shares with no other; what was built before is as new as its image.
quiet scripts/dev.sh echo-agent
touch agents/echo/src/lib.rs
before=$(ids_of) began=$SECONDS
quiet make dev
took=$((SECONDS - began))
same 'make dev replaced, containers' 1 "$(comm -13 <(echo "$before") <(ids_of) | wc -l)"
same 'make dev replaced a container of' echo-agent "$(docker inspect -f '{{index .Config.Labels "com.docker.compose.service"}}' "$(comm -13 <(echo "$before") <(ids_of))")"
[ $took -lt "${DEV_SECONDS:-15}" ] || die "make dev took $took s: DEV_SECONDS is for busy machines"
ok "make dev: $took s"
until_true 30 'an answer of the new echo agent' answers

# --- an alert

alerts() { curl -fsS "$(url alertmanager 9093)/api/v2/alerts" | jq -r '.[] | .labels.alertname + " " + (.labels.mesh_service // "")'; }
alert_is() { alerts | grep -Fqx -- "$1"; }
no_alert_is() { ! alert_is "$1"; }
docker kill "$(containers weather-tool)" >/dev/null
until_true 300 'MeshProcessDown in Alertmanager' alert_is 'MeshProcessDown tool-weather'; ok 'MeshProcessDown reaches Alertmanager'
docker start "$(docker compose ps -aq weather-tool)" >/dev/null
until_true 420 'the end of MeshProcessDown' no_alert_is 'MeshProcessDown tool-weather'; ok 'MeshProcessDown has ended'
