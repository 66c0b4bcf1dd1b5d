#!/bin/sh
# Starts Alertmanager with the value of ALERT_WEBHOOK_URL in its configuration. Arguments are Alertmanager's.
# ALERTMANAGER_CONFIG is the file that is read, TMPDIR where its copy is written.
set -eu
from=${ALERTMANAGER_CONFIG:-/etc/alertmanager/alertmanager.yml}
to=${TMPDIR:-/tmp}/alertmanager.started.yml
umask 077
if [ -n "${ALERT_WEBHOOK_URL:-}" ]; then
  # Of a replacement \, & and the delimiter have a meaning of their own; within single quotes YAML doubles '.
  url=$(printf %s "$ALERT_WEBHOOK_URL" | sed "s/[\\\\&|]/\\\\&/g; s/'/''/g")
  sed "s|http://alert-webhook-url.invalid/|'$url'|" "$from" >"$to"
else
  sed 's|receiver: webhook|receiver: nobody|' "$from" >"$to"
fi
exec alertmanager --config.file="$to" "$@"
