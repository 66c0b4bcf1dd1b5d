#!/usr/bin/env bash
# Builds the mesh's image from programs compiled on this host, where the Dockerfile cannot: without a registry, or in a
# hurry. Host and image share nothing but the files: the libraries go along.
# Usage: scripts/image-from-host.sh [IMAGE]    PROFILE=debug for the development build (default: release)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=${1:-${MESH_IMAGE:-agent-platform-server:local}}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
scripts/programs.sh image "$root"
tar -C "$root" --owner=0 --group=0 -c . | docker import -c 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' -c 'USER 65532:65532' \
  -c 'WORKDIR /data' -c 'ENV PATH=/usr/local/bin' - "$image" >/dev/null
echo "image: $image holds $(scripts/programs.sh | xargs)"
