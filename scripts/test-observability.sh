#!/usr/bin/env bash
# Observes a mesh of real programs with what deploy/ ships, on the real Prometheus, Alertmanager, OpenTelemetry Collector
# and Jaeger, and breaks it: every alert has to reach a webhook and to end, every query of the dashboards to bring data.
# Takes about six minutes, and root: for a small tmpfs, and for cgroups.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "$(id -u)" = 0 ] || die 'a small disk is mounted for the test: run it as root'

scripts/tools.sh observability
[ -n "${MESH_TEST_BIN:-}" ] || cargo build -q --workspace --locked --bins
PATH=$PWD/.tools/bin:$PATH:/usr/sbin exec "${VENV_DIR:-.venv}/bin/python" tests/observability/main.py
