#!/usr/bin/env bash
# Builds the programs whose sources changed and restarts their containers, and no others. For a mesh that `make up`
# started: a program has changed when a file of its crate, or of one that it uses, is newer than its containers' image.
# Usage: scripts/dev.sh [SERVICE]...    (default: all that changed)    PROFILE=release builds as `make up` does
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need docker jq python3
[ "$(uname -s)" = Linux ] || die 'the programs are built for this host, which is no Linux: docker compose up -d --build SERVICE'
profile=${PROFILE:-debug}

# sources PACKAGE: when the newest file of the package, or of the workspace's packages that it uses, was written.
sources() {
  python3 - "$1" "$metadata" <<'END'
import json, os, sys
packages = {package["name"]: package for package in json.load(open(sys.argv[2]))["packages"]}
seen, queue, newest = set(), [sys.argv[1]], 0
while queue:
    name = queue.pop()
    if name in seen or name not in packages:
        continue
    seen.add(name)
    queue += [it["name"] for it in packages[name]["dependencies"] if it.get("path") and it["kind"] != "dev"]
    for folder, folders, files in os.walk(os.path.dirname(packages[name]["manifest_path"])):
        folders[:] = [it for it in folders if it not in ("tests", "examples", "benches", "target")]
        newest = max([newest, *(os.stat(os.path.join(folder, file)).st_mtime for file in files)])
print(int(newest))
END
}
# made CONTAINER: when its image was.
made() { date +%s -d "$(docker image inspect -f '{{.Created}}' "$(docker inspect -f '{{.Image}}' "$1")")"; }
healthy() { local id; for id in $(containers "$1"); do docker exec "$id" "$1" --healthcheck >/dev/null 2>&1 || return 1; done; }

metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
cargo metadata --format-version 1 --no-deps --locked >"$metadata"
image=$(docker compose config --format json | jq -r '.services["mcp-router"].image')
services=$(scripts/programs.sh | grep -Fxf <(docker compose ps --services --status running) || true)
[ -n "$services" ] || die 'no program of the mesh runs: make up'
for service in "$@"; do known "$service" "$services"; done

changed=()
for service in $services; do
  [ $# = 0 ] || grep -qx -- "$service" < <(printf '%s\n' "$@") || continue
  id=$(containers "$service" | head -1)
  [ $# = 0 ] && [ "$(sources "$service")" -lt "$(made "$id")" ] || changed+=("$service")
done
[ ${#changed[@]} -gt 0 ] || { say 'nothing has changed'; exit; }

from=$SECONDS
cargo build -q --locked --profile "${profile/#debug/dev}" --bins "${changed[@]/#/--package=}"
say "built ${changed[*]}: $((SECONDS - from)) s"
for service in "${changed[@]}"; do
  from=$SECONDS
  # The image that runs, with the new program before it on the PATH.
  folder=$(mktemp -d)
  strip -g -o "$folder/$service" "${CARGO_TARGET_DIR:-target}/$profile/$service" 2>/dev/null ||
    cp "${CARGO_TARGET_DIR:-target}/$profile/$service" "$folder/"
  chmod 755 "$folder" "$folder/$service"
  new=${image%:*}:dev-$service
  old=$(docker image inspect -f '{{.Id}}' "$new" 2>/dev/null || true)
  id=$(docker create "$image" true)
  docker cp -q "$folder" "$id:/usr/local/dev" 2>/dev/null || docker cp "$folder" "$id:/usr/local/dev" >/dev/null
  docker commit --change 'ENV PATH=/usr/local/dev:/usr/local/bin' "$id" "$new" >/dev/null
  docker rm "$id" >/dev/null
  rm -r "$folder"
  MESH_IMAGE=$new docker compose up -d --no-deps --no-build --scale "$service=$(replicas "$service")" "$service" 2>/dev/null ||
    die "could not start $service: docker compose logs $service"
  until_true 60 "health of $service" healthy "$service"
  [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
  say "restarted $service: $((SECONDS - from)) s"
done
