#!/usr/bin/env bash
# Says where a service's page is, and opens it where there is a browser. Usage: scripts/open.sh SERVICE PORT PATH
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

page=$(url "$1" "$2")$3
say "$page"
for opener in xdg-open open; do
  ! command -v $opener >/dev/null || { $opener "$page" >/dev/null 2>&1 || true; break; }
done
