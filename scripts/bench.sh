#!/usr/bin/env bash
# Measures the router beside HAProxy, nginx, Envoy and a bare hyper proxy, and writes docs/benchmarks.md.
# Usage: scripts/bench.sh [ROUNDS] [SECONDS]; QUICK=1 leaves rows and proxies out.
# Three backends answer with what they get. One proxy at a time has core 0 to itself; backends, load and Consul share
# core 1. A call counts when its status is 200 and its message came back whole. Figures are medians of the rounds, and
# ratios are made within a round: absolute figures change with the machine and with what else it does.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ROUNDS=${1:-3} LENGTH=${2:-3} BASE=${BENCH_PORT:-27000}
export PATH=$PWD/.tools/bin:$PATH:/usr/sbin
BIN=${CARGO_TARGET_DIR:-$PWD/target}/release
PROXY=$BASE CONSUL=$((BASE + 10)) COLLECTOR=$((BASE + 15)) ADMIN=$((BASE + 16))
EVEN="$((BASE + 1)) $((BASE + 2)) $((BASE + 3))" MIXED="$((BASE + 4)) $((BASE + 5)) $((BASE + 6))"
# Messages in an answer; options of the load besides; the core of the proxy.
MESSAGES=1 PACE=() CORE=0
# The client that reads a tap, where there is one.
TAP=
# Every call brings a deadline, as a careful client's does.
HEADERS=(-H 'content-type: application/grpc' -H 'te: trailers' -H 'grpc-timeout: 30S')
PEERS=('HAProxy' 'Envoy' 'plain hyper' 'router')
# LABEL CONNECTIONS CALLS BYTES
ROWS='100_B,_8×16 8 16 100
100_B,_64×4 64 4 100
64_KiB,_4×4 4 4 65536'
OBSERVED_ROWS=$(head -2 <<<"$ROWS")
if [ -n "${QUICK:-}" ]; then
  PROXIES=("${PEERS[@]}")
else
  PROXIES=('none' 'HAProxy' 'nginx' 'Envoy' 'plain hyper' 'router')
  ROWS="100_B,_1×1 1 1 100
$ROWS
1_KiB,_1×1 1 1 1024
1_KiB,_64×4 64 4 1024
64_KiB,_1×1 1 1 65536"
fi
OBSERVED=('router' 'router, trace_ratio = 0.01' 'router, trace_ratio = 1' 'router, access log' 'router, a tap')
# A router that can be profiled is another build.
PROFILED=('router with pprof' 'router with pprof, a profile')
MIXED_PROXIES=('HAProxy leastconn' 'Envoy LEAST_REQUEST' 'router least_request' 'router peak_ewma')
[ "$(nproc)" -ge 2 ] || die 'two cores are needed: one for the proxy, one for the rest'

WORK=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$WORK"' EXIT
. scripts/bench-proxies.sh

# start CORE COMMAND...: in the background; sets PID.
start() { local core=$1; shift; taskset -c "$core" "$@" >>"$WORK/log" 2>&1 & PID=$!; }
stop() { kill "$1" && wait "$1" 2>/dev/null || true; [ -z "$TAP" ] || { wait "$TAP" || true; TAP=; }; }

# frame BYTES: a gRPC message.
frame() { printf '\0'; printf "$(printf '\\x%02x' $(($1 >> 24)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"
  head -c "$1" /dev/zero; }

# load CONNECTIONS CALLS BYTES OPTION...: calls $METHOD through $PORT, on core 1.
load() {
  local connections=$1 calls=$2 bytes=$3; shift 3
  taskset -c 1 h2load -t 1 -c "$connections" -m "$calls" -d "$WORK/$bytes.bin" "${HEADERS[@]}" "$@" \
    "http://127.0.0.1:$PORT/$METHOD"
}

# whole BYTES: of h2load's report, the calls that came back whole. An error of gRPC's is a 200 without a message.
whole() {
  awk -v frame=$((($1 + 5) * MESSAGES)) '/^requests:/ { done = $8 } /^status codes:/ { ok = $3 < done ? $3 : done } /^traffic:/ { gsub(/[()]/, ""); data = $(NF - 1) }
    END { whole = int(data / frame); print (whole < ok ? whole : ok) + 0 }'
}
answers() { [ "$(load 1 1 100 -n 1 2>/dev/null | whole 100)" = 1 ]; }

cpu() { cat /proc/"$1"/task/*/schedstat | awk '{ ns += $1 } END { printf "%.0f", ns }'; }
resident() { awk '/^VmRSS/ { print $2 / 1024 }' /proc/"$1"/status; }

# measure TABLE LABEL PROXY CONNECTIONS CALLS BYTES SECONDS: one line of results.
measure() {
  local table=$1 label=$2 name=$3 from=0 to=0 idle=0 busy=0 after=0 ok ended p; shift 3
  PORT=$PROXY PID=
  if [ "$name" = none ]; then PORT=${SERVERS%% *}; else serve "$name"; fi
  until_true 30 "an answer through $name" answers
  p=$PID
  [ -z "$p" ] || idle=$(resident "$p")
  load "$1" "$2" "$3" -D 1 "${PACE[@]}" >/dev/null
  [ -z "$p" ] || { from=$(cpu "$p"); { sleep "$(($4 - 1)).8"; resident "$p" >"$WORK/busy"; } & }
  rm -f "$WORK/calls"
  load "$1" "$2" "$3" -D "$4" "${PACE[@]}" --log-file="$WORK/calls" >"$WORK/report"
  if [ -n "$p" ]; then
    to=$(cpu "$p"); busy=$(cat "$WORK/busy"); sleep 1; after=$(resident "$p"); stop "$p"
  fi
  ok=$(whole "$3" <"$WORK/report"); ended=$(awk '/^requests:/ { print $8 }' "$WORK/report")
  sort -n -k3,3 "$WORK/calls" | awk -F'\t' -v OFS='|' -v key="$table|$label|$name|$ROUND" -v ok="$ok" -v all="$ended" \
    -v ns=$((to - from)) -v s="$4" -v idle="$idle" -v busy="$busy" -v after="$after" '
    { t[NR] = $3 / 1000 }
    function at(q) { i = int(q * NR); return t[i < NR ? i + 1 : NR] }
    END { print key, (ok ? ns / ok / 1000 : 0), ok / s, at(.5), at(.99), at(.999), idle, busy, after, all - ok }
  ' | tee -a "$WORK/results" | awk -F'|' '{ printf "%-22s %-22s round %d: %6.2f us, %7.0f calls/s\n", $2, $3, $4, $5, $6 }'
}

# table NAME PEER...: the medians, in the order in which they were measured, and the ratios to each peer.
table() {
  local name=$1; shift
  echo "| load | proxy | CPU µs per call |$(printf ' × %s |' "$@") calls/s | p50 ms | p99 ms | p99.9 ms | MiB idle | under load | after | failed |"
  echo "|---|---|---|$(printf -- '---|%.0s' "$@")---|---|---|---|---|---|---|---|"
  awk -F'|' -v table="$name" -v peers="$(printf '%s|' "$@")" -v count=$# '
    function median(key, column,   n, i, j, v, x) {
      n = rounds[key]
      for (i = 1; i <= n; i++) {
        x = value[key, i, column]
        for (j = i - 1; j >= 1 && v[j] > x; j--) v[j + 1] = v[j]
        v[j + 1] = x
      }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    $1 == table {
      key = $2 "|" $3
      if (!(key in all)) order[++keys] = key
      all[key]++
      cost[key, $4] = $5
      # A round in which nothing came back has no figures: it is told, and not averaged.
      if ($6 > 0) {
        r = ++rounds[key]; number[key, r] = $4
        for (c = 5; c <= 13; c++) value[key, r, c] = $c + 0
      }
    }
    END {
      for (k = 1; k <= keys; k++) {
        key = order[k]; split(key, part, "|"); split(peers, peer, "|")
        for (p = 1; p <= count; p++) for (r = 1; r <= rounds[key]; r++) {
          b = cost[part[1] "|" peer[p], number[key, r]]
          if (b > 0) value[key, ++ratios[key, p], -p] = value[key, r, 5] / b
        }
        stalled = all[key] - rounds[key]
        printf "| %s | %s%s |", part[1], part[2], stalled ? " (" stalled " rounds without an answer)" : ""
        if (!rounds[key]) {
          printf " – |"; for (p = 1; p <= count; p++) printf " – |"
          print " 0 | – | – | – | – | – | – | – |"; continue
        }
        cpu = median(key, 5)
        if (cpu) printf " %.2f |", cpu; else printf " – |"
        n = rounds[key]
        for (p = 1; p <= count; p++) {
          rounds[key] = ratios[key, p]
          if (cpu && ratios[key, p]) printf " %.2f |", median(key, -p); else printf " – |"
        }
        rounds[key] = n
        printf " %.0f | %.2f | %.2f | %.2f |", median(key, 6), median(key, 7), median(key, 8), median(key, 9)
        if (cpu) printf " %.0f | %.0f | %.0f |", median(key, 10), median(key, 11), median(key, 12); else printf " – | – | – |"
        printf " %d |\n", median(key, 13)
      }
    }' "$WORK/results"
}

# announce NAME METHOD PORT...: instances in Consul, which the router then finds by the gRPC service of the call.
announce() {
  local name=$1 service=$2 port; shift 2
  for port in "$@"; do
    curl -fsS -X PUT "http://127.0.0.1:$CONSUL/v1/agent/service/register" -d @- <<-EOF
	{"Name": "$name", "ID": "$name-$port", "Address": "127.0.0.1", "Port": $port, "Tags": ["grpc"],
	 "Meta": {"grpc_services": "$service"}}
	EOF
  done
}
consul_serves() { curl -fsS "http://127.0.0.1:$CONSUL/v1/catalog/nodes" 2>/dev/null | grep -q '"Node"'; }

scripts/tools.sh bench
cargo build -q --release --locked -p mcp-router --features service/pprof --bin mcp-router
cp "$BIN/mcp-router" "$WORK/router-with-pprof"
cargo build -q --release --locked -p mcp-router -p mesh-relay -p mesh-testkit \
  --bin mcp-router --example backend --example plain_proxy --example otlp_sink --example scrape
for bytes in 100 1024 65536; do frame $bytes >"$WORK/$bytes.bin"; done
mkdir "$WORK/nginx-body"
slow=${MIXED##* } normal=${MIXED% *}
# shellcheck disable=SC2046 # Addresses are words.
start 1 "$BIN/examples/backend" $(printf '127.0.0.1:%s ' $EVEN) $(printf '127.0.0.1:%s/5 ' $normal) "127.0.0.1:$slow/50"
start 1 consul agent -dev -node=bench -log-level=warn -bind=127.0.0.1 -client=127.0.0.1 -grpc-port=-1 \
  -http-port=$CONSUL -dns-port=$((BASE + 11)) -server-port=$((BASE + 12)) -serf-lan-port=$((BASE + 13)) \
  -serf-wan-port=$((BASE + 14))
until_true 30 'Consul' consul_serves
start 1 "$BIN/examples/otlp_sink" 127.0.0.1:$COLLECTOR
announce bench-echo bench.Echo $EVEN
announce bench-mixed bench.Mixed $MIXED
announce bench-healthy bench.Healthy $normal

busy_before=$(cut -d' ' -f1-3 /proc/loadavg)
for ROUND in $(seq "$ROUNDS"); do
  METHOD=bench.Echo/Unary SERVERS=$EVEN
  while read -r label connections calls bytes; do
    for name in "${PROXIES[@]}"; do
      measure even "${label//_/ }" "$name" "$connections" "$calls" "$bytes" "$LENGTH" </dev/null
    done
  done <<<"$ROWS"
  METHOD=bench.Echo/Stream MESSAGES=1000
  for name in "${PEERS[@]}"; do measure streams '1,000 × 100 B, 8×4' "$name" 8 4 100 "$LENGTH"; done
  METHOD=bench.Echo/Unary MESSAGES=1
  # The same rate for all, that all can hold: of each of 8 clients, calls a second.
  RATE=${RATE:-$(awk -F'|' '$1 == "even" && $2 == "100 B, 8×16" && $3 ~ /^(HAProxy|Envoy|plain hyper|router)$/ && $6 > 0 {
    if (!least || $6 < least) least = $6 } END { print int(least * .6 / 8) + 1 }' "$WORK/results")}
  PACE=(--rps="$RATE")
  for name in "${PEERS[@]}"; do measure rate "100 B, 8×16, $((RATE * 8)) calls/s" "$name" 8 16 100 "$LENGTH"; done
  PACE=()
  while read -r label connections calls bytes; do
    for name in "${OBSERVED[@]}"; do
      measure observed "${label//_/ }" "$name" "$connections" "$calls" "$bytes" "$LENGTH" </dev/null
      rm -f "$WORK/access.log"
    done
    for name in "${PROFILED[@]}"; do
      measure profiled "${label//_/ }" "$name" "$connections" "$calls" "$bytes" "$LENGTH" </dev/null
    done
  done <<<"$OBSERVED_ROWS"
  CORE=0,1
  for name in 'router' 'router, 2 threads'; do measure threads '100 B, 64×4' "$name" 64 4 100 "$LENGTH"; done
  CORE=0
  METHOD=bench.Healthy/Unary SERVERS=$normal measure mixed 'the two healthy alone' 'router' 8 4 100 "$LENGTH"
  METHOD=bench.Mixed/Unary SERVERS=$MIXED
  for name in "${MIXED_PROXIES[@]}"; do measure mixed 'one of three slow' "$name" 8 4 100 "$LENGTH"; done
done

"$BIN/examples/scrape" --seconds 20 >"$WORK/scrape"

version() { "$@" 2>&1 | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -1; }
{
  cat <<-EOF
	# Benchmarks

	Written by \`make bench${QUICK:+ QUICK=1}\`: \`scripts/bench.sh $ROUNDS $LENGTH\`, $(date -u +%F), commit $(git describe --always --dirty).
	Rounds: $ROUNDS, of $LENGTH s each, medians; ratios compare CPU per call within a round.
	[benchmarks-tried.md](benchmarks-tried.md) lists the experiments behind them.

	- Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r | cut -d- -f1).
	  Load average before $busy_before, after $(cut -d' ' -f1-3 /proc/loadavg); above 2, other programs ran on it.
	- HAProxy $(version haproxy -v), nginx $(version nginx -v), Envoy $(version sh -c "envoy --version | cut -d/ -f2"), h2load $(version h2load --version), Consul $(version consul --version), $(rustc --version | cut -d' ' -f1-2).
	- Load: unary echo over cleartext HTTP/2 to three backends, connections × calls at once on each, as fast as it goes.
	  It repeats one request byte for byte, which HPACK makes short for every proxy, and which the router caches.
	- The proxy has core 0, everything else has core 1.
	- CPU is \`/proc/PID/task/*/schedstat\` divided by the calls whose message came back whole. The last column counts the others.
	- "router" is the router as shipped, with discovery in Consul, balancing, deadlines, retries, ejection and metrics.
	- "plain hyper" is a round robin made of hyper's parts (\`crates/testkit/examples/plain_proxy.rs\`).

	$(table even HAProxy Envoy 'plain hyper')

	## Streams

	Each call is answered with 1,000 messages. The load has 8 connections × 4 calls.

	$(table streams HAProxy Envoy 'plain hyper')

	## At a fixed rate

	The rate is 60 % of what the slowest of these four reached above. It shows the latency when no proxy is at its limit.

	$(table rate HAProxy Envoy 'plain hyper')

	## What observability costs

	Metrics are always on. Traces go to a collector on core 1 that takes everything and keeps nothing. The access log is a
	file, a line for each call. A tap shows 100 calls a second to a client on core 1.

	$(table observed router)

	Profiles need a router that is built with \`PPROF=1\`. One CPU profile is taken all the time.

	$(table profiled 'router with pprof')

	A scrape of a router in a mesh of $(cat "$WORK/scrape")

	## Two threads

	The proxy may use both cores, which it shares with the load and the backends.

	$(table threads router)

	## A mixed cluster

	Two instances answer after 5 ms and one after 50 ms. The load has 8 connections × 4 calls.

	$(table mixed 'HAProxy leastconn' 'Envoy LEAST_REQUEST' 'router least_request')
	EOF
} >"$WORK/benchmarks.md"
cp "$WORK/benchmarks.md" "${OUT:-docs/benchmarks.md}"
cat "$WORK/benchmarks.md"
