#!/usr/bin/env bash
# Builds the programs into target/release and, where Docker runs, the image that compose starts. PPROF=1 builds programs
# that can be profiled.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scripts/tools.sh build
if ! docker info >/dev/null 2>&1; then
  scripts/programs.sh build
  say "$(scripts/programs.sh shipped | xargs) are in target/release: meshctl run NAME is each of the others"
  say 'no image is built, since Docker does not run here'
elif [ "$(uname -s)" = Linux ]; then
  scripts/image-from-host.sh
else
  docker compose build --build-arg PPROF="${PPROF:-}"
fi
