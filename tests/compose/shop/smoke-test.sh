#!/bin/bash
# The shop's own test suite, which knows nothing of slim: run beside docker-compose.yml, it fails where the shop does.
set -eu
web=$(docker-compose port web 80)
curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-all-errors --output /dev/null "http://$web/style.css"

address=$(docker-compose port cache 6379)
for try in $(seq 30); do
    if { exec 3<>"/dev/tcp/${address%:*}/${address#*:}"; } 2>/dev/null; then
        printf 'SET kept yes\r\nGET kept\r\n' >&3
        read -r -t 5 set <&3 && read -r -t 5 length <&3 && read -r -t 5 got <&3 || set=
        exec 3>&-
        [ "${set%$'\r'}" = +OK ] && break
    fi
    sleep 1
done
[ "${length%$'\r'} ${got%$'\r'}" = '$3 yes' ]
