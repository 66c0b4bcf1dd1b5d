#!/usr/bin/env bash
# Measures MCP beside Envoy, FastMCP's proxy and ContextForge, and writes docs/benchmarks-mcp.md.
# Usage: scripts/bench-mcp.sh [calls|proxies|lists|report]...   (all of them, in this order)
#   calls    a unary gRPC method called as a tool: ours in both eras, ours as POST /api/v1/call, Envoy; one echo agent behind all
#   proxies  an MCP server asked directly, through our mount and gateway, and through the peers that PEERS names
#   lists    1,000 tools of 200 services: a page of them, its latency beside calls, memory of tools and of listen streams
# Whoever is measured has a tree of processes; their CPU is /proc's, divided by the calls of wrk. Ratios are within a round.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PWD/.tools/bin:$PATH
ROUNDS=${ROUNDS:-3} SECONDS_EACH=${SECONDS_EACH:-10} PEERS=${PEERS-envoy fastmcp contextforge}
TARGET=${CARGO_TARGET_DIR:-$PWD/target} BIN=${BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release}
KEPT=$TARGET/bench-mcp MODERN=2026-07-28 LEGACY=2025-11-25
WORK=$(mktemp -d) RUNNING=()
end() { local it; for it in "${RUNNING[@]}"; do kill "$it" 2>/dev/null || true; done; wait; rm -rf "$WORK"; }
trap end EXIT
mkdir -p "$KEPT"

# run NAME COMMAND...: starts a program whose output goes to a log; its id is $STARTED.
run() { local name=$1; shift; "$@" >"$WORK/$name.log" 2>&1 & STARTED=$!; RUNNING+=("$STARTED"); }
# stop ID
stop() { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }
served() { curl -fs -o /dev/null "$1"; }
measure() { python3 scripts/bench-mcp/measure.py "$@"; }

# program NAME VARIABLE=VALUE...: one of ours, from the environment alone.
program() {
  local name=$1; shift
  run "$name" env -i PATH="$PATH" HOME="$WORK" LISTEN_ADDRESS=127.0.0.1 ADMIN_ADDRESS=127.0.0.1 METRICS_PORT=0 \
    SERVICE_HOST=127.0.0.1 CONSUL_HTTP_ADDR="$CONSUL" LOG_LEVEL=warn DRAIN_DELAY=0s "$@" "$BIN/$name"
}

consul_started() {
  local http; http=$(free_port)
  run consul consul agent -dev -bind=127.0.0.1 -client=127.0.0.1 -log-level=warn -grpc-port=-1 -http-port="$http" \
    -dns-port="$(free_port)" -server-port="$(free_port)" -serf-lan-port="$(free_port)" -serf-wan-port="$(free_port)"
  CONSUL=127.0.0.1:$http
  until_true 20 Consul served "http://$CONSUL/v1/catalog/node/$(uname -n)"
}

gateway_started() { # VARIABLE=VALUE...: its address is $GATEWAY, its process $GATEWAY_ID
  local port; port=$(free_port)
  program mesh-gateway GATEWAY_PORT="$port" MCP_PORT="$(free_port)" TASKS_PORT="$(free_port)" JOBS_PATH="$WORK/jobs" \
    REQUEST_RATE=0 "$@"
  GATEWAY=127.0.0.1:$port GATEWAY_ID=$STARTED
  until_true 20 'the gateway' served "http://$GATEWAY/health"
}

# session URL: begins one, and says its id; nothing where a server has none.
session() {
  curl -s -D - -o /dev/null "$1" -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' -d \
    "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"$LEGACY\",\"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}" |
    tr -d '\r' | awk 'tolower($1) == "mcp-session-id:" { print $2 }'
}

# body METHOD PARAMS VERSION: a request, with what the modern era asks for.
body() {
  jq -cn --arg method "$1" --argjson params "$2" --arg version "$3" '
    {jsonrpc: "2.0", id: 1, method: $method, params: ($params + if $version < "2026" then {} else
      {_meta: {"io.modelcontextprotocol/protocolVersion": $version, "io.modelcontextprotocol/clientCapabilities": {}}} end)}'
}

# load KEPT-IN WHO IDS URL VERSION METHOD TOOL PARAMS EXPECTED [CONNECTIONS]: wrk for a while, and what it cost those processes.
load() {
  local file=$1 who=$2 ids=$3 url=$4 version=$5 method=$6 tool=$7 params=$8 expected=$9 connections=${10:-8} id before=0 after=0 out
  local -x BODY EXPECTED=$expected VERSION=$version METHOD=$method TOOL=$tool SESSION=
  [ -n "$tool" ] || unset TOOL
  if [ -z "$method" ]; then BODY=$params; else BODY=$(body "$method" "$params" "$version"); fi
  if [ -n "$method" ] && [ "$version" = $LEGACY ]; then SESSION=$(session "$url"); fi
  [ -n "$SESSION" ] || unset SESSION
  [ -n "$version" ] || unset VERSION
  wrk -t1 -c"$connections" -d1 -s scripts/bench-mcp/call.lua "$url" >/dev/null
  for id in $ids; do before=$((before + $(measure cpu "$id"))); done
  out=$(wrk -t1 -c"$connections" -d"$SECONDS_EACH" --latency -s scripts/bench-mcp/call.lua "$url")
  for id in $ids; do after=$((after + $(measure cpu "$id"))); done
  if grep -q 'BAD\|Non-2xx' <<<"$out"; then grep 'BAD\|Non-2xx' <<<"$out" | head -3 >&2; die "$who does not answer as it should"; fi
  awk -v who="$who" -v round="$round" -v cpu=$((after - before)) '
    function ms(text) { return text ~ /us$/ ? text / 1000 : text ~ /ms$/ ? text + 0 : text * 1000 }
    $1 == "50%" { p50 = ms($2) } $1 == "99%" { p99 = ms($2) } /requests in/ { calls = $1 } /^Requests\/sec/ { rate = $2 }
    END { printf "{\"who\":\"%s\",\"round\":%d,\"us\":%.2f,\"rate\":%.1f,\"p50\":%.3f,\"p99\":%.3f}\n", who, round, cpu / 1000 / calls, rate, p50, p99 }' \
    <<<"$out" >>"$KEPT/$file"
  say "$(tail -1 "$KEPT/$file")"
}

envoy_started() { # SERVER ECHO: ports are $BRIDGE and $ROUTER, its process $ENVOY_ID
  local admin; admin=$(free_port) BRIDGE=$(free_port) ROUTER=$(free_port)
  grpcurl -plaintext -protoset-out "$WORK/agentplatform.pb" "127.0.0.1:$2" describe agentplatform.AgentService >/dev/null
  sed "s|@ADMIN@|$admin|; s|@BRIDGE@|$BRIDGE|; s|@ROUTER@|$ROUTER|; s|@DESCRIPTORS@|$WORK/agentplatform.pb|; s|@SERVER@|$1|; s|@ECHO@|$2|" \
    scripts/bench-mcp/envoy.yaml >"$WORK/envoy.yaml"
  run envoy envoy -c "$WORK/envoy.yaml" --concurrency 1 --log-level error
  ENVOY_ID=$STARTED
  until_true 20 Envoy served "http://127.0.0.1:$admin/ready"
}

ready() { # URL TOOL: whether it is listed
  curl -s "$1" -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' -H "mcp-protocol-version: $MODERN" \
    -H 'mcp-method: tools/list' -d "$(body tools/list '{}' $MODERN)" | grep -q "\"$2\""
}

calls() {
  local echo arguments rest; : >"$KEPT/calls"
  consul_started
  echo=$(free_port); program echo-agent AGENT_PORT="$echo"
  gateway_started
  until_true 20 'the echo agent' ready "http://$GATEWAY/mcp" echo-agent
  arguments='{"name":"echo-agent","arguments":{"input":"simple text"}}'
  rest='{"agent_id":"echo-agent","input":"simple text"}'
  [[ " $PEERS " != *' envoy '* ]] || envoy_started "$echo" "$echo"
  for ((round = 1; round <= ROUNDS; round++)); do
    load calls 'mesh, legacy' "$GATEWAY_ID" "http://$GATEWAY/mcp" $LEGACY tools/call echo-agent "$arguments" 'simple text'
    load calls 'mesh, modern' "$GATEWAY_ID" "http://$GATEWAY/mcp" $MODERN tools/call echo-agent "$arguments" 'simple text'
    load calls 'mesh, POST /api/v1/call' "$GATEWAY_ID" "http://$GATEWAY/api/v1/call/agent-echo/agentplatform.AgentService/ExecuteTask" '' '' '' "$rest" 'simple text'
    [[ " $PEERS " != *' envoy '* ]] ||
      load calls 'Envoy' "$ENVOY_ID" "http://127.0.0.1:$BRIDGE/mcp" $LEGACY tools/call echo \
        '{"name":"echo","arguments":{"agent_id":"echo-agent","input":"simple text"}}' 'simple text'
  done
  ended
}

# Everything that a stage has started.
ended() { local it; for it in "${RUNNING[@]}"; do stop "$it"; done; RUNNING=(); }

contextforge_started() { # SERVER: its address is $CONTEXTFORGE, its token in TOKEN
  local port; port=$(free_port)
  export JWT_SECRET_KEY=a-secret-of-the-bench-and-nobody-else-000 AUTH_REQUIRED=true MCP_CLIENT_AUTH_ENABLED=true PLATFORM_ADMIN_EMAIL=admin@example.com \
    PLATFORM_ADMIN_PASSWORD=a-Password-of-1-bench DATABASE_URL="sqlite:///$WORK/contextforge.db" LOG_LEVEL=ERROR HOST=127.0.0.1 PORT="$port" \
    PYTHONPATH="$FORGE" RATE_LIMITING_ENABLED=false MCPGATEWAY_UI_ENABLED=false SSRF_ALLOW_LOCALHOST=true SSRF_ALLOW_PRIVATE_NETWORKS=true
  ( cd "$WORK" && exec "$OLDPWD/.venv/bin/python" -m uvicorn mcpgateway.main:app --host 127.0.0.1 --port "$port" --log-level error ) >"$WORK/contextforge.log" 2>&1 &
  FORGE_ID=$!; RUNNING+=("$FORGE_ID")
  TOKEN=$(cd "$WORK" && "$OLDPWD/.venv/bin/python" -m mcpgateway.utils.create_jwt_token --username admin@example.com --exp 10080 --secret "$JWT_SECRET_KEY")
  export TOKEN
  unset PYTHONPATH
  until_true 90 ContextForge served "http://127.0.0.1:$port/health"
  curl -fsS "http://127.0.0.1:$port/gateways" -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
    -d "{\"name\":\"one\",\"url\":\"$1\",\"transport\":\"STREAMABLEHTTP\"}" >/dev/null
  CONTEXTFORGE=http://127.0.0.1:$port/mcp
}

proxies() {
  local server mount; : >"$KEPT/proxies"
  consul_started
  run fixture "$BIN/examples/mcp_fixture"; local fixture=$STARTED
  until_true 20 'the fixture' grep -q listening "$WORK/fixture.log"
  server=$(awk '{ print $2 }' "$WORK/fixture.log")
  run mount env -i PATH="$PATH" HOME="$WORK" LISTEN_ADDRESS=127.0.0.1 ADMIN_ADDRESS=127.0.0.1 METRICS_PORT=0 SERVICE_HOST=127.0.0.1 \
    CONSUL_HTTP_ADDR="$CONSUL" LOG_LEVEL=warn TOOL_PORT="$(free_port)" "$BIN/mcp-mount" --name fixture --url "http://127.0.0.1:$server/mcp"
  mount=$STARTED
  gateway_started
  until_true 30 'the mount' ready "http://$GATEWAY/mcp/tool-fixture" test_simple_text
  if [[ " $PEERS " == *' envoy '* ]]; then
    local echo; echo=$(free_port); program echo-agent AGENT_PORT="$echo"
    until_true 20 'the echo agent' ready "http://$GATEWAY/mcp" echo-agent
    envoy_started "$server" "$echo"
  fi
  if [[ " $PEERS " == *' fastmcp '* ]]; then
    local fastmcp; fastmcp=$(free_port)
    run fastmcp env PYTHONPATH="$FASTMCP" .venv/bin/python scripts/bench-mcp/fastmcp_proxy.py "http://127.0.0.1:$server/mcp" "$fastmcp"
    FASTMCP_ID=$STARTED
    until_true 30 'FastMCP' curl -s -o /dev/null "http://127.0.0.1:$fastmcp/mcp"
  fi
  [[ " $PEERS " != *' contextforge '* ]] || contextforge_started "http://127.0.0.1:$server/mcp"
  local text='"name":"test_simple_text","arguments":{}' said='simple text'
  for ((round = 1; round <= ROUNDS; round++)); do
    load proxies 'the SDK, asked directly' "$fixture" "http://127.0.0.1:$server/mcp" $MODERN tools/call test_simple_text "{$text}" "$said"
    load proxies 'mesh: mount and gateway' "$mount $GATEWAY_ID" "http://$GATEWAY/mcp/tool-fixture" $MODERN tools/call test_simple_text "{$text}" "$said"
    load proxies 'mesh, legacy' "$mount $GATEWAY_ID" "http://$GATEWAY/mcp/tool-fixture" $LEGACY tools/call test_simple_text "{$text}" "$said"
    [[ " $PEERS " != *' envoy '* ]] ||
      load proxies "Envoy's mcp_router" "$ENVOY_ID" "http://127.0.0.1:$ROUTER/mcp" $LEGACY tools/call test_simple_text "{$text}" "$said"
    [[ " $PEERS " != *' fastmcp '* ]] ||
      load proxies "FastMCP's proxy" "$FASTMCP_ID" "http://127.0.0.1:$fastmcp/mcp" $LEGACY tools/call test_simple_text "{$text}" "$said"
    [[ " $PEERS " != *' contextforge '* ]] ||
      load proxies 'ContextForge' "$FORGE_ID" "$CONTEXTFORGE" $LEGACY tools/call one-test-simple-text '{"name":"one-test-simple-text","arguments":{}}' "$said"
  done
  ended
}

# memory WHAT BYTES
memory() { say "$(jq -cn --arg what "$1" --argjson bytes "$2" '{$what, $bytes}')" | tee -a "$KEPT/memory"; }

lists() {
  local before after page; : >"$KEPT/lists" ; : >"$KEPT/memory"
  consul_started
  program echo-agent AGENT_PORT="$(free_port)"
  gateway_started MCP_SESSION_IDLE=30s MCP_MAX_SESSIONS=100000
  until_true 20 'the echo agent' ready "http://$GATEWAY/mcp" echo-agent
  sleep 2; before=$(measure memory "$GATEWAY_ID")
  run many .venv/bin/python scripts/bench-mcp/many.py "$CONSUL" 200
  until_true 60 'the services' grep -q listening "$WORK/many.log"
  until_true 60 'their tools' ready "http://$GATEWAY/mcp?" shop-000__Shop_Place
  sleep 5; after=$(measure memory "$GATEWAY_ID")
  memory 'a tool' $(((after - before) / 1000))
  page=$(curl -s "http://$GATEWAY/mcp" -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
    -H "mcp-protocol-version: $MODERN" -H 'mcp-method: tools/list' -d "$(body tools/list '{}' $MODERN)")
  jq -c .result.tools <<<"$page" >"$WORK/page.json"
  run fixture "$BIN/examples/mcp_fixture" --tools "$WORK/page.json"; local fixture=$STARTED
  until_true 20 'the fixture' grep -q listening "$WORK/fixture.log"
  local server; server=$(awk '{ print $2 }' "$WORK/fixture.log")
  for ((round = 1; round <= ROUNDS; round++)); do
    load lists 'mesh, a page of 200' "$GATEWAY_ID" "http://$GATEWAY/mcp" $MODERN tools/list '' '{}' shop-000
    load lists 'the SDK, the same page' "$fixture" "http://127.0.0.1:$server/mcp" $MODERN tools/list '' '{}' shop-000
    # 1,000 calls a second beside one client that lists.
    body tools/call '{"name":"echo-agent","arguments":{"input":"simple text"}}' $MODERN | tr -d '\n' >"$WORK/call.json"
    h2load --h1 -c 10 -t 1 --rps 100 -D $((SECONDS_EACH + 2)) -d "$WORK/call.json" -H 'content-type: application/json' \
      -H 'accept: application/json, text/event-stream' -H "mcp-protocol-version: $MODERN" -H 'mcp-method: tools/call' -H 'mcp-name: echo-agent' \
      "http://$GATEWAY/mcp" >"$WORK/h2load.log" 2>&1 & local beside=$!
    load lists 'mesh, beside 1,000 calls/s' "$GATEWAY_ID" "http://$GATEWAY/mcp" $MODERN tools/list '' '{}' shop-000 1
    wait $beside
  done
  sleep 2; before=$(measure memory "$GATEWAY_ID")
  run streams python3 scripts/bench-mcp/measure.py listen "http://$GATEWAY/mcp" 1000
  until_true 60 'the streams' grep -q open "$WORK/streams.log"
  sleep 2; after=$(measure memory "$GATEWAY_ID")
  memory 'an open listen stream' $(((after - before) / 1000))
  stop "$STARTED"
  sleep 2; before=$(measure memory "$GATEWAY_ID")
  measure sessions "http://$GATEWAY/mcp" 100000 >/dev/null
  after=$(measure memory "$GATEWAY_ID")
  memory '100,000 sessions of the earlier era, opened one after the other' $((after - before))
  # Their idle time, and as long again for the sweeps.
  sleep 60; after=$(measure memory "$GATEWAY_ID")
  memory 'the same after their idle time' $((after - before))
  ended
}

# table STAGE PEER: medians of the rounds; the ratio to the peer is made within each round.
table() {
  [ -s "$KEPT/$1" ] || { echo 'Not measured in this run.'; return; }
  echo "| who | CPU µs | × $2 | a second | p50 ms | p99 ms |"
  echo '|---|---|---|---|---|---|'
  jq -rs --arg peer "$2" 'def median: sort | .[(length - 1) / 2 | floor];
    def short: if . >= 100 then round elif . >= 1 then . * 10 | round / 10 else . * 1000 | round / 1000 end;
    (map(select(.who == $peer)) | map({key: (.round | tostring), value: .us}) | from_entries) as $beside
    | group_by(.who) | map({ who: .[0].who, us: map(.us) | median, rate: map(.rate) | median, p50: map(.p50) | median, p99: map(.p99) | median,
        ratio: ([.[] | select($beside[.round | tostring]) | .us / $beside[.round | tostring]] | if length > 0 then median else null end) })
    | sort_by(.us)[] | "| \(.who) | \(.us | short) | \(if .ratio then .ratio | short else "–" end) | \(.rate | round) | \(.p50 | short) | \(.p99 | short) |"' "$KEPT/$1"
}

report() {
  cat <<-EOF
	# Benchmarks of MCP

	Written by \`make bench-mcp\` (\`scripts/bench-mcp.sh\`), $(date -u +%F), commit $(git describe --always --dirty).
	$ROUNDS rounds of $SECONDS_EACH s, medians; ratios are within a round. CPU is that of the processes named, per request, by \`/proc\`.

	- Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r | cut -d- -f1).
	- Load: wrk, one thread, 8 connections; a sample of the answers is checked.
	- Peers: Envoy $(sed -n 's/.* ENVOY=\([0-9.]*\).*/\1/p; s/^ENVOY=\([0-9.]*\).*/\1/p' scripts/tools.sh) with one worker, FastMCP ${FASTMCP##*fastmcp-}, ContextForge ${FORGE##*contextforge-}.

	## A gRPC method called as a tool

	\`ExecuteTask\` of one echo agent. Envoy turns MCP into gRPC by \`mcp_json_rest_bridge\` and \`grpc_json_transcoder\`.

	$(table calls Envoy)

	## An MCP server behind it

	The SDK's fixture answers \`test_simple_text\`. Ours is the CPU of the mount and the gateway together.

	$(table proxies "Envoy's mcp_router")

	## Lists

	1,000 tools of 200 services; a page has 200. The SDK's stock handler serves the same page. The CPU of the line beside calls
	has the calls' in it: that line is for its latency.

	$(table lists 'the SDK, the same page')

	| memory of | bytes |
	|---|---|
	$([ ! -s "$KEPT/memory" ] || jq -r '"| \(.what) | \(.bytes) |"' "$KEPT/memory")
	EOF
}

[ $# -gt 0 ] || set -- calls proxies lists report
FASTMCP=$(echo "$PWD"/.tools/pkg/fastmcp-*) FORGE=$(echo "$PWD"/.tools/pkg/contextforge-*)
[ "$*" = report ] || [ -n "${BUILT:-}" ] ||
  cargo build -q --release --locked -p mesh-gateway -p echo-agent -p mcp-mount -p mesh-testkit --bins --example mcp_fixture
for stage in "$@"; do
  case $stage in
    calls|proxies|lists) $stage ;;
    report) report >"$WORK/report"; cp "$WORK/report" "${OUT:-docs/benchmarks-mcp.md}"; cat "$WORK/report" ;;
    *) die "$stage is no stage: give calls, proxies, lists or report" ;;
  esac
done
