#!/bin/bash
# First start: make the system tables. Every start: exec the server.
set -euo pipefail
if [ "${1:-}" = mariadbd ] && [ ! -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db >/dev/null
fi
exec "$@"
