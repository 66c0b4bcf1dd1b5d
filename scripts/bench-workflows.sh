#!/usr/bin/env bash
# Measures workflows beside DBOS, Temporal and Restate on one PostgreSQL, and writes docs/benchmarks-workflows.md.
# Usage: scripts/bench-workflows.sh [rates|sqlite|hops|waiting|fair|each|idle|report]...   (all of them, in this order)
# ROUNDS rounds (3), in each the peers and ours in turn; ratios are made within a round. PEERS="dbos temporal restate"
# says beside whom. Each line has a new database in one cluster, with fsync and synchronous_commit on. Ours has a new
# Redis too, which appends every second. A stage keeps what it found in target/bench-workflows until the report.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export PATH=$PWD/.tools/bin:$PATH
ROUNDS=${ROUNDS:-3} PEERS=${PEERS-dbos} KEPT=${CARGO_TARGET_DIR:-$PWD/target}/bench-workflows
BIN=${BIN:-${CARGO_TARGET_DIR:-$PWD/target}/release/examples/bench}
RUNS=${RUNS:-4000} SOLO=${SOLO:-500}
WORK=$(mktemp -d) PIDS=() PG='' PGPORT=''
chmod 711 "$WORK"
stop() { local pid; for pid in "$@"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done; }
trap 'stop "${PIDS[@]}"; [ -z "$PG" ] || { kill -INT $PG; wait $PG || true; }; rm -rf "$WORK"' EXIT
mkdir -p "$KEPT"

# initdb and postgres refuse root.
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi; }

start_postgres() {
  local bin; bin=$(dirname "$(readlink -f .tools/bin/postgres)")
  mkdir "$WORK/pg"; [ "$(id -u)" != 0 ] || chown postgres "$WORK/pg"
  as_postgres "$bin/initdb" -D "$WORK/pg" -U bench --auth=trust -E UTF8 --locale=C >"$WORK/initdb.log"
  PGPORT=$(free_port)
  as_postgres "$bin/postgres" -D "$WORK/pg" -p "$PGPORT" -k "$WORK/pg" -c listen_addresses=127.0.0.1 \
    -c max_connections=300 -c fsync=on -c synchronous_commit=on >"$WORK/pg.log" 2>&1 &
  PG=$!
  until_true 20 PostgreSQL pg_isready -q -h 127.0.0.1 -p "$PGPORT"
  # What every line waits for, in microseconds.
  "$bin/pg_test_fsync" -s 1 -f "$KEPT/fsync.tmp" 2>/dev/null | awk '/fdatasync/ && /usecs/ { print $(NF - 1); exit }' >"$KEPT/fsync" || true
  rm -f "$KEPT/fsync.tmp"
}

sql() { psql -qAt -h 127.0.0.1 -p "$PGPORT" -U bench -d postgres -c "$1"; }
database() { sql "DROP DATABASE IF EXISTS $1 WITH (FORCE)"; sql "CREATE DATABASE $1"; sql CHECKPOINT; }
url() { say "postgres://bench@127.0.0.1:$PGPORT/$1?sslmode=disable"; }

# measured PID... -- COMMAND...: a load generator's line of JSON, with the CPU of the processes and its own.
measured() { python3 scripts/bench-workflows/measure.py "$@" 2>>"$WORK/log" || { tail -20 "$WORK/log" >&2; die 'a load generator failed'; }; }

# ours WHAT NUMBER...: on PostgreSQL, beside a Redis of its own.
ours() {
  local port redis; port=$(free_port)
  database mesh
  mkdir "$WORK/redis"
  redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$WORK/redis" --appendonly yes --appendfsync everysec >"$WORK/redis.log" &
  redis=$!; PIDS=("$redis")
  until_true 10 Redis redis-cli -p "$port" ping >/dev/null 2>&1
  measured $PG "$redis" -- "$BIN" "$(url mesh)" "redis://127.0.0.1:$port" "$@"
  stop "$redis"; PIDS=(); rm -rf "$WORK/redis"
}

# ours_sqlite WHAT NUMBER...: in two files, every commit of both synced.
ours_sqlite() {
  rm -rf "$WORK/lite"; mkdir "$WORK/lite"
  measured -- "$BIN" "$WORK/lite/runs" "$WORK/lite/jobs" "$@"
}

dbos() { database dbos; measured $PG -- dbos-bench "$(url dbos)" "$@"; }
dbos_sqlite() { rm -f "$WORK"/dbos.db*; measured -- dbos-bench "sqlite:$WORK/dbos.db" "$@"; }

restate() {
  local ingress admin service server served
  ingress=$(free_port); admin=$(free_port); service=$(free_port)
  rm -rf "$WORK/restate"
  export NODE_PATH=$RESTATE/node_modules
  RESTATE_INGRESS__BIND_ADDRESS=127.0.0.1:$ingress RESTATE_ADMIN__BIND_ADDRESS=127.0.0.1:$admin RESTATE_BASE_DIR=$WORK/restate \
    "$RESTATE/node_modules/.bin/restate-server" >"$WORK/restate.log" 2>&1 &
  server=$!
  cp scripts/bench-workflows/restate-*.mjs "$RESTATE/"
  node --import "$RESTATE/restate-polyfill.mjs" "$RESTATE/restate-service.mjs" "$service" >"$WORK/service.log" 2>&1 &
  served=$!; PIDS=("$server" "$served")
  until_true 60 Restate curl -fsS -XPOST "http://127.0.0.1:$admin/deployments" -H 'content-type: application/json' \
    -d "{\"uri\":\"http://127.0.0.1:$service\"}" -o "$WORK/deployed" 2>/dev/null
  measured "$server" "$served" -- node "$RESTATE/restate-load.mjs" "$ingress" "$@"
  stop "$served" "$server"; PIDS=()
}

temporal() {
  local port server name; port=$(free_port)
  for name in temporal visibility; do
    database "$name"
    local tool=(temporal-sql-tool --plugin postgres12 --ep 127.0.0.1 -p "$PGPORT" -u bench --db "$name")
    "${tool[@]}" setup-schema -v 0.0 >>"$WORK/log" 2>&1
    "${tool[@]}" update-schema -d "$TEMPORAL/schema/$name/versioned" >>"$WORK/log" 2>&1
  done
  mkdir -p "$WORK/temporal"
  sed -e "s/@PG@/$PGPORT/; s/@PORT@/$port/" scripts/bench-workflows/temporal.yaml >"$WORK/temporal/bench.yaml"
  temporal-server -r / -c "${WORK#/}/temporal" -e bench start >"$WORK/temporal.log" 2>&1 &
  server=$!; PIDS=("$server")
  until_true 60 Temporal bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null
  measured $PG "$server" -- temporal-bench "127.0.0.1:$port" "$@"
  stop "$server"; PIDS=()
}

keep() { jq -c --arg who "$2" --argjson round "$3" '. + {who: $who, round: $round}' >>"$KEPT/$1"; }
told() { say "$1, $(tail -1 "$KEPT/$1")"; }

# How many runs a line has, by who it is: Temporal takes thirty times as long for one.
count_of() { # WHO CONCURRENCY
  local n=$RUNS; [ "$2" != 1 ] || n=$SOLO
  case $1 in temporal) n=$((n / 10)) ;; restate) n=$((n / 2)) ;; esac
  say $((n > 50 ? n : 50))
}

rates() {
  local round who shape conc; : >"$KEPT/rates"
  for round in $(seq "$ROUNDS"); do
    for shape in seq diamond; do
      for conc in 64 1; do
        for who in ${OURS-mesh} $PEERS; do
          local command=$who; [ "$who" != mesh ] || command='ours rate'
          # shellcheck disable=SC2086
          $command $shape $conc "$(count_of "$who" $conc)" | keep rates "$who" "$round"
          told rates
        done
      done
    done
  done
}

sqlite() {
  local round shape; : >"$KEPT/sqlite"
  for round in $(seq "$ROUNDS"); do
    for shape in seq diamond; do
      ours_sqlite rate $shape 64 "$RUNS" | keep sqlite mesh "$round"; told sqlite
      dbos_sqlite $shape 64 "$RUNS" | keep sqlite dbos "$round"; told sqlite
    done
  done
}

hops() { : >"$KEPT/hops"; local round; for round in $(seq "$ROUNDS"); do ours hops 100 20 | keep hops mesh "$round"; told hops; done; }
waiting() { : >"$KEPT/waiting"; ours waiting "${WAITING:-100000}" 64 "$RUNS" | keep waiting mesh 1; told waiting; }

# Workers of few places are what is waited for; with many places both cores of the machine are.
fair() {
  : >"$KEPT/fair"
  local round case
  for round in $(seq "$ROUNDS"); do
    for case in '10000 300 20 32' '10000 300 50 16' '30000 300 20 256' '30000 300 0 256'; do
      # shellcheck disable=SC2086
      ours fair $case | jq -c --argjson places "${case##* }" '. + {places: $places}' | keep fair mesh "$round"; told fair
    done
  done
}

each() {
  local round items; : >"$KEPT/each"
  for round in $(seq "$ROUNDS"); do
    for items in 100 10000; do ours each $items 64 | keep each mesh "$round"; told each; done
  done
}

# Statements of an idle runner: each of its connections counts the transactions it makes.
idle() {
  : >"$KEPT/idle"
  local before after
  count_transactions() { sql "SELECT pg_stat_clear_snapshot(); SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = 'mesh'" | tail -1; }
  ours idle 30 >"$WORK/idle" &
  local load=$!
  sleep 12; before=$(count_transactions); sleep 15; after=$(count_transactions)
  wait $load
  jq -c --argjson made $((after - before)) '. + {transactions_per_second: ($made / 15)}' "$WORK/idle" | keep idle mesh 1
  told idle
}

# compared STAGE: rows of shape and concurrency, the medians of each, and the ratios to a peer within each round.
compared() {
  jq -rs 'def median: sort | .[(length - 1) / 2 | floor]; def r(n): . * pow(10; n) | round / pow(10; n);
    group_by([.shape, .conc])[] | . as $lines | map(select(.who == "mesh")) as $ours
    | group_by(.who) | sort_by(.[0].who != "mesh")[] | . as $rounds
    | [range($rounds | length) as $n | ($ours | map(select(.round == $rounds[$n].round))[0]) as $our
        | {rate: ($our.wf_s / $rounds[$n].wf_s), cpu: ($our.cpu_ms / $rounds[$n].cpu_ms), p50: ($our.p50_ms / $rounds[$n].p50_ms)}] as $ratios
    | .[0] as $first
    | "| \($first.shape) | \($first.conc) | \($first.who) | \(map(.wf_s) | median | r(1)) | \(map(.p50_ms) | median | r(2)) | \(map(.p99_ms) | median | r(1)) | \(map(.cpu_ms) | median | r(2)) | "
      + (if $first.who == "mesh" then "| | |" else "\($ratios | map(.rate) | median | r(2)) | \($ratios | map(.p50) | median | r(2)) | \($ratios | map(.cpu) | median | r(2)) |" end)' "$KEPT/$1"
}

table() { # STAGE
  [ -s "$KEPT/$1" ] || { echo 'Not measured.'; return; }
  echo '| shape | at once | who | workflows/s | p50 ms | p99 ms | CPU ms a workflow | ours / its rate | ours / its p50 | ours / its CPU |'
  echo '|---|---|---|---|---|---|---|---|---|---|'
  compared "$1"
}

lines() { # STAGE HEAD FORMAT: a row for each line
  [ -s "$KEPT/$1" ] || { echo 'Not measured.'; return; }
  echo "$2"; sed 's/[^|]//g; s/|/|---/g; s/---$//' <<<"$2"
  jq -r 'def r(n): . * pow(10; n) | round / pow(10; n); '"$3" "$KEPT/$1"
}

report() {
  cat <<-EOF
	# Benchmarks of workflows

	Written by \`make bench-workflows\` (\`scripts/bench-workflows.sh\`), $(date -u +%F), commit $(git describe --always --dirty).
	$ROUNDS rounds, in each of them ours and the peers in turn. Figures are medians, ratios are made within a round.

	- Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r | cut -d- -f1). ${NOTE:-}
	- $(postgres --version), one cluster, \`fsync=on\`, \`synchronous_commit=on\`, else as it comes. An \`fdatasync\` of its disk took
	  $(cat "$KEPT/fsync" 2>/dev/null || echo '?') µs. Each line has a new database.
	- Workflows are empty: \`seq\` is three steps in a row, \`diamond\` is A → (B, C) → D. The time of one goes from the call that
	  starts it until whoever started it has read its end.
	- Ours: a workflow runner, a worker and the load are one process (\`workers/workflow/examples/bench\`). A node is a job: it is
	  stored in a Redis (\`appendfsync everysec\`), claimed by the worker, and its end comes back by a completion. The worker does
	  nothing else. The load creates runs by \`crates/runs\` and follows their events in PostgreSQL. That is nearer to what the
	  peers do than HTTP would be: DBOS is called in its own process.
	- The load does not go through the gateway, and the jobs call no service: what HTTP, a router and an agent cost is not in it.
	- DBOS (Go) ${DBOS:-?}: its steps are functions in the process of the load (\`scripts/bench-workflows/dbos.go\`).
	- Restate and Temporal, where they are in the tables: a server, and steps in a process of their own or that of the load.
	- CPU is that of all processes: the load, PostgreSQL, Redis, and the servers of the peers (\`scripts/bench-workflows/measure.py\`).

	## On PostgreSQL

	$(table rates)

	## On SQLite

	Ours syncs every commit of runs and of jobs, which are two files. DBOS has its own default, \`synchronous=NORMAL\`.

	$(table sqlite)

	## From a node's end to its successor's start

	100 runs of \`seq\` a second for 20 s.

	$(lines hops '| runs/s | hops | p50 ms | p99 ms | longest ms | CPU ms a run |' '"| \(.rate) | \(.hops) | \(.p50_ms | r(2)) | \(.p99_ms | r(2)) | \(.max_ms | r(1)) | \(.cpu_ms | r(2)) |"')

	## Beside runs that wait for people

	Memory is that of the whole process: runner, worker and load.

	$(lines waiting '| runs that wait | rate before | rate beside them | MiB before | MiB beside them | first step after a restart, s |' '"| \(.waiting) | \(.empty_wf_s | round) | \(.wf_s | round) | \(.rss_before_mib) | \(.rss_mib) | \(.first_step_s | r(2)) |"')

	## A light owner beside a heavy one

	The time from the call that creates a run to its first node, of an owner with one run at a time: alone, and beside those of
	another owner who had that many queued when the runner began. A node takes about that many milliseconds, half of them to
	one and a half times as many. Few places are taken all the time. With many both cores are busy, and whatever is done waits
	for one: the call that creates the run, PostgreSQL, Redis, the worker.

	$(lines fair '| places of the worker | a node takes, ms | queued at first | queued at last | p50 ms alone | p99 ms alone | p50 ms beside | p99 ms beside | p99 / alone |' '"| \(.places) | \(.busy_ms) | \(.queued) | \(.left) | \(.alone_p50_ms | r(2)) | \(.alone_p99_ms | r(2)) | \(.p50_ms | r(2)) | \(.p99_ms | r(2)) | \(.p99_ms / .alone_p99_ms | r(2)) |"')

	## \`for_each\`

	64 iterations at once.

	$(lines each '| items | s | ms an item | CPU ms an item |' '"| \(.n) | \(.s | r(2)) | \(.ms_each | r(3)) | \(.cpu_ms | r(3)) |"')

	## Nothing to do

	$(lines idle '| transactions a second in PostgreSQL | CPU ms a second, all processes | MiB |' '"| \(.transactions_per_second | r(1)) | \(.cpu_ms | r(1)) | \(.rss_mib) |"')
	EOF
}

[ $# -gt 0 ] || set -- rates sqlite hops waiting fair each idle report
# shellcheck disable=SC2086
PEERS=$PEERS scripts/tools.sh bench-workflows
RESTATE=$(readlink -f .tools/pkg/restate-* 2>/dev/null | tail -1) TEMPORAL=$(readlink -f .tools/pkg/temporal-server-* 2>/dev/null | tail -1)
DBOS=$(readlink .tools/bin/dbos-bench 2>/dev/null | grep -oE 'bench-[0-9.]+' | cut -c7- || true)
if [ "$*" != report ]; then
  [ -n "${BUILT:-}" ] || cargo build -q --release --locked -p workflow-runner --example bench
  start_postgres
fi
for stage in "$@"; do
  case $stage in
    rates|sqlite|hops|waiting|fair|each|idle) "$stage" ;;
    report) report >"$WORK/report"; cp "$WORK/report" "${OUT:-docs/benchmarks-workflows.md}"; cat "$WORK/report" ;;
    *) die "$stage is no stage: give rates, sqlite, hops, waiting, fair, each, idle or report" ;;
  esac
done
