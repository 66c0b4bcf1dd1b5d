#!/usr/bin/env bash
# Measures the job queue beside BullMQ, asynq and RQ on one Redis, and writes docs/benchmarks-jobs.md.
# Usage: scripts/bench-jobs.sh [none|everysec|always|latency|growth|report]...   (all of them, in this order)
# Each queue gets a Redis of its own, started empty on a free port and pinned to core 0; whoever enqueues and works
# is pinned to core 1. Jobs are empty, and count from enqueue to done. Every job has a key (BullMQ's jobId, asynq's
# TaskID, RQ's job_id); `mesh, no keys` is ours for jobs that bring none. A stage takes less than two minutes and keeps
# what it found in target/bench-jobs until the report.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PWD/.tools/bin:$PATH
ROUNDS=${ROUNDS:-3} KEPT=${CARGO_TARGET_DIR:-$PWD/target}/bench-jobs
BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/examples/bench
[ "$(nproc)" -ge 2 ] || die 'two cores are needed: one for Redis, one for the rest'
WORK=$(mktemp -d) REDIS=
trap '[ -z "$REDIS" ] || kill $REDIS; wait; rm -rf "$WORK"' EXIT
mkdir -p "$KEPT"

# on PERSISTENCE COMMAND...: runs the command beside a new Redis at $PORT. No queue's log is rewritten in mid-run.
on() {
  local how=$1 options=() code=0; shift
  [ "$how" = none ] || options=(--appendonly yes --appendfsync "$how" --auto-aof-rewrite-percentage 0)
  PORT=$(free_port)
  mkdir "$WORK/redis"
  taskset -c 0 redis-server --port "$PORT" --bind 127.0.0.1 --save '' --dir "$WORK/redis" "${options[@]}" >"$WORK/log" &
  REDIS=$!
  until_true 10 Redis redis-cli -p "$PORT" ping >/dev/null 2>&1
  "$@" || code=$?
  kill $REDIS; wait $REDIS || true; REDIS=
  rm -rf "$WORK/redis"
  return $code
}

# run QUEUE WHAT NUMBER...: one line of JSON.
run() {
  local queue=$1; shift
  case $queue in
    mesh) set -- "$BIN" "redis://127.0.0.1:$PORT" "$@" keys ;;
    'mesh, no keys') set -- "$BIN" "redis://127.0.0.1:$PORT" "$@" ;;
    bullmq) set -- env NODE_PATH="$BULLMQ/node_modules" node scripts/bench-jobs/bullmq.cjs "$PORT" "$@" ;;
    asynq) set -- asynq-bench "$PORT" "$@" ;;
    rq) set -- env PYTHONPATH="$RQ" python3 scripts/bench-jobs/rq_bench.py "$PORT" "$@" ;;
  esac
  taskset -c 1 "$@" 2>>"$WORK/log" || { tail -20 "$WORK/log" >&2; die "$queue failed"; }
}

# rate_and_cost QUEUE JOBS: a rate, and what Redis did for it: CPU, commands and bytes of its log, a job.
rate_and_cost() {
  local line; line=$(run "$1" rate "$2")
  # Ours takes its keys away afterwards, at a cost that is none of the jobs'.
  redis-cli -p "$PORT" info all | tr -d '\r' | awk -F: -v jobs="$2" -v line="$line" '
    /^used_cpu_(sys|user):/ { cpu += $2 } /^total_commands_processed:/ { sent = $2 } /^aof_current_size:/ { aof = $2 }
    END { sub(/}$/, "", line)
      printf "%s,\"redis_us\":%.1f,\"commands\":%.2f,\"log_bytes\":%.0f}\n", line, cpu * 1e6 / jobs, sent / jobs, aof / jobs }'
}

keep() { jq -c --arg queue "$2" '. + {queue: $queue}' >>"$KEPT/$1"; }

rates() { # PERSISTENCE
  local round queue jobs; : >"$KEPT/$1"
  for round in $(seq "$ROUNDS"); do
    while IFS='|' read -r queue jobs; do
      on "$1" rate_and_cost "$queue" "$jobs" | keep "$1" "$queue"
      say "$1, round $round, $(tail -1 "$KEPT/$1" | jq -r '"\(.queue): \(.jobs_per_second | floor) jobs/s"')"
    done <<-EOF
	mesh|200000
	mesh, no keys|200000
	bullmq|60000
	asynq|30000
	rq|500
	EOF
  done
}

latencies() {
  local queue; : >"$KEPT/latency"
  for queue in mesh bullmq asynq; do
    on none run "$queue" latency 1000 10 | keep latency "$queue"
    say "$queue: $(tail -1 "$KEPT/latency")"
  done
}

growths() {
  local queue; : >"$KEPT/growth"
  for queue in mesh bullmq; do
    on none run "$queue" growth 50000 0 10000 100000 1000000 | jq -c '.[]' | keep growth "$queue"
    say "$queue: $(tail -1 "$KEPT/growth")"
  done
}

# table PERSISTENCE: medians of the rounds; the ratio is made within each round.
table() {
  [ -s "$KEPT/$1" ] || { echo 'Not measured in this run.'; return; }
  echo '| queue | jobs/s | × bullmq | Redis µs a job | commands sent and run a job | bytes of its log a job |'
  echo '|---|---|---|---|---|---|'
  jq -rs 'def median: sort | .[(length - 1) / 2 | floor];
    map(select(.queue == "bullmq").jobs_per_second) as $peer
    | group_by(.queue) | map(. as $rounds | {
        queue: .[0].queue, rate: map(.jobs_per_second) | median,
        ratio: [range(length) | $rounds[.].jobs_per_second / $peer[.]] | median,
        us: map(.redis_us) | median, commands: map(.commands) | median, log: map(.log_bytes) | median })
    | sort_by(-.rate)[]
    | "| \(.queue) | \(.rate | round) | \(.ratio * 100 | round / 100) | \(.us * 10 | round / 10) | \(.commands * 100 | round / 100) | \(if .log > 0 then .log else "–" end) |"' "$KEPT/$1"
}

report() {
  cat <<-EOF
	# Benchmarks of the job queue

	Written by \`make bench-jobs\` (\`scripts/bench-jobs.sh\`), $(date -u +%F), commit $(git describe --always --dirty).
	$ROUNDS rounds, medians; ratios are within a round.

	- Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r | cut -d- -f1).
	- Redis $(redis-server --version | grep -oE 'v=[0-9.]+' | cut -c3-). Each line has a new Redis, alone on core 0. The programs that enqueue and work have core 1.
	- Peers: BullMQ ${BULLMQ##*-} (Node
	  $(node --version | cut -c2-), \`addBulk\`, concurrency 100), asynq $(readlink .tools/bin/asynq-bench | grep -oE 'bench-[0-9.]+' | cut -c7-) (32 goroutines enqueue, concurrency 100), RQ ${RQ##*-} (\`enqueue_many\`, 2
	  workers), ours (\`crates/jobs/examples/bench.rs\`: 2 producers of batches of 1,000, 2 workers of concurrency 512).
	- Jobs are empty. The time is from the first enqueue until the store has the last result. Ours have everything on: leases, fencing by
	  nonce, results, events, and an idempotency key per job, kept for 24 h; "no keys" are jobs without one.
	  The peers have their defaults, keep results, and the producer chooses IDs.

	## Without persistence

	$(table none)

	## \`appendfsync everysec\`

	No log was rewritten during a run, for any queue.

	$(table everysec)

	## \`appendfsync always\`

	$(table always)

	## Latency at 1,000 jobs a second

	The time is from the call that enqueues a job until its handler has it: single enqueues, no persistence, 10 s. RQ does not reach
	that rate.

	| queue | p50 ms | p99 ms | longest ms |
	|---|---|---|---|
	$([ ! -s "$KEPT/latency" ] || jq -r '"| \(.queue) | \(.p50_ms * 100 | round / 100) | \(.p99_ms * 100 | round / 100) | \(.max_ms * 10 | round / 10) |"' "$KEPT/latency")

	## As the queue grows

	While jobs wait, 50,000 more are enqueued and as many are done, without persistence and with keys.

	| queue | waiting | enqueue alone, jobs/s | enqueue to done, jobs/s | Redis MB | bytes a waiting job |
	|---|---|---|---|---|---|
	$([ ! -s "$KEPT/growth" ] || jq -r '"| \(.queue) | \(.waiting) | \(if .waiting > 0 then .enqueued_per_second | round else "–" end) | \(.rate.jobs_per_second | round) | \(.memory / 1e6 | round) | \(if .waiting > 0 then .memory / .waiting | round else "–" end) |"' "$KEPT/growth")
	EOF
}

[ $# -gt 0 ] || set -- none everysec always latency growth report
scripts/tools.sh bench-jobs
# The peers are looked for once they are installed.
BULLMQ=$(echo .tools/pkg/bullmq-*) RQ=$(echo .tools/pkg/rq-*)
[ "$*" = report ] || cargo build -q --release --locked -p mesh-jobs --example bench
for stage in "$@"; do
  case $stage in
    none|everysec|always) rates "$stage" ;;
    latency) latencies ;;
    growth) growths ;;
    report) report >"$WORK/report"; cp "$WORK/report" "${OUT:-docs/benchmarks-jobs.md}"; cat "$WORK/report" ;;
    *) die "$stage is no stage: give none, everysec, always, latency, growth or report" ;;
  esac
done
