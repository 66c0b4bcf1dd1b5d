#!/bin/sh
# Starts a new service from the templates: scripts/new-service.sh agent|tool|worker NAME
# The folder is found by the workspace's glob; nothing else has to be changed.
set -eu

fail() {
    echo "new-service: $1" >&2
    exit 2
}

[ $# -eq 2 ] || fail "expected a kind and a name, such as: scripts/new-service.sh agent research"
kind=$1
name=$2

case $kind in
    agent | tool | worker) ;;
    *) fail "kind is \"$kind\", expected agent, tool or worker" ;;
esac
echo "$name" | grep -Eqx '[a-z][a-z0-9]*(-[a-z0-9]+)*' && [ ${#name} -le 40 ] ||
    fail "name is \"$name\", expected at most 40 small letters, digits and single dashes, such as code-review"
case $name in
    *-agent | *-tool | *-worker | agent | tool | worker)
        fail "name is \"$name\", expected it without the kind: the program will be called $name-$kind" ;;
esac

cd "$(dirname "$0")/.."
folder=${kind}s/$name
[ ! -e "$folder" ] || fail "$folder is there already, choose another name"

crate=$(echo "$name-$kind" | tr - _)
fill() {
    sed -e "s/@NAME@/$name/g" -e "s/@KIND@/$kind/g" -e "s/@CRATE@/$crate/g" "scripts/templates/$1" >"$2"
}
mkdir -p "$folder/src" "$folder/tests"
fill Cargo.toml.in "$folder/Cargo.toml"
fill main.rs.in "$folder/src/main.rs"
fill "$kind.rs.in" "$folder/src/lib.rs"
fill "${kind}_test.rs.in" "$folder/tests/serves.rs"
cargo fmt -p "$name-$kind"

echo "$folder is made. Next:"
echo "  cargo test -p $name-$kind"
echo "  cargo run -p $name-$kind"
