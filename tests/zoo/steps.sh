# The words in which the steps of the zoo are written. Each step is one line of bash behind this file;
# it passes if its status is 0, and says on standard error why it does not.
#
#   IMAGE           the image under test
#   SLIM_CONTAINER  the container of a service (absent for batch images)
#   ZOO_PORTS       its published ports: the first is plain HTTP, the second HTTPS
#   ZOO_SCRATCH     a directory for the words' own files
#
# Waiting has an end: PATIENCE seconds, or the container's death, whichever comes first.

PATIENCE=40

complain() {
    echo "$*" >&2
    return 1
}

# Contents of a file for a message: the end, without bytes that a terminal would obey.
shown() {
    tail -c 600 "$1" | tr -c '[:print:]\n' '?'
}

# has FILE TEXT: the empty text is in every file.
has() {
    [ -z "$2" ] || grep --quiet --text --fixed-strings -- "$2" "$1"
}

running() {
    [ "$(docker inspect --format '{{.State.Running}}' "$SLIM_CONTAINER" 2>/dev/null)" = true ]
}

# eventually COMMAND...: repeats a command until it succeeds.
eventually() {
    local end=$((SECONDS + PATIENCE))
    until "$@" 2>"$ZOO_SCRATCH/attempt"; do
        running || complain "the container is not running; $(shown "$ZOO_SCRATCH/attempt")" || return
        ((SECONDS < end)) || complain "still failing: $(shown "$ZOO_SCRATCH/attempt")" || return
        sleep 0.1
    done
}

# The host's port for a port of the container; another one after each start.
published() {
    local address
    address=$(docker port "$SLIM_CONTAINER" "$1/tcp" | head -n 1)
    echo "${address##*:}"
}

ask() {
    curl --silent --show-error --insecure --noproxy '*' --max-time 20 --output "$ZOO_SCRATCH/body" \
        --write-out '%{http_code}' "${@:4}" "$1://127.0.0.1:$(published "$2")$3" >"$ZOO_SCRATCH/status"
}

# fetch SCHEME PORT PATH STATUS [TEXT [CURL-OPTIONS...]]: waits for an answer, then judges it.
fetch() {
    local scheme=$1 port=$2 path=$3 status=$4 text=${5-}
    : >"$ZOO_SCRATCH/body"
    eventually ask "$scheme" "$port" "$path" "${@:6}" || return
    [ "$(cat "$ZOO_SCRATCH/status")" = "$status" ] && has "$ZOO_SCRATCH/body" "$text" ||
        complain "$path: status $(cat "$ZOO_SCRATCH/status"), expected $status with $text: $(shown "$ZOO_SCRATCH/body")"
}

# web PATH STATUS [TEXT [CURL-OPTIONS...]]: over HTTP.
web() {
    fetch http "${ZOO_PORTS%% *}" "$@"
}

# tls PATH STATUS [TEXT [CURL-OPTIONS...]]: over HTTPS.
tls() {
    fetch https "${ZOO_PORTS##* }" "$@"
}

exchange() {
    local line="" found=1
    exec 3<>"/dev/tcp/127.0.0.1/$(published "$1")" || return
    printf '%b\r\n' "$2" >&3
    : >"$ZOO_SCRATCH/answer"
    while IFS= read -r -t 5 line <&3 || [ -n "$line" ]; do
        printf '%s\n' "$line" >>"$ZOO_SCRATCH/answer"
        case $line in *"$3"*) found=0 && break ;; esac
    done 2>/dev/null
    exec 3>&-
    [ $found = 0 ] || complain "$2: no $3 in the answer: $(shown "$ZOO_SCRATCH/answer")"
}

# talk PORT LINE TEXT: sends a line over TCP until a line of the answer holds the text.
talk() {
    eventually exchange "$@"
}

# inside TEXT COMMAND...: runs in the container with status 0, and writes the text.
inside() {
    docker exec "$SLIM_CONTAINER" "${@:2}" >"$ZOO_SCRATCH/inside" 2>&1 </dev/null ||
        complain "status $?: $(shown "$ZOO_SCRATCH/inside")" || return
    has "$ZOO_SCRATCH/inside" "$1" ||
        complain "no $1 in: $(shown "$ZOO_SCRATCH/inside")"
}

# fails COMMAND...: runs in the container and ends with an error of its own: the program was found and loaded.
fails() {
    local status=0
    docker exec "$SLIM_CONTAINER" "$@" >"$ZOO_SCRATCH/inside" 2>&1 </dev/null || status=$?
    case $status in 0 | 126 | 127) complain "status $status: $(shown "$ZOO_SCRATCH/inside")" ;; esac
}

# runs STATUS TEXT [COMMAND...]: a container of its own ends with the status and has written the text.
runs() {
    local status=0
    docker run --rm --pull never "$IMAGE" "${@:3}" >"$ZOO_SCRATCH/run" 2>&1 </dev/null || status=$?
    [ "$status" = "$1" ] && has "$ZOO_SCRATCH/run" "$2" ||
        complain "status $status, expected $1 with $2: $(shown "$ZOO_SCRATCH/run")"
}

holds() {
    docker logs "$SLIM_CONTAINER" 2>&1 | grep --quiet --text --fixed-strings -- "$1" || complain "no $1 in the log"
}

# logged TEXT: the container's log holds the text.
logged() {
    eventually holds "$1"
}

is_healthy() {
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$SLIM_CONTAINER")" = healthy ] ||
        complain "$(docker inspect --format '{{json .State.Health}}' "$SLIM_CONTAINER" | tail -c 600)"
}

# healthy: the image's health check passes.
healthy() {
    eventually is_healthy
}

# signal NAME: sends a signal that the first process survives.
signal() {
    docker kill --signal "$1" "$SLIM_CONTAINER" >/dev/null
}

# restart: stops as the image wants it, and starts again with what the container has written.
restart() {
    docker restart --time 30 "$SLIM_CONTAINER" >/dev/null
}

# stops STATUS...: stops as the image wants it; the exit status is one of these.
stops() {
    local status
    docker stop --time 30 "$SLIM_CONTAINER" >/dev/null
    status=$(docker inspect --format '{{.State.ExitCode}}' "$SLIM_CONTAINER")
    case " $* " in *" $status "*) ;; *) complain "exit status $status, expected $*" ;; esac
}
