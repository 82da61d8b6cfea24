#!/bin/bash
# First start: initialise the volume as root, then as postgres. Every start: exec the server.
set -euo pipefail

if [ "${1:-}" = postgres ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi

if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth-local=trust --auth-host=trust --encoding=UTF8 >/dev/null
    echo "host all all all trust" >>"$PGDATA/pg_hba.conf"
    # Listens on the socket only, so that nobody can connect before the database is complete.
    pg_ctl --silent --wait start --options="-c listen_addresses=''"
    psql --quiet --username=postgres --set=db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    pg_ctl --silent --wait --mode=fast stop
    echo "entrypoint: database initialised"
fi

if [ "${1:-}" = postgres ]; then
    shift
    set -- postgres -c listen_addresses='*' "$@"
fi
exec "$@"
