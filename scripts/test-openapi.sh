#!/usr/bin/env bash
# Sends the gateway what its own description allows, and what it does not: no answer may be a 500 or other than
# described. Usage: scripts/test-openapi.sh [SECONDS=60]
# Starts a Redis, a mesh of one echo agent (the fixed registry) and a gateway, all on ports of its own.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SECONDS_LIMIT=${1:-60}
VENV=${VENV_DIR:-$PWD/.venv}
BIN=${MESH_TEST_BIN:-${CARGO_TARGET_DIR:-target}/debug}
PATH=$PWD/.tools/bin:$PATH
CHECKS=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
CHECKS+=,response_headers_conformance,unsupported_method,allow_header_conformance

[ -x "$VENV/bin/schemathesis" ] || die "schemathesis is missing: run 'scripts/tools.sh openapi'"
[ -x "$BIN/mesh-gateway" ] && [ -x "$BIN/echo-agent" ] || cargo build -q -p mesh-gateway -p echo-agent

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

redis=$(free_port) echo=$(free_port) gateway=$(free_port)
redis-server --port "$redis" --bind 127.0.0.1 --save '' --dir "$work" >"$work/redis.log" & pids+=($!)
export LISTEN_ADDRESS=127.0.0.1 ADMIN_ADDRESS=127.0.0.1 DISCOVERY=fixed FIXED_INSTANCES="agent-echo=127.0.0.1:$echo"
AGENT_PORT=$echo "$BIN/echo-agent" >"$work/echo.log" 2>&1 & pids+=($!)
GATEWAY_PORT=$gateway REDIS_URL=redis://127.0.0.1:$redis REQUEST_RATE=0 STORE_TIMEOUT=5s \
  "$BIN/mesh-gateway" >"$work/gateway.log" 2>&1 & pids+=($!)

# A call that is given a millisecond ends with 504 by right; nothing else may say a 5xx, since all it needs is there.
cat >"$work/schemathesis.toml" <<'END'
[[operations]]
include-operation-id = "call"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]

# This gateway has no store of runs, whose events would never end.
[[operations]]
include-tag = ["workflows", "runs", "approvals"]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
END

# Events of a queue never end, so that each request for them would be a time-out. What it notes down stays in $work.
(cd "$work" && "$VENV/bin/schemathesis" --config-file schemathesis.toml run \
  "http://127.0.0.1:$gateway/api/v1/openapi.json" --wait-for-schema 20 \
  --exclude-operation-id queueEvents --checks "$CHECKS" --phases examples,coverage,fuzzing --max-time "$SECONDS_LIMIT" \
  --request-timeout 10 --warnings off --no-color) || { tail -5 "$work/gateway.log" >&2; exit 1; }
curl -fsS "http://127.0.0.1:$gateway/health" >/dev/null
