#!/usr/bin/env bash
# Style: formatting, lints, licences and sources of dependencies, scripts, configuration files.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PWD/.tools/bin:$PATH:/usr/sbin

check() { say "check: $1"; shift; "$@"; }
scripts_parse() { local file; for file in scripts/*.sh .ci/run; do bash -n "$file"; done; }

check 'formatting' cargo fmt --all --check
check 'scripts' scripts_parse
check 'lints' cargo clippy --workspace --all-targets --locked -q -- -D warnings
check 'dependencies' cargo-deny --log-level error check bans licenses sources
# Advisories are a Git repository of their own, which a machine without the network's reach cannot have.
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*" >/dev/null; then
  check 'advisories' cargo-deny --log-level error check advisories --disable-fetch
else
  say 'check: advisories left out: there is no database here (cargo deny fetch)'
fi
! command -v haproxy >/dev/null || check 'HAProxy' haproxy -c -q -f haproxy/haproxy.cfg
! docker compose version >/dev/null 2>&1 || check 'compose' docker compose config -q
say 'check: all is well'
