#!/bin/sh
# The entrypoint of the stand-in of PostgreSQL's image: makes the database of POSTGRES_DB for POSTGRES_USER with
# POSTGRES_PASSWORD in an empty PGDATA, and becomes postgres. Begins as root, as the real image does.
set -eu
data=${PGDATA:-/var/lib/postgresql/data} user=${POSTGRES_USER:-postgres}
# Its libraries are found from where it stands.
for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
as() { setpriv --reuid 65532 --regid 65532 --clear-groups "$@"; }
mkdir -p "$data" /run/postgresql
chown 65532:65532 "$data" /run/postgresql
chmod 700 "$data"
if [ ! -s "$data/PG_VERSION" ]; then
  (umask 077 && echo "${POSTGRES_PASSWORD:?is missing}" >/tmp/password)
  chown 65532 /tmp/password
  as initdb -D "$data" -U "$user" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
  echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\";" | as postgres --single -D "$data" postgres >/dev/null
fi
exec setpriv --reuid 65532 --regid 65532 --clear-groups postgres -D "$data" -k /run/postgresql -c listen_addresses='*'
