#!/usr/bin/env bash
# Style: formatting, lints, licences and sources of dependencies, scripts, configuration files.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PWD/.tools/bin:$PATH:/usr/sbin

check() { say "check: $1"; shift; "$@"; }
# quietly COMMAND...: what it says when it fails only.
quietly() { local said; said=$("$@" 2>&1) || { say "$said" >&2; return 1; }; }
# Cargo wants every crate of the workspace, also where it builds the image.
image_has_all() {
  local file; for file in $(git ls-files '*/Cargo.toml' ':!fuzz'); do
    grep -qx "!${file%%/*}" .dockerignore || die ".dockerignore leaves out ${file%/*}: add !${file%%/*}"; done
}
compose_is_right() {
  local programs name; programs=$(scripts/programs.sh)
  for name in $(sed -n 's/^    command: \[\([a-z-]*\)\]$/\1/p; s/.*test: \[CMD, \([a-z-]*\), --healthcheck\]$/\1/p' docker-compose.yml); do
    known "$name" "$programs"; done
}

check 'formatting' cargo fmt --all --check
check 'scripts' shellcheck -x -P scripts -S warning scripts/*.sh deploy/alertmanager/start.sh .ci/run
check 'image' image_has_all
check 'programs of compose' compose_is_right
check 'manifests' scripts/kubernetes.sh validate
check 'lints' cargo clippy --workspace --all-targets --locked -q -- -D warnings
# Where a level is off, the arguments of its macros are not evaluated.
check 'log macros' cargo test --locked -q -p mesh-telemetry --test log_macros
check 'dependencies' cargo-deny --log-level error check bans licenses sources
# Advisories are a Git repository elsewhere, which not every machine reaches: they are checked where they were fetched.
# A fetch that failed leaves a lock file or half a repository, which is none.
advisories_are_here() {
  local db; for db in "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/; do git --git-dir="$db/.git" show -s HEAD >/dev/null 2>&1 && return; done
  return 1
}
if advisories_are_here; then
  check 'advisories' cargo-deny --offline --log-level error check advisories
else
  say 'check: advisories left out: no database of them is here; fetch it with: .tools/bin/cargo-deny fetch db'
fi
check 'alerts' quietly promtool check rules deploy/prometheus/rules/mesh.yml
check 'tests of alerts' quietly promtool test rules deploy/prometheus/tests/*.yml
check 'Prometheus' quietly promtool check config deploy/prometheus/prometheus.yml
check 'Alertmanager' quietly amtool check-config deploy/alertmanager/alertmanager.yml
check 'queries, dashboards, runbooks' "${VENV_DIR:-.venv}/bin/python" scripts/observability.py
! command -v haproxy >/dev/null || check 'HAProxy' haproxy -c -q -f haproxy/haproxy.cfg
! docker compose version >/dev/null 2>&1 || check 'compose' docker compose config -q
say 'check: all is well'
