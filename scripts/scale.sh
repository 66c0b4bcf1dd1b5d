#!/usr/bin/env bash
# Starts the mesh, or changes how many replicas run. Counts that are not given stay as they are, since a plain
# `docker compose up --scale echo-agent=3` sets every other service back to one.
# Usage: scripts/scale.sh [SERVICE=N]...
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

declare -A wanted
for pair in "$@"; do
  [[ " ${MESH_SERVICES[*]} " == *" ${pair%%=*} "* ]] || die "'${pair%%=*}' is not one of: ${MESH_SERVICES[*]}"
  count "${pair#*=}" "scripts/scale.sh ${pair%%=*}=3"
  wanted[${pair%%=*}]=${pair#*=}
done

flags=()
for service in "${MESH_SERVICES[@]}"; do
  present=$(replicas "$service")
  flags+=(--scale "$service=${wanted[$service]:-$((present > 0 ? present : 1))}")
done
# To scale is not to restart; `make up` alone applies a changed configuration.
[ $# = 0 ] || flags+=(--no-recreate)
docker compose up -d --wait --wait-timeout 180 "${flags[@]}"
