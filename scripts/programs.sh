#!/usr/bin/env bash
# The programs of the mesh: the packages that have a src/main.rs. Read from the tree, without a build.
# Usage: scripts/programs.sh [COMMAND]
#              names all, in the order of a restart: first who is called, last who calls
#   linked     names those that an image has as links to meshctl, which is a program when it has the program's name
#   shipped    names those that are files of their own
#   build      builds the shipped ones                     PROFILE=debug for the development build (default: release)
#                                                          PPROF=1 for programs that can be profiled (enable_pprof)
#   image DIR  builds them and makes DIR the root of their image
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${PROFILE:-release}

all() {
  local main; for main in {tools,workers,agents}/*/src/main.rs {router,gateway,meshctl}/src/main.rs; do
    awk -F '"' '/^name = / { print $2; exit }' "${main%src/main.rs}Cargo.toml"; done
}
# What meshctl depends on it can be. The router is a file of its own, which is smaller in memory.
linked() { all | grep -Fx "$(sed -n 's/\.workspace = true$//p' meshctl/Cargo.toml)"; }
shipped() { all | grep -Fvx "$(linked)"; }
build() {
  local names pprof=(); mapfile -t names < <(shipped)
  if [ -n "${PPROF:-}" ]; then
    # Stacks are walked by frame pointers, tasks tell where they were spawned, and functions keep their names and lines.
    export RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes --cfg tokio_unstable"
    pprof=(--features service/pprof)
    local key; for key in release release.package.meshctl; do pprof+=(--config "profile.$key.strip='none'" --config "profile.$key.debug='line-tables-only'"); done
  fi
  cargo build --profile "${profile/#debug/dev}" --locked --bins "${names[@]/#/--package=}" "${pprof[@]}"
}

image() { # DIR
  build
  local files name; mapfile -t files < <(shipped | sed "s|^|${CARGO_TARGET_DIR:-target}/$profile/|")
  scripts/image-root.sh "$1" "${files[@]}"
  # Names of functions are a sixth of the router. Programs that can be profiled keep them.
  [ -n "${PPROF:-}" ] || strip "$1"/usr/local/bin/*
  for name in $(linked); do ln -s meshctl "$1/usr/local/bin/$name"; done
}

case ${1:-all} in
  all|linked|shipped|build) "${1:-all}" ;;
  image) image "${2:?DIR is missing}" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
