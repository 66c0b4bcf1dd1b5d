#!/usr/bin/env bash
# Builds the programs whose sources changed and restarts their containers, and no others. For a mesh that `make up`
# started: a program has changed when a file of its crate, or of one that it uses, is newer than its containers' image.
# Usage: scripts/dev.sh [SERVICE]...    (default: all that changed)    PROFILE=release builds as `make up` does
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need docker jq python3
[ "$(uname -s)" = Linux ] || die 'the programs are built for this host, which is no Linux: docker compose up -d --build SERVICE'
profile=${PROFILE:-debug}

# running: each container of the mesh with its service and when its image was made.
running() {
  local id service image
  docker compose ps -q | xargs -r docker inspect -f '{{.Id}} {{index .Config.Labels "com.docker.compose.service"}} {{.Image}}' |
    while read -r id service image; do say "$id $service $(docker image inspect -f '{{.Created}}' "$image")"; done
}

# changed LINES-OF-RUNNING: the services with a source that is newer than their image. Reads the workspace on stdin.
changed() {
  python3 -c '
import datetime, functools, json, os, sys
packages = {package["name"]: package for package in json.load(sys.stdin)["packages"]}

@functools.cache
def newest(name):
    latest = 0
    for folder, folders, files in os.walk(os.path.dirname(packages[name]["manifest_path"])):
        folders[:] = [it for it in folders if it not in ("tests", "examples", "benches", "target")]
        latest = max([latest, *(os.stat(os.path.join(folder, file)).st_mtime for file in files)])
    return latest

def used(name, seen):
    if name in packages and name not in seen:
        seen.add(name)
        for it in packages[name]["dependencies"]:
            if it.get("path") and it["kind"] != "dev":
                used(it["name"], seen)
    return seen

names = set()
for line in sys.argv[1].splitlines():
    _, service, made = line.split()
    # Python reads six digits of a second.
    made = datetime.datetime.fromisoformat(made.split(".")[0].rstrip("Z") + "+00:00").timestamp()
    if service in packages and max(map(newest, used(service, set()))) > made:
        names.add(service)
print("\n".join(sorted(names)))' "$1"
}
healthy() { local id; for id in $(containers "$1"); do docker exec "$id" "$1" --healthcheck >/dev/null 2>&1 || return 1; done; }

containers=$(running)
programs=$(scripts/programs.sh | grep -Fx "$(awk '{ print $2 }' <<<"$containers")") || die 'no program of the mesh runs: make up'
for service in "$@"; do known "$service" "$programs"; done
[ $# -gt 0 ] || mapfile -t services < <(cargo metadata --format-version 1 --no-deps --locked | changed "$containers" | grep .)
[ $# = 0 ] || services=("$@")
[ ${#services[@]} -gt 0 ] || { say 'nothing has changed'; exit; }

image=$(docker compose config --format json | jq -r '.services["mcp-router"].image')
from=$SECONDS
# Where runs leave their files is a name of cargo's too: a new value would have all that reads it compiled again.
# The features of the whole workspace, so that dependencies are those that its tests were built with.
bins=(); for service in "${services[@]}"; do bins+=(--bin "$service"); done
env -u OUT_DIR cargo build -q --locked --profile "${profile/#debug/dev}" --workspace "${bins[@]}"
say "built ${services[*]}: $((SECONDS - from)) s"
for service in "${services[@]}"; do
  from=$SECONDS
  # The image that runs, with the new program before it on the PATH.
  folder=$(mktemp -d)
  strip -g -o "$folder/$service" "${CARGO_TARGET_DIR:-target}/$profile/$service" 2>/dev/null ||
    cp "${CARGO_TARGET_DIR:-target}/$profile/$service" "$folder/"
  chmod 755 "$folder" "$folder/$service"
  new=${image%:*}:dev-$service
  old=$(docker image inspect -f '{{.Id}}' "$new" 2>/dev/null || true)
  id=$(docker create "$image" true)
  docker cp "$folder" "$id:/usr/local/dev" >/dev/null
  docker commit --change 'ENV PATH=/usr/local/dev:/usr/local/bin' "$id" "$new" >/dev/null
  docker rm "$id" >/dev/null
  rm -r "$folder"
  MESH_IMAGE=$new docker compose up -d --no-deps --no-build --scale "$service=$(grep -c " $service " <<<"$containers")" "$service" 2>/dev/null ||
    die "could not start $service: docker compose logs $service"
  until_true 60 "health of $service" healthy "$service"
  [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
  say "restarted $service: $((SECONDS - from)) s"
done
